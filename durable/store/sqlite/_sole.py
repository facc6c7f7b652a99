"""Runs of one activity and no code: nobody owns them, and whoever ends the activity's row ends the run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from durable._engine.records import ActivityRecord, AttemptOutcome, Message, NewActivity, NewRun
from durable.history import EventType
from durable.store.sqlite import _activities, _messages, _rows
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._rows import Many, ids

_COMMIT = _rows.queries("commit")
_close = Many(_COMMIT["close"])
_insert_events = Many(_rows.queries("runs")["insert_events"])
_mark = Many(_activities.SQL["mark_sole"])
_keys = _rows.decoder(tuple[str, int])
_SCHEDULED = int(EventType.ACTIVITY_TASK_SCHEDULED)

_OUTCOMES = range(int(EventType.ACTIVITY_TASK_COMPLETED), int(EventType.ACTIVITY_TASK_CANCELED) + 1)


def write(transaction: Transaction, runs: Iterable[NewRun]) -> None:
    """Write the second event and the row of those of these new runs that have one activity."""
    events: list[tuple[str, int, int, int, int, bytes]] = []
    rows: list[tuple[str, NewActivity]] = []
    for run in runs:
        activity = run.activity
        if activity is None:
            continue
        begins = transaction.now + run.delay
        start, close = activity.schedule_to_start, activity.schedule_to_close
        events.append((run.run_id, 2, 1, _SCHEDULED, transaction.now, activity.scheduled))
        row = NewActivity(
            id=1,
            activity_type=activity.activity_type,
            task_queue=run.task_queue,
            scheduled=activity.scheduled,
            scheduled_at=begins,
            priority=run.priority,
            due_in=run.delay,
            start_by=None if start is None else begins + start,
            close_by=None if close is None else begins + close,
            start_to_close=activity.start_to_close,
            heartbeat=activity.heartbeat,
            lane=activity.lane,
        )
        rows.append((run.run_id, row))
    if rows:
        _insert_events(transaction.db, events)
        _activities.insert(transaction, rows)
        _mark(transaction.db, [(run_id, row.id) for run_id, row in rows])


def finish(transaction: Transaction, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
    """See `Store.finish_attempts`; of both kinds."""
    db = transaction.db
    ordinary = iter(_activities.finish(transaction, [one for one in outcomes if one.sole is None]))
    events: list[tuple[str, int, int, int, int, bytes]] = []
    closed: dict[str, tuple[int, int]] = {}
    accepted: list[bool] = []
    for one in outcomes:
        if one.sole is None:
            accepted.append(next(ordinary))
            continue
        began = _began(db, one)
        accepted.append(began is not None and one.run_id not in closed)
        if began is None or one.run_id in closed:
            continue
        at = max(transaction.now, began)
        for seq, event in enumerate((one.sole.outcome, one.sole.closing), 3):
            events.append((one.run_id, seq, 2, event.type, at, event.data))
        closed[one.run_id] = (int(one.sole.status), at)
    if closed:
        _insert_events(db, events)
        _close(db, [(run_id, *how) for run_id, how in closed.items()])
        which = ids(closed)
        db.execute(_COMMIT["drop_messages"], (which,))
        db.execute(_COMMIT["drop_activities"], (which,))
    return accepted


def stray(db: sqlite3.Connection, now: int, limit: int) -> list[tuple[ActivityRecord, Message]]:
    """See `Store.stray_outcomes`."""
    keys = _keys(db.execute(_activities.SQL["stray"], (limit,)).fetchone()[0])
    messages = {
        message.run_id: message
        for message in _messages.read(db, [run_id for run_id, _ in keys])
        if message.type in _OUTCOMES
    }
    records = _activities.read(db, now, keys)
    return [(one, messages[one.run_id]) for one in records if one.run_id in messages]


def _began(db: sqlite3.Connection, outcome: AttemptOutcome) -> int | None:
    """When the run was started, if it is open and its row shows the attempt that ended."""
    found = db.execute(_activities.SQL["attempt"], (outcome.run_id, outcome.id)).fetchone()
    if not _activities.fits(found, outcome):
        return None
    row = db.execute(_activities.SQL["began"], (outcome.run_id,)).fetchone()
    return None if row is None else int(row[0])
