"""Whether a patch is turned on in a run: the worker may be asked, so that a deploy can go step by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from durable._internal.shown import shown
from durable.workflow._info import Info


@dataclass(frozen=True)
class PatchActivationInput:
    """What a patch activation callback is asked about.

    Attributes:
        patch_id: The patch that `workflow.patched` was asked for.
        workflow_info: The run that asks.
    """

    patch_id: str
    workflow_info: Info


def activation(callback: Callable[[PatchActivationInput], bool] | None) -> Callable[[str, Info], bool] | None:
    """Return a worker's callback as the replay core asks it.

    Raises:
        TypeError: It is not callable.
    """
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError(f"patch_activation_callback must be a function, not {type(callback).__name__}")

    def activates(patch: str, info: Info) -> bool:
        answer: object = callback(PatchActivationInput(patch, info))
        if not isinstance(answer, bool):
            raise TypeError(
                f"patch_activation_callback must return True or False, not {type(answer).__name__} ({shown(answer)})"
            )
        return answer

    return activates
