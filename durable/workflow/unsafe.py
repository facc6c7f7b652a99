"""What looks behind the curtain of replay. Code that branches on it stops being deterministic."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from durable.workflow._runtime import current

__all__ = [
    "imports_passed_through",
    "is_replaying",
    "is_replaying_history_events",
    "sandbox_unrestricted",
]


def is_replaying() -> bool:
    """Whether what runs now has run before, so that side effects of one's own should not happen again.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.unsafe.is_replaying()").is_replaying()


def is_replaying_history_events() -> bool:
    """The same as `is_replaying`: a query is never a replay here, though the run may have been brought there by one.

    Raises:
        NotInWorkflowError: The caller is not workflow code.
    """
    return current("workflow.unsafe.is_replaying_history_events()").is_replaying()


def imports_passed_through() -> AbstractContextManager[None]:
    """Change nothing: modules are never imported a second time here. It keeps programs for Temporal's SDK running."""
    return nullcontext()


def sandbox_unrestricted() -> AbstractContextManager[None]:
    """Change nothing: there is no sandbox here. It keeps programs for Temporal's SDK running."""
    return nullcontext()
