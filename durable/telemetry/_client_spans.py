"""The spans of what a client asks for, and the contexts that it sends along."""

from __future__ import annotations

import copy
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from durable.interceptor.client import (
    CancelWorkflowInput,
    CreateScheduleInput,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalCorrelatedInput,
    SignalWorkflowInput,
    StartActivityInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
)

if TYPE_CHECKING:
    from durable.telemetry._spans import Spans


class TracedClient(OutboundInterceptor):
    """Makes a span of each call, if there is a tracer provider by then; see `docs/telemetry.md`.

    The methods are no coroutines, so that a call without a provider is the next one's and nothing more.
    """

    def __init__(self, next: OutboundInterceptor, find: Callable[[], Spans | None]) -> None:
        super().__init__(next)
        self._find = find

    def _around(
        self,
        name: str,
        attributes: Mapping[str, Any],
        input: Any,
        call: Callable[[Any], Awaitable[Any]],
        *,
        starts: bool = False,
    ) -> Awaitable[Any]:
        """Make the call, in a span if there are spans, whose context is in the headers of each of these inputs."""
        spans = self._find()
        if spans is None:
            return call(input)
        return _in_span(spans, name, attributes, input, call, starts)

    def start_workflow(self, input: StartWorkflowInput) -> Awaitable[Any]:  # type: ignore[override]
        """`StartWorkflow`, or `SignalWithStartWorkflow`."""
        kind = "StartWorkflow" if input.start_signal is None else "SignalWithStartWorkflow"
        about = {"durable.workflow.id": input.id, "durable.workflow.type": input.workflow}
        about["durable.task_queue"] = input.task_queue
        return self._around(f"{kind}:{input.workflow}", about, input, self.next.start_workflow, starts=True)

    def start_update_with_start_workflow(  # type: ignore[override]
        self, input: StartWorkflowUpdateWithStartInput
    ) -> Awaitable[Any]:
        """`UpdateWithStartWorkflow`."""
        start, update = input.start_workflow_input, input.update_workflow_input
        about = {"durable.workflow.id": start.id, "durable.workflow.type": start.workflow}
        about["durable.update.id"] = update.update_id
        call = self.next.start_update_with_start_workflow
        return self._around(f"UpdateWithStartWorkflow:{start.workflow}", about, input, call, starts=True)

    def signal_workflow(self, input: SignalWorkflowInput) -> Awaitable[None]:  # type: ignore[override]
        """`SignalWorkflow`."""
        return self._around(f"SignalWorkflow:{input.signal}", _about(input), input, self.next.signal_workflow)

    def signal_correlated(self, input: SignalCorrelatedInput) -> Awaitable[Any]:  # type: ignore[override]
        """`SignalWorkflow`."""
        return self._around(f"SignalWorkflow:{input.signal}", {}, input, self.next.signal_correlated)

    def query_workflow(self, input: QueryWorkflowInput) -> Awaitable[Any]:  # type: ignore[override]
        """`QueryWorkflow`."""
        return self._around(f"QueryWorkflow:{input.query}", _about(input), input, self.next.query_workflow)

    def start_workflow_update(self, input: StartWorkflowUpdateInput) -> Awaitable[Any]:  # type: ignore[override]
        """`StartWorkflowUpdate`."""
        about = {**_about(input), "durable.update.id": input.update_id}
        return self._around(
            f"StartWorkflowUpdate:{input.update}", about, input, self.next.start_workflow_update
        )

    def cancel_workflow(self, input: CancelWorkflowInput) -> Awaitable[None]:  # type: ignore[override]
        """`CancelWorkflow`."""
        return self._around("CancelWorkflow", _about(input), input, self.next.cancel_workflow)

    def terminate_workflow(self, input: TerminateWorkflowInput) -> Awaitable[None]:  # type: ignore[override]
        """`TerminateWorkflow`."""
        return self._around("TerminateWorkflow", _about(input), input, self.next.terminate_workflow)

    def start_activity(self, input: StartActivityInput) -> Awaitable[Any]:  # type: ignore[override]
        """`StartActivity`."""
        about = {"durable.activity.id": input.id, "durable.activity.type": input.activity_type}
        about["durable.task_queue"] = input.task_queue or ""
        return self._around(f"StartActivity:{input.activity_type}", about, input, self.next.start_activity)

    def create_schedule(self, input: CreateScheduleInput) -> Awaitable[Any]:  # type: ignore[override]
        """`CreateSchedule`."""
        return self._around(
            "CreateSchedule", {"durable.schedule.id": input.id}, input, self.next.create_schedule
        )


def _about(input: Any) -> dict[str, Any]:
    return {"durable.workflow.id": input.id, "durable.workflow.run_id": input.run_id}


async def _in_span(
    spans: Spans,
    name: str,
    attributes: Mapping[str, Any],
    input: Any,
    call: Callable[[Any], Awaitable[Any]],
    starts: bool,
) -> Any:
    from durable.telemetry._spans import CLIENT, with_cause, with_context  # noqa: PLC0415 - OpenTelemetry is there

    at = time.time_ns() // 1000 if starts else None
    with spans.span(name, CLIENT, attributes) as span:
        parts: tuple[Any, ...] = (input,)
        if isinstance(input, StartWorkflowUpdateWithStartInput):
            parts = (input.start_workflow_input, input.update_workflow_input)
        if isinstance(input, CreateScheduleInput):
            input.schedule = _caused(input.schedule, with_cause)
        for part in parts:
            if hasattr(part, "headers"):
                part.headers = with_context(part.headers, None, at=at)
        found = await call(input)
        if starts:
            # What was not known before: the id of a start that named none, and the run.
            run_id = getattr(found, "first_execution_run_id", None) or getattr(found, "workflow_run_id", None)
            workflow_id = getattr(found, "workflow_id", None) or getattr(found, "id", None)
            known = {"durable.workflow.id": workflow_id, "durable.workflow.run_id": run_id}
            span.set_attributes(spans.named(known))
        return found


def _caused(schedule: Any, with_cause: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Any:
    """Return a schedule whose runs are linked to the present span; the caller's own object stays as it is."""
    action: Any = getattr(schedule, "action", None)
    if not hasattr(action, "headers"):
        return schedule  # whoever creates it says what is wrong with it
    action = copy.copy(action)
    action.headers = with_cause(action.headers or {})
    return replace(schedule, action=action)
