"""Activities, as the code that called them sees them.

        issued -----------cancel--> cancel requested     ActivityTaskCancelRequested, once; or nothing, if the activity
                                                         was scheduled in this very task: then it never was
        issued -----------close---> done                 the result or the failure reaches the code
        cancel requested -cancel--> cancel requested     anyio repeats its cancels
        cancel requested -close---> done                 with WAIT_CANCELLATION_COMPLETED the outcome reaches the code,
                                                         else it left long ago

A cancelled await ends with `asyncio.CancelledError`, as any await does, so that `asyncio.timeout`, task groups and
anyio's scopes work: Temporal's `ActivityError` with a `CancelledError` inside would pass through all of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec.structs import replace

from durable._internal.instants import SECOND
from durable._replay._awaitables import Operation
from durable._replay.machines._machine import Machine, Table
from durable.activity._call import ActivityCall
from durable.activity._options import ActivityOptions
from durable.common import ActivityCancellationType, RetryPolicy
from durable.converter import ActivitySerializationContext, DataConverter
from durable.converter._checked import to_checked_payloads
from durable.exceptions import ActivityError, NondeterminismError, RetryState
from durable.history import (
    DEFAULT_PRIORITY,
    ActivityTaskCanceled,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Input,
    Payloads,
    RetryPolicyData,
    WorkflowExecutionStarted,
    encode_retry_policy,
    limits_of,
)

DEFAULT_START_TO_CLOSE = 300 * SECOND
"""Microseconds an attempt may take when the caller gives neither start-to-close nor schedule-to-close."""


class ActivityMachine(Machine):
    """One activity of one run."""

    __slots__ = ("_call", "_converter", "operation")

    LOCAL: ClassVar[bool] = False

    table: ClassVar[Table] = {
        ("issued", "cancel"): "cancel requested",
        ("issued", "close"): "done",
        ("cancel requested", "cancel"): "cancel requested",
        ("cancel requested", "close"): "done",
    }

    operation: Operation[Any]

    def __init__(self, id: int, call: ActivityCall[Any], converter: DataConverter) -> None:
        self.id = id  # not by `super().__init__`, which would be a second call per step
        self.state = "issued"
        self._call = call
        self._converter = converter

    @property
    def name(self) -> str:
        """The type of the activity."""
        return self._call.name

    @property
    def activity_id(self) -> str:
        """What it is known by within its run."""
        return self._call.options.activity_id or str(self.id)

    @property
    def cancellation(self) -> ActivityCancellationType:
        """What the code sees when it cancels the activity."""
        return self._call.options.cancellation_type

    def start(self, started: WorkflowExecutionStarted, namespace: str) -> ActivityTaskScheduled:
        """Return the command that schedules it.

        The arguments are read back as the types the activity takes, so that a wrong one is an error of the caller and
        not of every attempt. So they are in a replay: code that goes on after that error must meet it again.

        Args:
            started: The run that asks; an activity that names no task queue has its.
            namespace: The namespace of both.

        Raises:
            ConversionError: An argument cannot be stored, or is not of its type.
        """
        call = self._call
        common = _scheduled_with(call.options)
        activity_id = common.activity_id or str(self.id)
        task_queue = common.task_queue or started.task_queue
        if self._converter.takes_context:
            # The worker that runs it says the same.
            self._converter = self._converter.with_context(
                ActivitySerializationContext(
                    namespace=namespace,
                    activity_id=activity_id,
                    activity_type=call.name,
                    activity_task_queue=task_queue,
                    workflow_id=started.workflow_id,
                    workflow_type=started.workflow_type,
                    is_local=self.LOCAL,
                )
            )
        scheduled = replace(
            common,
            id=self.id,
            activity_id=activity_id,
            activity_type=call.name,
            task_queue=task_queue,
            input=self._input(),
        )
        if started.priority != DEFAULT_PRIORITY or started.limits is not None:
            return self._inherit(scheduled, started)
        return scheduled

    def _inherit(
        self, scheduled: ActivityTaskScheduled, started: WorkflowExecutionStarted
    ) -> ActivityTaskScheduled:
        """Return the command with what was not said about its priority as the workflow has it."""
        said = self._call.options
        own = said.priority
        return replace(
            scheduled,
            priority=started.priority if own is None or own.priority_key is None else own.priority_key,
            limits=limits_of(own, said.concurrency, said.circuit_breaker, started.limits),
        )

    def _input(self) -> Payloads:
        call = self._call
        types = None if call.definition is None else call.definition.parameters.types
        return to_checked_payloads(self._converter, call.args, types, f"{call.name} input")

    def cancel(self) -> ActivityTaskCancelRequested | None:
        """Return the command that asks for its end, if that is to be asked and has not been."""
        before = self.state
        self.step("cancel")
        if before != "issued" or self.cancellation is ActivityCancellationType.ABANDON:
            return None
        return ActivityTaskCancelRequested(id=self.id)

    def close(self, event: Input) -> None:
        """Give the outcome to whoever still waits for it."""
        self.step("close")
        operation = self.operation
        operation.on_cancel = None  # It leads back to here, and only the collector opens circles.
        if operation.done():
            return
        call = self._call
        if isinstance(event, ActivityTaskCompleted):
            try:
                value = self._converter.from_payload(
                    event.result, call.result_type, path=f"result of activity {call.name}"
                )
            except Exception as error:
                operation.set_exception(error)
            else:
                operation.set_result(value)
        elif isinstance(event, ActivityTaskFailed | ActivityTaskTimedOut):
            operation.set_exception(self._error(event))
        elif isinstance(event, ActivityTaskCanceled):
            operation.complete_cancelled()
        else:
            raise NondeterminismError(
                f"history has {type(event).__name__} for command {self.id}, which is activity "
                f"{call.name!r} in the code"
            )

    def _error(self, event: ActivityTaskFailed | ActivityTaskTimedOut) -> ActivityError:
        cause = self._converter.from_failure(event.failure)
        # Its own words: what is stored may be encoded.
        message = getattr(cause, "message", event.failure.message)
        error = ActivityError(
            f"activity {self._call.name!r} failed: {message}",
            activity_type=self._call.name,
            activity_id=self.activity_id,
            retry_state=None if event.retry_state is None else RetryState[event.retry_state.upper()],
            identity=event.identity,
        )
        error.__cause__ = cause
        return error


_remembered: dict[int, tuple[ActivityOptions, ActivityTaskScheduled]] = {}

_REMEMBERED = 1000
"""How many options are remembered as events; programs have a handful, and those that make them per call few at once."""


def _scheduled_with(options: ActivityOptions) -> ActivityTaskScheduled:
    """Return what all commands with these options have in common: one of them without number, type and input."""
    known = _remembered.get(id(options))
    if known is not None:
        return known[1]
    start_to_close = options.start_to_close_timeout
    if start_to_close is None and options.schedule_to_close_timeout is None:
        start_to_close = DEFAULT_START_TO_CLOSE
    common = ActivityTaskScheduled(
        activity_id=options.activity_id or "",
        task_queue=options.task_queue or "",
        schedule_to_close=options.schedule_to_close_timeout,
        schedule_to_start=options.schedule_to_start_timeout,
        start_to_close=start_to_close,
        heartbeat=options.heartbeat_timeout,
        retry_policy=stored_policy(options.retry_policy),
        cancellation_type=options.cancellation_type.name.lower(),
        eager=options.eager,
        summary=options.summary,
        priority=(options.priority and options.priority.priority_key) or DEFAULT_PRIORITY,
        limits=limits_of(options.priority, options.concurrency, options.circuit_breaker, None),
    )
    if len(_remembered) >= _REMEMBERED:
        _remembered.clear()
    # The options are kept beside the event, so that their id cannot come to mean other ones.
    _remembered[id(options)] = options, common
    return common


def stored_policy(policy: RetryPolicy | None) -> RetryPolicyData:
    """Return a retry policy as it is stored; the default policy is stored as nothing."""
    return _DEFAULT_POLICY if policy is None else encode_retry_policy(policy)


_DEFAULT_POLICY = RetryPolicyData()
"""The default policy; it is stored as nothing."""
