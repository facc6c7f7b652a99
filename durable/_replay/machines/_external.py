"""Messages to workflows that are no children, or that are: signals and cancel requests, awaited until they are taken.

issued --cancel--> cancel requested    the code no longer waits; the message is on its way, unless it was asked
                                       for in this very task: then it never was
issued --close---> done                it is in the other run's inbox, or there was nobody to take it
cancel requested --close--> done       nobody waits for that any more
"""

from __future__ import annotations

from typing import ClassVar

from durable._replay._awaitables import Operation
from durable._replay.machines._machine import Machine, Table
from durable.exceptions import ApplicationError, NondeterminismError
from durable.history import (
    ExternalCommand,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    Input,
    RequestCancelExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
)


class ExternalMachine(Machine):
    """One message to another workflow."""

    __slots__ = ("_asked", "operation")

    table: ClassVar[Table] = {
        ("issued", "cancel"): "cancel requested",
        ("issued", "close"): "done",
        ("cancel requested", "cancel"): "cancel requested",
        ("cancel requested", "close"): "done",
    }

    operation: Operation[None]

    def __init__(self, asked: ExternalCommand) -> None:
        super().__init__(asked.id)
        self._asked = asked

    def close(self, event: Input) -> None:
        """Tell whoever still waits what became of it."""
        asked = self._asked
        signal = isinstance(asked, SignalExternalWorkflowExecutionInitiated)
        done = ExternalWorkflowExecutionSignaled if signal else ExternalWorkflowExecutionCancelRequested
        failed = (
            SignalExternalWorkflowExecutionFailed if signal else RequestCancelExternalWorkflowExecutionFailed
        )
        if not isinstance(event, (done, failed)):
            raise NondeterminismError(
                f"history has {type(event).__name__} for command {self.id}, which is a message to workflow "
                f"{asked.workflow_id!r} in the code"
            )
        self.step("close")
        operation = self.operation
        operation.on_cancel = None  # It leads back to here, and only the collector opens circles.
        if operation.done():
            return
        if isinstance(event, done):
            operation.set_result(None)
            return
        what = "signal" if signal else "cancel"
        operation.set_exception(
            ApplicationError(
                f"unable to {what} external workflow {asked.workflow_id!r}: it was not found, or is closed",
                type="ExternalWorkflowExecutionNotFound",
            )
        )
