"""What looks behind the curtain of replay. Code that branches on it stops being deterministic."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

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


@contextmanager
def sandbox_unrestricted() -> Generator[None, None, None]:
    """Let code in its block call what the guard of workers and tests would report, such as the clock.

    Whatever it finds must not decide about what the workflow does: a replay would find something else. It holds for the
    task that entered the block, and for those that are made in it.
    """
    before = _unrestricted.get()
    _unrestricted.set(True)
    try:
        yield
    finally:
        _unrestricted.set(before)


_unrestricted: ContextVar[bool] = ContextVar("durable.unrestricted", default=False)

unrestricted = _unrestricted.get
