"""How long closed runs are kept, and the removal of those that have been kept for long enough."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from durable._engine.records import RunStatus
from durable._engine.retention import OverdueRun, RetentionRow
from durable.store.sqlite import _operations, _rows
from durable.store.sqlite._connection import Transaction

SQL = _rows.queries("retention")


def set_for(transaction: Transaction, row: RetentionRow) -> None:
    """See `Store.set_retention`."""
    transaction.db.execute(SQL["set_retention"], (row.workflow_type, row.keep, row.export))


def clear(transaction: Transaction, workflow_type: str) -> None:
    """See `Store.clear_retention`."""
    transaction.db.execute(SQL["clear_retention"], (workflow_type,))


def read(db: sqlite3.Connection) -> list[RetentionRow]:
    """See `Store.read_retention`."""
    return [
        RetentionRow(name, keep, bool(export))
        for name, keep, export in db.execute(SQL["read_retention"]).fetchall()
    ]


def is_turn(db: sqlite3.Connection, now: int) -> bool:
    """Whether it is somebody's turn: looked at first, so that nothing is written for nothing."""
    return db.execute(SQL["is_turn"], {"now": now}).fetchone() is not None


def take_turn(transaction: Transaction, limit: int, exports: bool, hold: int) -> list[OverdueRun] | None:
    """See `Store.take_retention_turn`."""
    db, now = transaction.db, transaction.now
    if not is_turn(db, now):
        return None
    db.execute(SQL["set_turn"], (now + hold,))
    found: list[OverdueRun] = []
    for name, keep in db.execute(SQL["overdue"], {"exports": exports}).fetchall():
        values = {"type": name, "before": now - keep, "limit": limit}
        found += [
            OverdueRun(run_id, workflow_id, kind, RunStatus(status), closed_at, length)
            for run_id, workflow_id, kind, status, closed_at, length in db.execute(
                SQL["overdue_of_type"], values
            ).fetchall()
        ]
    return sorted(found, key=lambda one: one.closed_at)[:limit]


def retire(transaction: Transaction, run_ids: Sequence[str], events: int, pause: int | None) -> bool:
    """See `Store.retire`."""
    db = transaction.db
    for (run_id,) in db.execute(SQL["rest"]).fetchall():
        values = {"run_id": run_id, "events": events}
        db.execute(SQL["cut_rest"], values)
        db.execute(SQL["end_rest"], values)
    for run_id in run_ids:
        if not _operations.is_closed(db, run_id):
            continue
        values = {"run_id": run_id, "events": events}
        db.execute(SQL["retire_events"], values)
        db.execute(SQL["keep_rest"], values)
        _operations.purge_rows(db, run_id)
    if pause is not None:
        db.execute(SQL["set_turn"], (transaction.now + pause,))
    return db.execute(SQL["rest"]).fetchone() is not None
