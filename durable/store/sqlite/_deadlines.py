"""Workflows that are open for longer than they should be."""

from __future__ import annotations

import sqlite3

from durable._engine.deadlines import DeadlineTurn, LateRun, LateRuns
from durable._engine.fleet import MOST_COUNTED
from durable.store.sqlite import _rows
from durable.store.sqlite._connection import Transaction

SQL = _rows.queries("deadlines")


def may_take_turn(db: sqlite3.Connection, workflow_type: str, worker_id: str, now: int) -> bool:
    """Whether the turn is this worker's, or nobody's: looked at first, so that nothing is written for nothing."""
    found = db.execute(SQL["deadline_turn"], (workflow_type,)).fetchone()
    return found is None or found[0] == worker_id or found[1] <= now


def take_turn(
    transaction: Transaction, workflow_type: str, worker_id: str, hold: int, near: int, past: int
) -> DeadlineTurn | None:
    """See `Store.take_deadline_turn`."""
    db, now = transaction.db, transaction.now
    if not may_take_turn(db, workflow_type, worker_id, now):
        return None
    row = db.execute(SQL["take_deadline_turn"], (workflow_type, worker_id, now + hold, near, past)).fetchone()
    return DeadlineTurn(now, *row)


def late(
    db: sqlite3.Connection, workflow_type: str, since: int, until: int, told: int, limit: int
) -> LateRuns:
    """See `Store.late_runs`."""
    values = {"type": workflow_type, "since": since, "until": until, "told": told, "limit": limit}
    (number,) = db.execute(SQL["count_late"], values | {"most": MOST_COUNTED}).fetchone()
    rows = db.execute(SQL["late_runs"], values).fetchall()
    return LateRuns(number, [LateRun(workflow_id, run_id, at) for workflow_id, run_id, at in rows])
