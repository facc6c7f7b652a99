"""Activities that have a row: queued, running and heartbeating, or done and not yet in the history."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence

from durable._engine.lanes import lane_queue
from durable._engine.operations import ActivityChange
from durable._engine.records import (
    NEVER_DUE,
    ActivityRecord,
    ActivityState,
    AttemptOutcome,
    Heartbeat,
    HeartbeatAnswer,
    Message,
    NewActivity,
    SendOutcome,
)
from durable._engine.versioning import SEPARATOR, Reach, queue_of
from durable.store.sqlite import _lanes, _messages, _rows, _versions, _workers
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("activities")
_replace = Many(SQL["replace_activities"])
_replace_inputs = Many(SQL["replace_inputs"])
drop = Many(SQL["drop"])
request_cancel = Many(SQL["request_cancel"])
_read = Many(SQL["read"])
_start = Many(SQL["start"])
_keys = _rows.decoder(tuple[str, int])

Key = tuple[str, int]


def _earliest(*instants: int | None) -> int | None:
    return min((instant for instant in instants if instant is not None), default=None)


def insert(transaction: Transaction, activities: Sequence[tuple[str, NewActivity]]) -> None:
    """Insert or replace rows of runs."""
    rows: list[tuple[object, ...]] = []
    for run_id, new in activities:
        due_at = transaction.now + new.due_in
        started_at = None if new.worker is None else transaction.now - new.running_for
        if started_at is None:
            state = ActivityState.QUEUED
            deadline = _earliest(new.start_by, new.close_by)
        else:
            state = ActivityState.RUNNING
            deadline = _earliest(
                new.close_by,
                None if new.start_to_close is None else started_at + new.start_to_close,
                None if new.heartbeat is None else transaction.now + new.heartbeat,
            )
        rows.append(
            (run_id, new.id, new.activity_type,
             _at(transaction.db, run_id, new.task_queue if new.lane is None else lane_queue(new.task_queue)), int(state), new.attempt, new.priority, due_at, deadline,
             new.start_by, new.close_by, new.start_to_close, new.heartbeat, new.worker, started_at, new.scheduled_at,
             new.progress)
        )  # fmt: skip
    _replace(transaction.db, rows)
    _replace_inputs(transaction.db, [(run_id, new.id, new.scheduled) for run_id, new in activities])
    if lanes := [(run_id, new.id, new.lane) for run_id, new in activities if new.lane is not None]:
        _lanes.enter(transaction.db, lanes)


def _at(db: sqlite3.Connection, run_id: str, wanted: str) -> str:
    """The place of an activity; only one of a pinned run can be another than its queue."""
    return _versions.at_activity(db, run_id, wanted) if SEPARATOR in wanted else wanted


def read(db: sqlite3.Connection, now: int, keys: Sequence[Key]) -> list[ActivityRecord]:
    """The rows with these keys, in this order."""
    found = [record for row in _read.read(db, keys) for record in _rows.activities(now, *row)]
    places = {key: place for place, key in enumerate(keys)}
    found.sort(key=lambda record: places[record.run_id, record.id])
    return found


def read_of_runs(db: sqlite3.Connection, now: int, run_ids: Sequence[str]) -> list[ActivityRecord]:
    """The rows of these runs, by id."""
    found = _rows.activities(now, *db.execute(SQL["read_of_runs"], (ids(run_ids),)).fetchone())
    found.sort(key=lambda record: (record.run_id, record.id))
    return found


def priorities(db: sqlite3.Connection, queue: str) -> Iterator[int]:
    """The priorities that queued activities have, from the first on."""
    priority: int | None = -(2**63)
    while True:
        priority = db.execute(SQL["next_priority"], (queue, priority)).fetchone()[0]
        if priority is None:
            return
        yield priority


def claim(
    transaction: Transaction,
    lives: Lives,
    worker_id: str,
    task_queues: Sequence[str],
    activity_types: Sequence[str] | None,
    limit: int,
    format: int,
    version: str,
) -> list[ActivityRecord]:
    """See `Store.claim_activities`."""
    db, now = transaction.db, transaction.now
    if limit < 1 or not _workers.is_live(transaction, lives, worker_id):
        return []
    reached = _versions.reached(db, task_queues, version)
    if _lanes.in_use(db, [reach.place for reach in reached]):
        return _claim_from_lanes(transaction, worker_id, reached, activity_types, limit, format)
    due = _due_of(transaction, reached, activity_types, limit, format)
    keys = [key for _, _, key in due[:limit]]
    _start(db, [(*key, worker_id, now) for key in keys])
    return read(db, now, keys)


def _claim_from_lanes(
    transaction: Transaction,
    worker_id: str,
    reached: Sequence[Reach],
    activity_types: Sequence[str] | None,
    limit: int,
    format: int,
) -> list[ActivityRecord]:
    """By priority; in one priority lots are drawn between lanes, the rest of the queue being one of them."""
    db, now = transaction.db, transaction.now
    keys: list[Key] = []
    for reach in reached:
        queue = queue_of(reach.place)
        permits = _lanes.permits(transaction, queue)
        wanted = int(min(limit - len(keys), permits))
        if wanted < 1:
            continue
        ready = _lanes.waiting(transaction, reach, activity_types, wanted, format)
        plain = _due_of(transaction, (reach,), activity_types, wanted, format, every=True)
        for priority in {priority for priority, _, _ in plain}:
            line = [(due_at, key) for at, due_at, key in plain if at == priority]
            drawn = _lanes.lots([1.0] * len(line))
            ready += [
                _lanes.Waiting(key, due_at, priority, lot)
                for (due_at, key), lot in zip(line, drawn, strict=True)
            ]
        taken = sorted(ready, key=lambda one: (one.priority, one.lot))[:wanted]
        _start(db, [(*one.key, worker_id, now) for one in taken])
        _lanes.mark(db, taken)
        if permits < math.inf:
            _lanes.take_permits(transaction, queue, permits - len(taken))
        keys += [one.key for one in taken]
    return read(db, now, keys)


def _due_of(
    transaction: Transaction,
    reached: Sequence[Reach],
    activity_types: Sequence[str] | None,
    limit: int,
    format: int,
    *,
    every: bool = False,
) -> list[tuple[int, int, Key]]:
    """What is due in these queues, with its priority and its instant; of `every` priority as many as are wanted."""
    db, now = transaction.db, transaction.now
    due: list[tuple[int, int, Key]] = []
    for reach in reached:
        wanted = limit
        for priority in priorities(db, reach.place):
            values = {
                "queue": reach.place,
                "whole": reach.whole,
                "low": reach.low,
                "high": reach.high,
                "priority": priority,
                "now": now,
                "types": None if activity_types is None else ids(activity_types),
                "format": format,
                "limit": wanted,
            }
            found = _due(db.execute(SQL["due"], values).fetchone()[0])
            due += [(priority, due_at, (run_id, number)) for run_id, number, due_at in found]
            if not every:
                wanted -= len(found)
            if wanted <= 0:
                break
    due.sort()
    return due


_due = _rows.decoder(tuple[str, int, int])


def first_due(db: sqlite3.Connection, after: int, task_queues: Sequence[str]) -> int | None:
    """The first instant behind `after` at which a queued activity of these queues is due."""
    return _earliest(
        *(
            db.execute(SQL["first_due"], (after, queue, priority)).fetchone()[0]
            for name in dict.fromkeys(task_queues)
            for queue in (name, lane_queue(name))
            for priority in priorities(db, queue)
        )
    )


def fits(found: Sequence[object] | None, outcome: AttemptOutcome) -> bool:
    """Whether a row, as `attempt` reads it, shows the attempt that ended."""
    return (
        found is not None
        and found[0] == outcome.state
        and found[1] == outcome.attempt
        and (outcome.worker is None or found[2] == outcome.worker)
        and (outcome.revision is None or found[7] == outcome.revision)
    )


def finish(transaction: Transaction, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
    """See `Store.finish_attempts`."""
    db = transaction.db
    messages: list[Message] = []
    accepted: list[bool] = []
    for outcome in outcomes:
        key = (outcome.run_id, outcome.id)
        found = db.execute(SQL["attempt"], key).fetchone()
        accepted.append(fits(found, outcome))
        if not accepted[-1]:
            continue
        if outcome.outside:
            values = {
                "due_at": NEVER_DUE,
                "progress": outcome.progress,
                "now": transaction.now,
                "run_id": outcome.run_id,
                "id": outcome.id,
            }
            db.execute(SQL["hand_out"], values)
        elif outcome.retry_in is not None and outcome.message is None:
            values = {
                "due_at": transaction.now + outcome.retry_in,
                "never": NEVER_DUE,
                "base": outcome.base,
                "progress": outcome.progress,
                "run_id": outcome.run_id,
                "id": outcome.id,
            }
            db.execute(SQL["retry"], values)
        else:
            db.execute(SQL["finish"], key)
            if outcome.message is not None:
                messages.append(outcome.message)
    # The run of a row that is there is open: its close removes the row.
    for verdict in _messages.send(transaction, messages):
        assert verdict in (SendOutcome.SENT, SendOutcome.REPEATED), verdict
    return accepted


def heartbeat(transaction: Transaction, beats: Sequence[Heartbeat]) -> list[HeartbeatAnswer]:
    """See `Store.heartbeat`."""
    db = transaction.db
    answers: list[HeartbeatAnswer] = []
    for beat in beats:
        found = db.execute(SQL["attempt"], (beat.run_id, beat.id)).fetchone()
        state = ActivityState.QUEUED if beat.worker is None else ActivityState.RUNNING
        outside = found is not None and found[4] is not None
        if found is None or (*found[:3], outside) != (state, beat.attempt, beat.worker, beat.worker is None):
            answers.append(HeartbeatAnswer.GONE)
            continue
        values = {"progress": beat.progress, "now": transaction.now, "run_id": beat.run_id, "id": beat.id}
        db.execute(SQL["beat"], values)
        if found[3]:
            answers.append(HeartbeatAnswer.CANCEL_REQUESTED)
        elif found[6]:
            answers.append(HeartbeatAnswer.RESET)
        else:
            answers.append(HeartbeatAnswer.GO_ON if found[5] is None else HeartbeatAnswer.PAUSED)
    return answers


def change(transaction: Transaction, changes: Sequence[ActivityChange]) -> list[bool]:
    """See `Store.change_activities`."""
    db = transaction.db
    changed: list[bool] = []
    for one in changes:
        values = {name: getattr(one, name) for name in one.__struct_fields__}
        values["task_queue"] = _versions.at_activity(db, one.run_id, one.task_queue)
        done = db.execute(SQL["change"], values).rowcount == 1
        if done:
            _replace_inputs(db, [(one.run_id, one.id, one.scheduled)])
        changed.append(done)
    return changed


def owned(db: sqlite3.Connection, now: int, worker_id: str) -> list[ActivityRecord]:
    """See `Store.owned_activities`."""
    return read(db, now, _keys(db.execute(SQL["owned"], (worker_id,)).fetchone()[0]))


def expired(db: sqlite3.Connection, now: int, limit: int) -> list[ActivityRecord]:
    """See `Store.expired_activities`."""
    keys = _keys(db.execute(SQL["expired"], {"now": now, "limit": limit}).fetchone()[0])
    return read(db, now, keys)
