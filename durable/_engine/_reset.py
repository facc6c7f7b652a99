"""Reset: a run that goes on for another one, from a point in the other one's history.

The new run begins with the events up to that point, byte for byte, and one more input that says so. That input is the
last of its task, and the task has no commands any more: so it runs again, as a task whose owner died does, and everything
else follows from how runs are taken over. What is random, and what children are called, is drawn anew from there on.

What the point left open begins anew: activities get rows with their first attempt, timers are due when they were. What
was said to the old run behind the point is said again: signals and updates, unless they are excluded, and the news of the
children and of the messages that the prefix sent. Cancel requests are not: who resets a workflow means it to go on.

A closed run does not change, so what concerns it can be read at leisure (`Base`). What concerns the open run is read by
the store behind that run's lock, which then asks `Base.plan` what to write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from durable._engine._activities import row
from durable._engine._messages import message
from durable._engine._run_info import info_of, noted
from durable._engine._state import RunState
from durable._engine._updates import LOST, outcomes
from durable._engine.operations import Reset, ResetView
from durable._engine.records import (
    Close,
    Message,
    RunStatus,
)
from durable.history import (
    FROM_OUTSIDE,
    MESSAGES_FIRST,
    ChildWorkflowExecutionStarted,
    Event,
    EventData,
    EventRow,
    EventType,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    Input,
    OperationInput,
    SignalExternalWorkflowExecutionInitiated,
    WorkflowExecutionReset,
    WorkflowExecutionSignaled,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAccepted,
    decode_data,
    encode_data,
    encode_row,
)

SIGNAL, UPDATE = (
    int(EventType.WORKFLOW_EXECUTION_SIGNALED),
    int(EventType.WORKFLOW_EXECUTION_UPDATE_ACCEPTED),
)
START_FAILED = int(EventType.START_CHILD_WORKFLOW_EXECUTION_FAILED)


def cut_at(events: Sequence[Event], event_id: int) -> int:
    """Return how many events of a history a run begins with that is reset to one of them.

    It is that event if it is an input, and else the last input before: the task that asked for it runs again.

    Raises:
        ValueError: There is no such event, or it is the one that ended the run from outside.
    """
    if not 1 <= event_id <= len(events):
        raise ValueError(f"there is no event {event_id}; the history has {len(events)}")
    if isinstance(events[event_id - 1].data, FROM_OUTSIDE):
        raise ValueError(f"event {event_id} ended the run from outside; name an event before it")
    while not isinstance(events[event_id - 1].data, Input):
        event_id -= 1
    return event_id


def first_task(events: Sequence[Event]) -> int:
    """Return the last input of the first task: everything runs again."""
    return _last_input(events, 1)


def last_good_task(events: Sequence[Event]) -> int:
    """Return the last input of the last task that was completed: it asked for something, or another came after it."""
    own = [event for event in events if not isinstance(event.data, FROM_OUTSIDE)]
    newest = own[-1]
    task = newest.task - 1 if isinstance(newest.data, Input) else newest.task
    return _last_input(events, max(task, 1))


def _last_input(events: Sequence[Event], task: int) -> int:
    return max(
        event.seq
        for event in events
        if event.task <= task and isinstance(event.data, Input) and not isinstance(event.data, FROM_OUTSIDE)
    )


class Excluded(Struct, frozen=True, gc=False):
    """What is not said again."""

    signals: bool = False
    updates: bool = False

    def __call__(self, kind: int) -> bool:
        """Whether messages of a kind are left out, or are none that are said again."""
        return not ((kind == SIGNAL and not self.signals) or (kind == UPDATE and not self.updates))


class Base:
    """The point of a run from which another goes on."""

    def __init__(self, run_id: str, events: Sequence[Event], cut: int) -> None:
        """Take the history of the run, at least up to the point, and the number of events up to there."""
        self.run_id = run_id
        self.cut = cut
        self.prefix = events[:cut]
        self.task = events[cut - 1].task
        self.state = RunState.of(run_id, self.prefix)

    @property
    def children(self) -> dict[str, str]:
        """The children that are open at the point: their workflow ids, by their first runs."""
        return {child.asked.run_id: child.asked.workflow_id for child in self.state.children.values()}

    def plan(
        self,
        run_id: str,
        view: ResetView,
        behind: Sequence[tuple[str, Sequence[Event]]],
        news: Mapping[int, Message],
        excluded: Excluded,
        *,
        open_run: str | None,
        follows: bool,
        reason: str,
        identity: str,
    ) -> Reset | None:
        """Return what is written; None if something has changed since it was read, and must be read again.

        Args:
            run_id: The new run's id.
            view: What was read behind the lock of the open run.
            behind: What came after the point, of closed runs: the base's own events, and those of the runs that went on
                where it ended, in order, each with its run id.
            news: What children that have closed told or would have told, by the number of their command.
            excluded: What is not said again.
            open_run: The run that ends with this.
            follows: Whether that is the base, or goes on where it ended; else it is only in the way.
            reason: Why, for people.
            identity: Who does it.
        """
        late = list(behind)
        if open_run is not None and follows:
            late.append((open_run, [_event(one) for one in view.events]))
        said = list(self._said_again(late, view.messages if follows else (), excluded))
        told = self._told(late, view.messages if open_run == self.run_id else (), view.children, news)
        if told is None:
            return None
        started = self.state.started
        event = self._event(run_id, reason, identity)
        limits = [limit for limit in (started.run_timeout, started.execution_timeout) if limit is not None]
        activities = [one for one in self.state.activities.values() if one.scheduled.local is None]
        attributes = self.state.search_attributes | noted(self.state.patches, self.state.builds)
        return Reset(
            run_id=run_id,
            base_run_id=self.run_id,
            cut=self.cut,
            started=encode_data(
                replace(
                    started,
                    first_run_id=started.first_run_id or self.run_id,
                    original_run_id=started.original_run_id or self.run_id,
                )
            ),
            event=encode_row(self.cut + 1, self.task, event),
            first_run_id=started.first_run_id or self.run_id,
            run_timeout=min(limits, default=None),
            close=None
            if open_run is None
            else _end(view, self.cut if open_run == self.run_id else 0, run_id, reason, identity, excluded),
            messages=(*told, *said),
            activities=tuple(row(pending.scheduled, view.now) for pending in activities),
            activities_canceled=tuple(
                pending.scheduled.id for pending in activities if pending.cancel_requested
            ),
            outcomes=tuple(outcomes(event.data for event in self.prefix)),
            info=info_of(replace(started, memo=self.state.memo, search_attributes=attributes)),
            attributes=attributes,
            moves_updates=follows and not excluded.updates,
        )

    def _event(self, run_id: str, reason: str, identity: str) -> WorkflowExecutionReset:
        """What the new run reads behind the point; its numbers are drawn from another seed from there on."""
        seed = int.from_bytes(sha256(f"durable reset seed\0{run_id}".encode()).digest()[:8]) >> 1
        return WorkflowExecutionReset(
            run_id=run_id,
            base_run_id=self.run_id,
            event_id=self.cut,
            seed=seed,
            reason=reason,
            identity=identity,
            flags=MESSAGES_FIRST,
        )

    def _said_again(
        self, late: Iterable[tuple[str, Sequence[Event]]], unread: Sequence[Message], excluded: Excluded
    ) -> Iterable[Message]:
        """Signals and updates that the run was told behind the point, those nobody has read last."""
        for run_id, events in late:
            for event in events:
                data = event.data
                if isinstance(data, WorkflowExecutionSignaled | WorkflowExecutionUpdateAccepted) and not (
                    excluded(int(data.type))
                ):
                    yield message(self.run_id, data.message or f"reset:{run_id}:{event.seq}", data)
        for one in unread:
            if not excluded(one.type):
                yield one

    def _told(
        self,
        late: Sequence[tuple[str, Sequence[Event]]],
        unread: Sequence[Message],
        living: frozenset[str],
        news: Mapping[int, Message],
    ) -> list[Message] | None:
        """What there is to tell of the children and messages that the point left open; None if something is missing."""
        told: list[Message] = []
        for run_id, events in late:
            facts = [event.data for event in events] if run_id == self.run_id else []
            told += [
                _news(data) for data in facts if isinstance(data, OperationInput) and self.state.awaits(data)
            ]
        for one in unread:
            news_of_it = decode_data(one.type, one.data) if one.internal else None
            if isinstance(news_of_it, OperationInput) and self.state.awaits(news_of_it):
                told.append(one)
        known = {one.message_id for one in told}
        for id, child in self.state.children.items():
            first = child.asked.run_id
            started, closed = f"child:{id}:started", f"child:{id}:closed"
            failed = any(one.type == START_FAILED for one in told if one.message_id == started)
            if failed or closed in known:
                continue
            if first not in living and id not in news:
                return None
            if (
                not child.started
                and started not in known
                and (first in living or news[id].message_id == closed)
            ):
                told.append(_news(ChildWorkflowExecutionStarted(message=started, id=id, run_id=first)))
            if first not in living:
                told.append(news[id])
        for id, sent in self.state.external.items():
            if f"external:{id}" not in known:
                # The answer was dropped with the base's end. It was sent, or there was nobody to send it to long ago.
                answer: OperationInput = ExternalWorkflowExecutionCancelRequested(
                    message=f"external:{id}", id=id
                )
                if isinstance(sent, SignalExternalWorkflowExecutionInitiated):
                    answer = ExternalWorkflowExecutionSignaled(message=f"external:{id}", id=id)
                told.append(_news(answer))
        return told


def _event(row: EventRow) -> Event:
    return Event(row.seq, row.task, row.time, decode_data(row.type, row.data))


def _news(data: Input) -> Message:
    return replace(message("", data.message, data), internal=True)


def _end(
    view: ResetView, read_from: int, run_id: str, reason: str, identity: str, excluded: Excluded
) -> tuple[EventRow, Close]:
    """How the run ends in whose place the new one comes."""
    seq = view.events[-1].seq + 1 if view.events else read_from + 1
    data: EventData = WorkflowExecutionTerminated(reason=reason, identity=identity, reset_run_id=run_id)
    lost = LOST if excluded.updates else b""
    return encode_row(seq, seq, data), Close(RunStatus.TERMINATED, update_lost=lost)
