"""The spans themselves; see `_tracing` for the rule by which they have parents.

Spans of workflows are made by the worker, behind a task that ran for the first time, and not by the code: so a replay has
none to make. They begin and end by the database's clock. A task that is run again since its worker died before it was
written has a span for each time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import structs
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from durable import activity
from durable.activity._context import CURRENT, CompleteAsyncError
from durable.exceptions import ApplicationError, ApplicationErrorCategory, CancelledError
from durable.history import (
    ActivityTaskScheduled,
    CommandEvent,
    Event,
    Payload,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    TimerFired,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionUpdateAccepted,
)
from durable.interceptor.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    WorkflowInboundInterceptor,
)
from durable.workflow._runtime import find

HEADER = "_tracer-data"
"""The header that carries a context: JSON, with the fields of W3C's headers. Temporal's name and form."""

CLIENT = SpanKind.CLIENT

AT = "at"
"""The field that tells when the trace began, in microseconds: a run's successors are as old as their trace is."""

LINK = "link"
"""The field beside them: the `traceparent` of what caused the call, which is no parent of it."""

PREVIOUS = 1000
"""Attempts that are remembered for the link of the next one."""

_W3C = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])


def inject(context: Context | None) -> dict[str, str]:
    """Return a context as W3C writes it; the present one by default."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context)
    return carrier


def extract(carrier: Mapping[str, str]) -> Context:
    """Return the context that W3C's fields tell of, and nothing of the present one."""
    return _W3C.extract(carrier, Context())


@contextmanager
def attached(context: Context) -> Generator[None]:
    """Make a context the present one."""
    token = contexts.attach(context)
    try:
        yield
    finally:
        contexts.detach(token)


class Carried:
    """What a header brought: the context of the parent, the link, and when the trace began (None if that is not told)."""

    __slots__ = ("at", "context", "link")

    def __init__(self, headers: Mapping[str, Payload]) -> None:
        carrier = _carrier_of(headers)
        self.context = extract(carrier)
        at = carrier.get(AT, "")
        self.at = int(at) if at.isascii() and at.isdigit() and len(at) < 20 else None
        self.link = _span_context(extract({"traceparent": carrier.get(LINK, "")}))

    @property
    def parent(self) -> SpanContext | None:
        """The span that is the parent; None if the header names none."""
        return _span_context(self.context)


def _carrier_of(headers: Mapping[str, Payload]) -> dict[str, str]:
    """What is not what this library writes is no context: it must not cost a run anything."""
    payload = headers.get(HEADER)
    if payload is None:
        return {}
    try:
        found = msgspec.json.decode(payload.data, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def _span_context(context: Context) -> SpanContext | None:
    found = trace.get_current_span(context).get_span_context()
    return found if found.is_valid else None


def with_context(
    headers: Mapping[str, Payload],
    context: Context | None,
    link: SpanContext | None = None,
    at: int | None = None,
) -> dict[str, Payload]:
    """Return headers with a context in them, unless somebody has put one there already; the present one by default."""
    if HEADER in headers:
        return {**headers}
    carrier = inject(context)
    if link is not None and link.is_valid:
        carrier[LINK] = _traceparent(link)
    if not carrier:
        return {**headers}
    if at is not None:
        carrier[AT] = str(at)
    return {**headers, HEADER: _written(carrier)}


def with_cause(headers: Mapping[str, Payload]) -> dict[str, Payload]:
    """Return headers that tell of the present span as the cause of what comes of them later, and as no parent."""
    cause = trace.get_current_span().get_span_context()
    if HEADER in headers or not cause.is_valid:
        return {**headers}
    return {**headers, HEADER: _written({LINK: _traceparent(cause)})}


def _traceparent(span: SpanContext) -> str:
    return inject(trace.set_span_in_context(NonRecordingSpan(span), Context()))["traceparent"]


def _written(carrier: Mapping[str, str]) -> Payload:
    return Payload(json.dumps(carrier, separators=(",", ":")).encode())


def error_type(error: BaseException) -> str:
    """Return what the attribute `error.type` says."""
    return (isinstance(error, ApplicationError) and error.type) or type(error).__name__


def is_expected(error: BaseException) -> bool:
    """Whether an exception is no error to whoever looks at traces."""
    if isinstance(error, ApplicationError):
        return error.category is ApplicationErrorCategory.BENIGN
    return isinstance(error, CancelledError | asyncio.CancelledError | CompleteAsyncError)


class Spans:
    """Makes spans with one provider's tracer.

    Args:
        provider: The provider.
        max_age: Microseconds after which a run begins another trace.
        aliases: Whether attributes have Temporal's names as well.
    """

    def __init__(self, provider: trace.TracerProvider, *, max_age: int, aliases: bool) -> None:
        self.tracer = provider.get_tracer("durable")
        self.max_age = max_age
        self._aliases = aliases
        self.previous: OrderedDict[tuple[str, str], SpanContext] = OrderedDict()

    def named(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """Return those attributes of which something is known, with their other names if these are wanted."""
        found = {name: value for name, value in attributes.items() if value not in (None, "")}
        if self._aliases:
            found |= {_TEMPORAL[name]: value for name, value in found.items() if name in _TEMPORAL}
        return found

    @contextmanager
    def span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        *,
        context: Context | None = None,
        links: Sequence[Link] = (),
    ) -> Generator[Span]:
        """Make a span of what is done while it is entered, in the present context by default."""
        span = self.tracer.start_span(name, context, kind, self.named(attributes), links)
        # Not OpenTelemetry's own way, which would leave the present baggage in place: that of whoever came by.
        with attached(trace.set_span_in_context(span, context)):
            try:
                yield span
            except BaseException as error:
                span.set_attribute("error.type", error_type(error))
                if not is_expected(error):
                    span.record_exception(error)
                    span.set_status(StatusCode.ERROR, str(error))
                raise
            finally:
                span.end()

    def done(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        context: Context,
        began: int,
        ended: int,
        *,
        links: Sequence[SpanContext | None] = (),
        error: str = "",
        fails: bool = True,
    ) -> SpanContext:
        """Make a span of what is over, with its instants in microseconds."""
        span = self.tracer.start_span(
            name,
            context,
            kind,
            self.named(attributes),
            [Link(one) for one in links if one is not None],
            start_time=began * 1000,
        )
        if error:
            span.set_attribute("error.type", error)
            if fails:
                span.set_status(StatusCode.ERROR)
        span.end(max(began, ended) * 1000)
        return span.get_span_context()

    def scheduled(
        self, workflow_type: str, attributes: Mapping[str, Any], headers: Mapping[str, Payload]
    ) -> tuple[dict[str, Payload], Span | None]:
        """Begin a trace with a run that a schedule starts, linked to the call that made the schedule.

        Returns:
            The headers of the run, and the span of its start, to be ended when it has been started; None if the headers
            name a parent already, which somebody has put there.
        """
        carried = Carried(headers)
        if carried.parent is not None:
            return {**headers}, None
        links = [] if carried.link is None else [Link(carried.link)]
        name, at = f"StartWorkflow:{workflow_type}", time.time_ns() // 1000
        span = self.tracer.start_span(name, Context(), CLIENT, self.named(attributes), links)
        kept = {name: value for name, value in headers.items() if name != HEADER}
        return with_context(kept, trace.set_span_in_context(span, Context()), at=at), span

    def around_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Return what makes a span of an attempt."""
        return _TracedActivity(next, self)

    def workflow_class(self) -> type[WorkflowInboundInterceptor]:
        """Return what gives workflow code its context."""
        return type("TracedWorkflow", (_TracedWorkflow,), {"spans": self})

    def remember(self, key: tuple[str, str], span: SpanContext) -> SpanContext | None:
        """Keep the span of an attempt for the next one, and return that of the one before."""
        before = self.previous.pop(key, None)
        self.previous[key] = span
        while len(self.previous) > PREVIOUS:
            self.previous.popitem(last=False)
        return before


_TEMPORAL = {
    "durable.workflow.id": "temporalWorkflowID",
    "durable.workflow.run_id": "temporalRunID",
    "durable.activity.id": "temporalActivityID",
    "durable.update.id": "temporalUpdateID",
}


# ---------------------------------------------------------------------- activities


class _TracedActivity(ActivityInboundInterceptor):
    """Makes `RunActivity` of an attempt; its function, wherever it runs, has this span for the present one."""

    def __init__(self, next: ActivityInboundInterceptor, spans: Spans) -> None:
        super().__init__(next)
        self._spans = spans

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        about, carried, spans = activity.info(), Carried(input.headers), self._spans
        key = about.workflow_run_id or about.activity_run_id or "", about.activity_id
        links = [Link(one) for one in (carried.link, spans.previous.get(key)) if one is not None]
        attributes = {
            "durable.namespace": about.namespace,
            "durable.task_queue": about.task_queue,
            "durable.workflow.id": about.workflow_id,
            "durable.workflow.run_id": key[0],
            "durable.workflow.type": about.workflow_type,
            "durable.activity.id": about.activity_id,
            "durable.activity.type": about.activity_type,
            "durable.activity.attempt": about.attempt,
            "durable.worker.id": CURRENT.get().worker_id,
        }
        name = f"RunActivity:{about.activity_type}"
        with spans.span(name, SpanKind.SERVER, attributes, context=carried.context, links=links) as span:
            spans.remember(key, span.get_span_context())
            try:
                result = await super().execute_activity(input)
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                if details is not None and details.timed_out:
                    span.set_status(StatusCode.ERROR, "timed out")
                raise
            # Only a failure is followed by another attempt.
            spans.previous.pop(key, None)
            return result


# ---------------------------------------------------------------------- workflow code


class _ReplayAwareSpan(NonRecordingSpan):
    """The parent of spans that workflow code makes itself: not sampled while a history is replayed.

    So whatever samples by the parent, as is the default, makes no span of what has been seen before.
    """

    def get_span_context(self) -> SpanContext:
        context = super().get_span_context()
        runtime = find()
        if runtime is None or not runtime.is_replaying():
            return context
        return SpanContext(context.trace_id, context.span_id, True, TraceFlags(0), context.trace_state)


class _TracedWorkflow(WorkflowInboundInterceptor):
    """Gives workflow code the context that its run began with, and makes spans of queries and of validators."""

    spans: Spans
    _context: Context | None = None

    def _with(self, headers: Mapping[str, Payload]) -> Context:
        context = Carried(headers).context
        if (parent := _span_context(context)) is not None:
            context = trace.set_span_in_context(_ReplayAwareSpan(parent), context)
        return context

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        self._context = self._with(input.headers)
        # Its task has a context of its own, in which this stays for as long as it lives.
        contexts.attach(self._context)
        return await super().execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        contexts.attach(self._context or self._with(input.headers))
        await super().handle_signal(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        contexts.attach(self._context or self._with(input.headers))
        return await super().handle_update_handler(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        with self._live(f"HandleQuery:{input.query}", input.headers, {}):
            return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        runtime = find()
        if runtime is not None and runtime.is_replaying():
            super().handle_update_validator(input)
            return
        with self._live(f"ValidateUpdate:{input.update}", input.headers, {"durable.update.id": input.id}):
            super().handle_update_validator(input)

    @contextmanager
    def _live(
        self, name: str, headers: Mapping[str, Payload], attributes: Mapping[str, Any]
    ) -> Generator[None]:
        runtime = find()
        about = {} if runtime is None else _about_run(runtime.info())
        with self.spans.span(
            name, SpanKind.SERVER, {**about, **attributes}, context=Carried(headers).context
        ):
            yield


def _about_run(info: Any) -> dict[str, Any]:
    return {
        "durable.namespace": info.namespace,
        "durable.task_queue": info.task_queue,
        "durable.workflow.id": info.workflow_id,
        "durable.workflow.run_id": info.run_id,
        "durable.workflow.type": info.workflow_type,
    }


# ---------------------------------------------------------------------- owned runs


class RunSpans:
    """The spans of one owned run.

    Args:
        spans: Makes them.
        run_id: The run.
        started: Its first event.
        created_at: When it was started, in microseconds.
        worker: Attributes of the worker.
    """

    def __init__(
        self,
        spans: Spans,
        run_id: str,
        started: WorkflowExecutionStarted,
        created_at: int,
        worker: Mapping[str, Any],
    ) -> None:
        self._spans = spans
        self._started = started
        self._carried = Carried(started.headers)
        self._context = self._carried.context
        self._since = created_at if self._carried.at is None else min(self._carried.at, created_at)
        self._created_at = created_at
        self._traced = self._carried.parent is not None
        self._told = 0
        self._attributes = {
            **worker,
            "durable.workflow.id": started.workflow_id,
            "durable.workflow.run_id": run_id,
            "durable.workflow.type": started.workflow_type,
        }

    def task_ran(
        self,
        task: Sequence[Event],
        commands: Sequence[CommandEvent],
        rejected: Mapping[str, object],
        began: int,
        ended: int,
        timers: Mapping[int, tuple[int, int]],
    ) -> list[CommandEvent]:
        """Make the spans of a task that ran for the first time, and return its commands with contexts in their headers.

        Args:
            task: Its inputs.
            commands: What it asked for.
            rejected: Updates that its code refused.
            began: When it began, in microseconds of the database's clock.
            ended: When it ended.
            timers: Of the timers that fired, when they began and when they were due.
        """
        if not self._traced:
            return list(commands)
        spans, links = self._spans, list[SpanContext | None]()
        if began - self._since > spans.max_age:
            # A trace of its own, linked to the one that is too old to be added to.
            links = [_span_context(self._context)]
            self._context = _under(trace.INVALID_SPAN_CONTEXT, self._context)
            self._since = began
        attributes = {
            **self._attributes,
            "durable.event.id": task[-1].seq,
            "durable.workflow.task": task[-1].task,
        }
        name = f"WorkflowTask:{self._started.workflow_type}"
        ran = spans.done(name, SpanKind.INTERNAL, attributes, self._context, began, ended, links=links)
        if links:
            self._context = _under(ran, self._context)
        for event in task:
            if event.seq > self._told:
                self._input(event, rejected, began, timers)
        self._told = max(self._told, task[-1].seq)
        return [self._carried_on(command, ran, ended) for command in commands]

    def _input(
        self,
        event: Event,
        rejected: Mapping[str, object],
        now: int,
        timers: Mapping[int, tuple[int, int]],
    ) -> None:
        data, done, attributes = (
            event.data,
            self._spans.done,
            {**self._attributes, "durable.event.id": event.seq},
        )
        if isinstance(data, WorkflowExecutionSignaled):
            links = [Carried(data.headers).parent]
            name = f"HandleSignal:{data.name}"
            done(name, SpanKind.SERVER, attributes, self._context, now, now, links=links)
        elif isinstance(data, WorkflowExecutionUpdateAccepted):
            if data.message not in rejected:
                links = [Carried(data.headers).parent]
                attributes["durable.update.id"] = data.message.removeprefix("update:")
                name = f"HandleUpdate:{data.name}"
                done(name, SpanKind.SERVER, attributes, self._context, now, now, links=links)
        elif isinstance(data, TimerFired) and data.id in timers:
            began, _ = timers[data.id]
            done("Timer", SpanKind.INTERNAL, attributes, self._context, began, event.time)

    def _carried_on(self, command: CommandEvent, ran: SpanContext, now: int) -> CommandEvent:
        """Return a command with the context of its run, or with that of a span of its own if another run begins with it."""
        if isinstance(command, ActivityTaskScheduled):
            return structs.replace(command, headers=with_context(command.headers, self._context, ran))
        if isinstance(command, StartChildWorkflowExecutionInitiated):
            name = f"StartChildWorkflow:{command.workflow_type}"
            attributes = {**self._attributes, "durable.child.workflow.id": command.workflow_id}
        elif isinstance(command, SignalExternalWorkflowExecutionInitiated):
            kind = "SignalChildWorkflow" if command.first_run_id else "SignalExternalWorkflow"
            name = f"{kind}:{command.name}"
            attributes = {**self._attributes, "durable.target.workflow.id": command.workflow_id}
        elif isinstance(command, WorkflowExecutionContinuedAsNew):
            return self._continued(command, ran, now)
        else:
            return command
        made = self._spans.done(name, SpanKind.CLIENT, attributes, self._context, now, now, links=[ran])
        headers = with_context(command.headers, _under(made, self._context), at=self._since)
        return structs.replace(command, headers=headers)

    def _continued(
        self, command: WorkflowExecutionContinuedAsNew, ran: SpanContext, now: int
    ) -> CommandEvent:
        """Begin another trace with the next run, linked to this one; its baggage goes on."""
        workflow_type = command.workflow_type or self._started.workflow_type
        attributes = {**self._attributes, "durable.workflow.type": workflow_type}
        attributes["durable.continued.run_id"] = attributes.pop("durable.workflow.run_id")
        root = _under(trace.INVALID_SPAN_CONTEXT, self._context)
        made = self._spans.done(
            f"StartWorkflow:{workflow_type}", SpanKind.CLIENT, attributes, root, now, now, links=[ran]
        )
        # Without headers of its own the next run has those of this one.
        kept = command.headers or {
            name: value for name, value in self._started.headers.items() if name != HEADER
        }
        return structs.replace(command, headers=with_context(kept, _under(made, self._context), at=now))

    def closed(self, status: str, ended: int, *, error: str = "", expected: bool = False) -> None:
        """Make the span of the whole run."""
        links = [self._carried.link]
        context = self._context
        if self._traced and ended - self._since > self._spans.max_age:
            links.append(_span_context(context))
            context = _under(trace.INVALID_SPAN_CONTEXT, context)
        self._spans.done(
            f"RunWorkflow:{self._started.workflow_type}",
            SpanKind.SERVER,
            {**self._attributes, "durable.workflow.status": status},
            context,
            self._created_at,
            ended,
            links=links,
            error=error,
            fails=not expected,
        )


def _under(span: SpanContext, context: Context) -> Context:
    """Return a context with another parent, and the same baggage."""
    return trace.set_span_in_context(NonRecordingSpan(span), context)
