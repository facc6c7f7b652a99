"""Child workflows, as the code of their parent sees them.

        issued -----------start---> started              the child is there; whoever waits for that goes on
        issued -----------close---> done                 it could not be started
        started ----------close---> done                 its result or its failure reaches the code
        issued, started --cancel--> cancel requested     a request to the child, once; or nothing, if the child was asked
                                                         for in this very task: then it never was
        cancel requested -start---> cancel requested     the request is behind the start, and finds the child there
        cancel requested -cancel--> cancel requested     anyio repeats its cancels
        cancel requested -close---> done                 with WAIT_CANCELLATION_COMPLETED the outcome reaches the code,
                                                         else it left long ago

A cancelled await ends with `asyncio.CancelledError`, as that of an activity does. A child that somebody else cancelled is
another matter: its parent, which is not cancelled, gets a `ChildWorkflowError`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from durable._replay._awaitables import Operation
from durable._replay.machines._activity import stored_policy
from durable._replay.machines._machine import Machine, Table
from durable.common import ChildWorkflowCancellationType as Cancellation
from durable.converter import DataConverter
from durable.exceptions import (
    CancelledError,
    ChildWorkflowError,
    NondeterminismError,
    RetryState,
    TerminatedError,
    TimeoutError,
    TimeoutType,
    WorkflowAlreadyStartedError,
)
from durable.history import (
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ExternalWorkflowExecutionCancelRequested,
    Input,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionStarted,
    limits_of,
)
from durable.history._search_attributes import encode_search_attributes
from durable.workflow._child_handle import ChildWorkflowHandle
from durable.workflow._child_options import ChildOptions
from durable.workflow._runtime import ChildRequest

_NOTHING_SAID = ChildOptions()


class ChildOperation(Operation[Any], ChildWorkflowHandle[Any, Any]):
    """The handle of a child, completed by its machine."""

    __slots__ = ("command", "first_execution_run_id", "id")

    command: int


class ChildMachine(Machine):
    """One child of one run."""

    __slots__ = ("_converter", "_namespace", "_request", "asked", "behind", "handle", "starting")

    table: ClassVar[Table] = {
        ("issued", "start"): "started",
        ("issued", "close"): "done",
        ("issued", "cancel"): "cancel requested",
        ("started", "close"): "done",
        ("started", "cancel"): "cancel requested",
        ("cancel requested", "start"): "cancel requested",
        ("cancel requested", "cancel"): "cancel requested",
        ("cancel requested", "close"): "done",
    }

    asked: StartChildWorkflowExecutionInitiated
    _namespace: str
    handle: ChildOperation

    def __init__(self, id: int, request: ChildRequest, converter: DataConverter) -> None:
        super().__init__(id)
        self._request = request
        self._converter = converter
        self.starting: Operation[None] | None = None
        self.behind: list[Callable[[], None]] = []

    @property
    def options(self) -> ChildOptions:
        """What was said about the child."""
        return self._request.options.child or _NOTHING_SAID

    def start(
        self, parent: WorkflowExecutionStarted, *, namespace: str, run_id: str, workflow_id: str
    ) -> StartChildWorkflowExecutionInitiated:
        """Return the command that starts it.

        Args:
            parent: The run that asks; the child inherits its task queue and its priority.
            namespace: The namespace of both.
            run_id: The child's first run.
            workflow_id: Its workflow id.

        Raises:
            ConversionError: An argument or an entry of the memo cannot be stored, or is not of its type.
            ValueError: There are too many search attributes, or they are too large.
        """
        self._namespace = namespace
        self._converter = self._converter.of_workflow(namespace, workflow_id)
        request, said, convert = self._request, self.options, self._converter
        path = f"{request.name} input"
        input = convert.to_payloads(request.args, path=path)
        if request.definition is not None:
            # A wrong argument is an error of the caller and not of the child; at a replay too, since code that catches
            # the error does something else than code that meets none.
            convert.from_payloads(input, request.definition.arg_types[: len(input)], path=path)
        attributes = said.search_attributes
        self.asked = StartChildWorkflowExecutionInitiated(
            id=self.id,
            workflow_id=workflow_id,
            run_id=run_id,
            workflow_type=request.name,
            task_queue=request.options.task_queue or parent.task_queue,
            input=input,
            parent_close_policy=said.parent_close_policy.name.lower(),
            cancellation_type=said.cancellation_type.name.lower(),
            id_reuse_policy=said.id_reuse_policy.name.lower(),
            execution_timeout=request.options.execution_timeout,
            run_timeout=request.options.run_timeout,
            task_timeout=request.options.task_timeout,
            retry_policy=None if said.retry_policy is None else stored_policy(said.retry_policy),
            cron_schedule=said.cron_schedule,
            memo={key: convert.to_payload(value, path=f"memo {key}") for key, value in said.memo.items()},
            search_attributes={} if attributes is None else encode_search_attributes(attributes),
            priority=(said.priority and said.priority.priority_key) or parent.priority,
            limits=limits_of(said.priority, said.concurrency, None, parent.limits),
            static_summary=said.static_summary,
            static_details=said.static_details,
        )
        return self.asked

    @property
    def asks(self) -> bool:
        """Whether a cancelled await asks the child to end."""
        return self.options.cancellation_type is not Cancellation.ABANDON

    def cancel(self, id: int) -> RequestCancelExternalWorkflowExecutionInitiated:
        """Return the command, of number `id`, that asks for its end."""
        self.step("cancel")
        asked = self.asked
        return RequestCancelExternalWorkflowExecutionInitiated(
            id=id, workflow_id=asked.workflow_id, first_run_id=asked.run_id, child=self.id
        )

    @property
    def waits(self) -> bool:
        """Whether a cancelled await goes on until something has come of it."""
        return self.options.cancellation_type in (
            Cancellation.WAIT_CANCELLATION_COMPLETED,
            Cancellation.WAIT_CANCELLATION_REQUESTED,
        )

    def cancel_taken(self) -> None:
        """Take the news that the child was asked, or could not be."""
        if self.options.cancellation_type is Cancellation.WAIT_CANCELLATION_REQUESTED:
            self.leave()

    def let_pass(self) -> None:
        """Let go what waited until it is known whether the child is there."""
        behind, self.behind = self.behind, []
        for issue in behind:
            issue()

    def leave(self) -> None:
        """End what still waits for the child as cancelled."""
        for operation in (self.starting, self.handle):
            if operation is not None and not operation.done():
                operation.complete_cancelled()

    def close(self, event: Input) -> bool:
        """Give the news to whoever still waits for it; True if there will be more."""
        starting = self.starting
        self.let_pass()
        if isinstance(event, ChildWorkflowExecutionStarted):
            self.step("start")
            if self.state == "started" and starting is not None:
                starting.on_cancel = None
                starting.set_result(None)
            return True
        cancelled = self.state == "cancel requested"
        self.step("close")
        if starting is not None and not starting.done():
            if isinstance(event, StartChildWorkflowExecutionFailed):
                starting.set_exception(self._error(event))
            # Nobody has the handle: whoever waited for the start hears of that only.
            self.leave()
        elif not self.handle.done():
            if isinstance(event, ChildWorkflowExecutionCompleted):
                self._complete(event)
            elif cancelled and isinstance(event, ChildWorkflowExecutionCanceled):
                self.leave()
            else:
                self.handle.set_exception(self._error(event))
        # These lead back to here, and only the collector opens circles.
        self.handle.on_cancel = None
        if starting is not None:
            starting.on_cancel = None
        return False

    def _complete(self, event: ChildWorkflowExecutionCompleted) -> None:
        request = self._request
        try:
            value = self._converter.from_payload(
                event.result, request.result_type, path=f"result of workflow {request.name}"
            )
        except Exception as error:
            self.handle.set_exception(error)
        else:
            self.handle.set_result(value)

    def _error(self, event: Input) -> BaseException:
        asked, convert = self.asked, self._converter
        # Temporal's: who has no policy is told so, and what is ended from outside is not to be tried again.
        state = "retry_policy_not_set"
        match event:
            case StartChildWorkflowExecutionFailed():
                return WorkflowAlreadyStartedError(asked.workflow_id, asked.workflow_type)
            case ChildWorkflowExecutionFailed():
                cause, state = convert.from_failure(event.failure), event.retry_state or state
            case ChildWorkflowExecutionTimedOut():
                cause = TimeoutError("workflow timed out", type=TimeoutType.START_TO_CLOSE)
                state = event.retry_state or state
            case ChildWorkflowExecutionTerminated():
                cause = TerminatedError(event.reason or "workflow was terminated")
                state = "non_retryable_failure"
            case ChildWorkflowExecutionCanceled():
                cause = CancelledError("workflow was cancelled", *convert.from_payloads(event.details))
                state = "non_retryable_failure"
            case _:
                raise NondeterminismError(
                    f"history has {type(event).__name__} for command {self.id}, which is child workflow "
                    f"{asked.workflow_type!r} in the code"
                )
        error = ChildWorkflowError(
            f"child workflow {asked.workflow_type!r} failed: {cause}",
            workflow_id=asked.workflow_id,
            run_id=asked.run_id,
            workflow_type=asked.workflow_type,
            retry_state=RetryState[state.upper()],
            namespace=self._namespace,
        )
        error.__cause__ = cause
        return error


class CancelChildMachine(Machine):
    """The request to a child to cancel itself: nobody awaits it but the child's own await."""

    __slots__ = ("_child",)

    table: ClassVar[Table] = {("issued", "close"): "done"}

    def __init__(self, id: int, child: ChildMachine) -> None:
        super().__init__(id)
        self._child = child

    def close(self, event: Input) -> None:
        """Take the news of what became of the request."""
        if not isinstance(
            event,
            ExternalWorkflowExecutionCancelRequested | RequestCancelExternalWorkflowExecutionFailed,
        ):
            raise NondeterminismError(
                f"history has {type(event).__name__} for command {self.id}, which is a cancel request to a child "
                "workflow in the code"
            )
        self.step("close")
        self._child.cancel_taken()
