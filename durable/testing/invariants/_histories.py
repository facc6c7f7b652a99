"""Invariants of one run's log, and of what stands beside it: its row, its activities, its messages and its updates."""

from __future__ import annotations

from collections.abc import Iterator

from durable._engine._sole import is_sole
from durable._engine._state import CLOSING_STATUS, RunState
from durable._engine.records import ActivityState, Hold
from durable.exceptions import HistoryError, UnknownEventError
from durable.history import (
    CLOSING,
    EventType,
    TimerFired,
    WorkflowExecutionTerminated,
    WorkflowExecutionUpdateAccepted,
    decode_data,
    decode_event,
)
from durable.testing.invariants._evidence import RunFacts, Snapshot, fold

_OUTCOMES = range(EventType.ACTIVITY_TASK_COMPLETED, EventType.ACTIVITY_TASK_CANCELED + 1)
DEATHS = 3


def without_gaps(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I1."""
    found = [event.seq for event in run.events]
    if found != list(range(1, len(found) + 1)) or not found:
        yield f"its events are {found[:10]}{'...' if len(found) > 10 else ''}"


def ends_once(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I3."""
    ends = [event.seq for event in run.decoded if isinstance(event.data, CLOSING)]
    if len(ends) > 1 or (ends and ends[-1] != run.events[-1].seq):
        yield f"it ends at {ends}, and has {len(run.events)} events"


def row_is_fold(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I5."""
    row = run.row
    try:
        state = fold(row.run_id, [decode_event(event) for event in run.events])
        started = state.started
    except UnknownEventError:
        return  # a newer release wrote it, which knows what it means
    except HistoryError as error:
        yield f"its log is no history: {error}"
        return
    if row.status != state.status:
        yield f"its row says status {row.status}, and its log {int(state.status)}"
    if (row.workflow_id, row.workflow_type) != (started.workflow_id, started.workflow_type):
        yield f"its row is of {row.workflow_type} {row.workflow_id!r}, and its log of {started.workflow_type} {started.workflow_id!r}"


def rows_match_log(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I6."""
    state = run.state
    if state is None:
        return
    if not run.row.open:
        for row in run.activities:
            yield f"it has ended, and activity {row.id} still has a row"
        return
    told = {(message.type, _id_of(message.type, message.data)) for message in run.inbox}
    for row in run.activities:
        if row.id not in state.activities:
            yield f"activity {row.id} has a row, and is not open in the log"
        elif row.state == ActivityState.DONE and not any((kind, row.id) in told for kind in _OUTCOMES):
            yield f"activity {row.id} has ended, and nothing tells its run so"
    if state.reset_at is not None:
        return  # what was open at the reset was done by the run before
    for id, child in state.children.items():
        if not child.started and not _answered(told, id, 41, 42):
            yield f"child {id} was asked for, and nothing tells whether it is there"
    for id in state.external:
        if not _answered(told, id, 51, 52, 54, 55):
            yield f"message {id} to another workflow was written, and nothing tells what became of it"


def _answered(told: set[tuple[int, int]], id: int, *kinds: int) -> bool:
    return any((kind, id) in told for kind in kinds)


def _id_of(kind: int, data: bytes) -> int:
    try:
        return getattr(decode_data(kind, data), "id", 0)
    except HistoryError:
        return 0


def owner_is_known(run: RunFacts, snapshot: Snapshot) -> Iterator[str]:
    """I9."""
    if (owner := run.row.owner) is not None and owner not in snapshot.workers:
        yield f"its owner {owner} is no worker"
    for row in run.activities:
        if row.worker is not None and row.worker not in snapshot.workers:
            yield f"activity {row.id} is with {row.worker}, which is no worker"


def in_time(run: RunFacts, snapshot: Snapshot) -> Iterator[str]:
    """I11."""
    before = 0
    for event in run.events:
        if event.time < before:
            yield f"event {event.seq} is older than the one before it"
        before = event.time
    if snapshot.whole and before > snapshot.now:  # a live database's clock may have been set back
        yield f"event {run.events[-1].seq} is {(before - snapshot.now) / 1e6:g} s in the database's future"


def is_found(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I12."""
    row, state = run.row, run.state
    if state is None or not row.open or row.owner is not None or row.gate == 1 or is_sole(row.workflow_type):
        return
    if row.hold == Hold.BLOCKED and row.wake_at is None:
        yield "it is blocked, and never tried again"
    if row.hold != Hold.NONE:
        return
    due = state.next_timer()
    if row.wake_at is not None:
        if due is not None and row.wake_at > due:
            yield f"it wakes {(row.wake_at - due) / 1e6:g} s behind its timer"
        return
    if due is not None:
        yield "it has a timer, and nothing wakes it"
    if run.inbox:
        return  # a claim finds it by its messages
    if row.epoch == 0:
        yield "nobody has ever run it, and nothing wakes it"
    if lost := sorted(set(state.activities) - {one.id for one in run.activities}):
        yield f"activities {lost} are open, without a row and without an owner of the run"


def read_before_end(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I21."""
    if not run.row.open:
        for message in run.inbox:
            if not message.internal:
                yield f"it has ended over the unread message {message.message_id}"


def updates_have_outcomes(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I22."""
    state = run.state
    last = run.decoded[-1].data if run.decoded else None
    was_reset = isinstance(last, WorkflowExecutionTerminated) and last.reset_run_id
    if state is None or state.reset_at is not None or was_reset:
        return  # in a reset, one run goes on with what another has accepted
    stages = {row.message_id: row.stage for row in run.updates}
    accepted = [
        event.data.message
        for event in run.decoded
        if isinstance(event.data, WorkflowExecutionUpdateAccepted) and event.data.message
    ]
    if len(accepted) != len(set(accepted)):
        yield "an update was accepted twice"
    for message in accepted:
        done = message not in state.updates
        if done and stages.get(message) != 3:
            yield f"update {message} has its outcome in the log, and its callers are not told"
        if not done and stages.get(message) == 3 and run.row.open:
            yield f"callers of update {message} were told its outcome, which is not in the log"
        if not done and stages.get(message) != 3 and not run.row.open:
            yield f"it has ended, and update {message} has no outcome"


def timers_keep_time(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I23."""
    if run.state is None:
        return
    state, fired = RunState(run.row.run_id), set[int]()
    for event in run.decoded:
        data = event.data
        if isinstance(data, TimerFired):
            due = None if data.id in fired else state.timers.get(data.id)
            fired.add(data.id)
            if due is None:
                yield f"event {event.seq} fires timer {data.id}, which is not open"
            elif event.time < due:
                yield f"event {event.seq} fires timer {data.id} {(due - event.time) / 1e6:g} s too early"
        state.extend(event.seq, event.task, event.time, [data])


def deaths_are_bounded(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I30."""
    row = run.row
    if row.deaths > DEATHS:
        yield f"{row.deaths} workers died of it"
    if (
        row.open
        and row.deaths == DEATHS
        and row.owner is None
        and row.hold not in (Hold.QUARANTINED, Hold.PAUSED)
    ):
        yield f"{row.deaths} workers died of it, and it is not quarantined"


def held_with_reason(run: RunFacts, _: Snapshot) -> Iterator[str]:
    """I31."""
    row = run.row
    if row.open and row.hold in (Hold.BLOCKED, Hold.QUARANTINED) and row.gate != 1 and not row.reason:
        yield f"it is {Hold(row.hold).name.lower()}, and nobody is told why"


def children_are_there(run: RunFacts, snapshot: Snapshot) -> Iterator[str]:
    """I25."""
    row, state = run.row, run.state
    if state is None:
        return
    if row.open:
        told = {_id_of(message.type, message.data) for message in run.inbox if 42 <= message.type <= 47}
        for id, child in state.children.items():
            there = snapshot.row(child.asked.run_id)
            if not child.started or id in told:
                continue
            if there is None:
                yield f"child {child.asked.run_id} was started, and is not there"
            elif child.asked.run_id not in snapshot.going:
                yield f"child {child.asked.run_id} has ended, and nothing tells its parent so"
    parent = None if row.parent_run_id is None else snapshot.row(row.parent_run_id)
    if row.open and parent is not None and not parent.open and row.parent_close_policy in (1, 3):
        ends = EventType.WORKFLOW_EXECUTION_TERMINATED, EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED
        if not any(
            kind in ends for kind in (*(one.type for one in run.inbox), *(one.type for one in run.events))
        ):
            yield "its parent has ended, and nothing tells it so"


def successor_is_there(run: RunFacts, snapshot: Snapshot) -> Iterator[str]:
    """I26."""
    if not run.decoded:
        return
    last = run.decoded[-1].data
    if isinstance(last, CLOSING) and CLOSING_STATUS[type(last)] != run.row.status:
        return  # I5 says it
    following = getattr(last, "new_run_id", "") or getattr(last, "reset_run_id", "")
    if following and isinstance(last, CLOSING):
        found = snapshot.row(following)
        if found is None and snapshot.whole:
            yield f"it goes on as run {following}, which is not there"
        if found is not None and found.workflow_id != run.row.workflow_id:
            yield f"it goes on as run {following}, which is one of {found.workflow_id!r}"
    before = getattr(run.decoded[0].data, "continued_run_id", "")
    predecessor = snapshot.row(before) if before else None
    if predecessor is not None and predecessor.open:
        yield f"it goes on for run {before}, which is still open"
