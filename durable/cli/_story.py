"""A history as a story: what was begun, in that order, each with what became of it, how long that took and how often it was tried.

An activity, a timer, a child or an update is one line although it has two events or more. A line is told once its end is
known, and all lines in the order of their beginnings, so a few wait for the oldest of them; not more than `MOST_WAITING`,
whatever the length of the history: then the oldest is told as it is, and its end by a line of its own. So a history is told
while it is read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from durable import history as h
from durable.cli._output import lasted
from durable.history import Event, Failure, Payload

MOST_WAITING = 1000
"""Lines that wait for the end of an older one."""

LONGEST_VALUE = 60
"""Characters of a value, of which the rest is left out: `show --json` has all of it."""

SECOND = 1_000_000


@dataclass
class Line:
    """Something that happened, or that goes on.

    Attributes:
        begun: When it began, in microseconds since the epoch.
        kind: What it is, in a word.
        name: Which one.
        outcome: What became of it; "" as long as it goes on.
        value: What it returned.
        style: How it went: "red" for badly.
        number: The event that began it.
        told: Whether it has been told without its end.
    """

    begun: int
    kind: str
    name: str
    outcome: str = ""
    value: str = ""
    style: str | None = None
    number: int = 0
    told: bool = False
    over: bool = True


Key = tuple[str, int | str]


class Story:
    """Tells a history, event by event."""

    def __init__(self) -> None:
        self._open: dict[Key, Line] = {}
        self._waiting: deque[Line] = deque()

    def tell(self, event: Event) -> list[Line]:
        """Return the lines that can be told now that this has happened too."""
        line = self._begin(event) or self._end(event)
        if line is not None:
            line.number = line.number or event.seq
            self._waiting.append(line)
        found: list[Line] = []
        while self._waiting and (self._waiting[0].over or len(self._waiting) > MOST_WAITING):
            found.append(self._take())
        return found

    def rest(self) -> list[Line]:
        """Return the lines that wait for an end: those things go on."""
        return [self._take() for _ in range(len(self._waiting))]

    def _take(self) -> Line:
        line = self._waiting.popleft()
        if not line.over:
            line.told = True
            return replace(line, outcome="goes on")
        return line

    def _begin(self, event: Event) -> Line | None:
        """Return a line that is open from now on, if the event begins something that has an end."""
        data: Any = event.data
        key: Key
        if isinstance(data, h.ActivityTaskScheduled):
            kind = "activity" if data.local is None else "local"
            key, line = ("activity", data.id), Line(event.time, kind, called(data.activity_type, data.input))
        elif isinstance(data, h.TimerStarted):
            name = lasted(data.duration / SECOND) + (f" ({data.summary})" if data.summary else "")
            key, line = ("timer", data.id), Line(event.time, "timer", name)
        elif isinstance(data, h.StartChildWorkflowExecutionInitiated):
            name = f"{called(data.workflow_type, data.input)} {data.workflow_id}"
            key, line = ("child", data.id), Line(event.time, "child", name)
        elif isinstance(data, h.SignalExternalWorkflowExecutionInitiated):
            key = ("signal", data.id)
            line = Line(event.time, "signals", f"{called(data.name, data.input)} to {data.workflow_id}")
        elif isinstance(data, h.RequestCancelExternalWorkflowExecutionInitiated):
            key, line = ("cancel", data.id), Line(event.time, "cancels", data.workflow_id)
        elif isinstance(data, h.WorkflowExecutionUpdateAccepted):
            key, line = (
                ("update", data.message),
                Line(event.time, "update", called(data.name, data.input)),
            )
        else:
            return None
        line.over = False
        self._open[key] = line
        return line

    def _end(self, event: Event) -> Line | None:
        """Give something its end; return a line for what has none, and for an end whose beginning has been told."""
        data: Any = event.data
        ending = _ENDINGS.get(type(event.data))
        if ending is None:
            return _alone(event)
        kind, how = ending
        key: Key = (kind, data.update if kind == "update" else data.id)
        if isinstance(data, h.ChildWorkflowExecutionStarted | h.ActivityTaskCancelRequested):
            return None  # it goes on
        line = self._open.pop(key, None)
        if line is None:
            return None  # cut off by a reset
        took = lasted((event.time - line.begun) / SECOND)
        attempt = getattr(data, "attempt", 1)
        tries = f", attempt {attempt}" if attempt > 1 else ""
        failure: Failure | None = getattr(data, "failure", None)
        result: Payload | None = getattr(data, "result", None)
        outcome = "failed" if kind == "update" and failure else how
        # A timer is named by its duration. What took no time was written with its outcome.
        outcome += tries if how == "fired" or event.time == line.begun else f" after {took}{tries}"
        if (again := getattr(data, "retry_in", None)) is not None:
            outcome += f", again in {lasted(again / SECOND)}"
        bad = failure is not None or how in ("failed", "timed out", "not found")
        if failure is not None:
            outcome += f": {reason(failure)}"
        value = "" if result is None or failure is not None else value_of(result)
        if line.told:
            return Line(event.time, line.kind, line.name, outcome, value, "red" if bad else None, line.number)
        line.outcome, line.over, line.style = outcome, True, "red" if bad else None
        line.value = value
        return None


_ENDINGS: dict[type[h.EventData], tuple[str, str]] = {
    h.ActivityTaskCompleted: ("activity", "done"),
    h.ActivityTaskFailed: ("activity", "failed"),
    h.ActivityTaskTimedOut: ("activity", "timed out"),
    h.ActivityTaskCanceled: ("activity", "cancelled"),
    h.ActivityTaskCancelRequested: ("activity", ""),
    h.TimerFired: ("timer", "fired"),
    h.TimerCanceled: ("timer", "cancelled"),
    h.ChildWorkflowExecutionStarted: ("child", ""),
    h.StartChildWorkflowExecutionFailed: ("child", "not started"),
    h.ChildWorkflowExecutionCompleted: ("child", "done"),
    h.ChildWorkflowExecutionFailed: ("child", "failed"),
    h.ChildWorkflowExecutionCanceled: ("child", "cancelled"),
    h.ChildWorkflowExecutionTerminated: ("child", "terminated"),
    h.ChildWorkflowExecutionTimedOut: ("child", "timed out"),
    h.ExternalWorkflowExecutionSignaled: ("signal", "sent"),
    h.SignalExternalWorkflowExecutionFailed: ("signal", "not found"),
    h.ExternalWorkflowExecutionCancelRequested: ("cancel", "sent"),
    h.RequestCancelExternalWorkflowExecutionFailed: ("cancel", "not found"),
    h.WorkflowExecutionUpdateCompleted: ("update", "done"),
}
"""What an event ends, and how; "" for one that is only on the way."""


def _alone(event: Event) -> Line:
    """Return the line of an event that is a matter of its own."""
    data: Any = event.data
    at = event.time
    match data:
        case h.WorkflowExecutionStarted():
            by = f" by {data.identity}" if data.identity else ""
            return Line(at, "started", called(data.workflow_type, data.input), f"on {data.task_queue!r}{by}")
        case h.WorkflowExecutionSignaled():
            return Line(at, "signal", called(data.name, data.input), f"from {data.identity}")
        case h.WorkflowExecutionCancelRequested():
            return Line(at, "cancel", data.reason or "requested", f"by {data.identity}")
        case h.WorkflowExecutionCompleted():
            return Line(at, "completed", "", _goes_on(data.new_run_id), value_of(data.result), "green")
        case h.WorkflowExecutionFailed():
            return Line(at, "failed", reason(data.failure), _goes_on(data.new_run_id), style="red")
        case h.WorkflowExecutionCanceled():
            return Line(at, "cancelled", "", values(data.details))
        case h.WorkflowExecutionTerminated():
            return Line(at, "terminated", data.reason, f"by {data.identity}", style="red")
        case h.WorkflowExecutionTimedOut():
            return Line(at, "timed out", data.timeout_type, _goes_on(data.new_run_id), style="red")
        case h.WorkflowExecutionContinuedAsNew():
            return Line(at, "continued", called(data.workflow_type, data.input), _goes_on(data.new_run_id))
        case h.WorkflowExecutionReset():
            where = f"to event {data.event_id} of run {data.base_run_id}"
            return Line(at, "reset", where, " ".join(filter(None, [f"by {data.identity}", data.reason])))
        case h.MarkerRecorded():
            return Line(at, "patch", data.patch_id)
        case h.UpsertWorkflowSearchAttributes():
            return Line(at, "attributes", ", ".join(data.search_attributes))
        case h.WorkflowPropertiesModified():
            return Line(at, "memo", ", ".join(data.memo))
        case h.WorkflowTaskCompleted():
            return Line(at, "version", data.worker_deployment_version or "none")
        case h.WorkflowExecutionOptionsUpdated():
            return Line(at, "options", data.versioning_override or "none", f"by {data.identity}")
        case _:
            return Line(at, type(data).__name__, "")


def _goes_on(run_id: str) -> str:
    return f"goes on as run {run_id}" if run_id else ""


def reason(failure: Failure) -> str:
    """Return what a failure says, with what is behind it."""
    info = failure.info
    said = failure.message
    kind = getattr(info, "type", None)
    if kind and not said.startswith(f"{kind}: "):
        said = f"{kind}: {said}"
    return said if failure.cause is None else f"{said} (because of {reason(failure.cause)})"


def called(name: str, input: Sequence[Payload]) -> str:
    """Return a name with the values that it was given, as code writes it."""
    return f"{name}({values(input)})"


def values(payloads: Sequence[Payload]) -> str:
    """Return values as text, in short."""
    return ", ".join(value_of(one) for one in payloads)


def value_of(payload: Payload) -> str:
    """Return a value as text, in short."""
    if not payload.data:
        return ""
    if not payload.encoding.startswith("json"):
        return f"<{len(payload.data)} bytes of {payload.encoding}>"
    text = payload.data[: LONGEST_VALUE * 4].decode("utf-8", "replace")
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
