"""Schedules: rows that are claimed when they are due, and replaced together with the runs that they start."""

from __future__ import annotations

import sqlite3

from durable._engine.records import StartVerdict
from durable._engine.schedules.rows import TAKEN_FOR, ScheduleRow, ScheduleWrite
from durable.store.sqlite import _rows, _runs
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import ids

SQL = _rows.queries("schedules")


def write(transaction: Transaction, lives: Lives, write: ScheduleWrite) -> list[StartVerdict] | None:
    """See `Store.write_schedule`."""
    values = {
        "schedule_id": write.schedule_id,
        "record": write.record,
        "progress": write.progress,
        "wake_at": write.wake_at,
        "running": ids(write.running) if write.running else None,
    }
    if write.revision is None:
        statement, more = "create", {"now": transaction.now}
    else:
        statement, more = "write", {"revision": write.revision}
    if not transaction.db.execute(SQL[statement], values | more).rowcount:
        return None
    verdicts = _runs.create(transaction, lives, write.starts)
    # Only a start with messages may have to come again, and a schedule's has none.
    return [verdict for verdict in verdicts if verdict is not None]


def _schedule(row: tuple[str, int, bytes, bytes, int | None], now: int) -> ScheduleRow:
    schedule_id, revision, record, progress, wake_at = row
    return ScheduleRow(schedule_id, revision, record, progress, wake_at, now)


def find(db: sqlite3.Connection, now: int, schedule_id: str) -> ScheduleRow | None:
    """See `Store.find_schedule`."""
    found = db.execute(SQL["find"], (schedule_id,)).fetchone()
    return None if found is None else _schedule(found, now)


def list_all(db: sqlite3.Connection, now: int, after: str, limit: int) -> list[ScheduleRow]:
    """See `Store.list_schedules`."""
    return [_schedule(row, now) for row in db.execute(SQL["list"], (after, limit)).fetchall()]


def next_wake(db: sqlite3.Connection, now: int) -> int | None:
    """See `Store.next_schedule`."""
    found = db.execute(SQL["next"]).fetchone()[0]
    return None if found is None else max(0, found - now)


def claim(transaction: Transaction, limit: int) -> list[ScheduleRow]:
    """See `Store.claim_schedules`."""
    db, now = transaction.db, transaction.now
    found = db.execute(SQL["due"], {"now": now, "limit": limit}).fetchall()
    if found:
        db.execute(SQL["take"], (now + TAKEN_FOR, ids(row[0] for row in found)))
    return [_schedule(row, now) for row in found]


def ended(db: sqlite3.Connection, limit: int) -> list[str]:
    """See `Store.ended_schedules`."""
    return [row[0] for row in db.execute(SQL["ended"], (limit,)).fetchall()]


def delete(transaction: Transaction, schedule_id: str) -> bool:
    """See `Store.delete_schedule`."""
    return transaction.db.execute(SQL["delete"], (schedule_id,)).rowcount > 0
