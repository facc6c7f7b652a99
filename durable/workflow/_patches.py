"""Changing code under running workflows: patches, which a run has or has not for as long as it lives."""

from __future__ import annotations

from durable._internal.ids import check_name
from durable.workflow._runtime import current


def patched(id: str) -> bool:
    """Whether the run takes the new way of a change that is called `id`.

    True in a run that gets here for the first time with this code, which is then recorded in its history; False in one
    that was here before the change. The answer stays the same for the whole run. A run that continues as new asks anew.

        if workflow.patched("ask-the-bank"):
            await ask_the_bank(order)
        else:
            await charge(order)

    When no open run is left that took the old way, replace the call by `deprecate_patch`.

    Args:
        id: A name for the change, never used for another one.

    Raises:
        ReadOnlyContextError: A query or a validator calls; nothing may be recorded there.
        NotInWorkflowError: The caller is not workflow code.
        ValueError: The name is empty or too long.
    """
    return current("workflow.patched()").patched(check_name(id, "patch id"), deprecated=False)


def deprecate_patch(id: str) -> None:
    """Say that all runs take the new way of a change, where `patched` stood before.

    Runs that recorded the patch replay with this, and new ones record that nobody need ask for it any more: when those
    before them are over, this call can go too.

    Args:
        id: The name of the change.

    Raises:
        ReadOnlyContextError: A query or a validator calls; nothing may be recorded there.
        NotInWorkflowError: The caller is not workflow code.
        ValueError: The name is empty or too long.
    """
    current("workflow.deprecate_patch()").patched(check_name(id, "patch id"), deprecated=True)
