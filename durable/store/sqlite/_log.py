"""The log of what operators did."""

from __future__ import annotations

import sqlite3

from msgspec import structs

from durable._engine.deeds import Deed, DeedRow
from durable.store.sqlite import _rows
from durable.store.sqlite._connection import Transaction

SQL = _rows.queries("log")

_BEHIND_ALL = 2**63 - 1


def write(transaction: Transaction, run_id: str, deed: Deed | None) -> None:
    """Write a deed down, if it is one to be written down."""
    if deed is not None:
        transaction.db.execute(SQL["log"], {"at": transaction.now, "run_id": run_id, **structs.asdict(deed)})


def read(
    db: sqlite3.Connection, workflow_id: str | None, batch_id: str | None, before: int | None, limit: int
) -> list[DeedRow]:
    """See `Store.read_log`."""
    which = ("read_log", "read_log_of_workflow", "read_log_of_batch", "read_log_of_both")
    name = which[(workflow_id is not None) + 2 * (batch_id is not None)]
    values = {
        "workflow_id": workflow_id,
        "batch_id": batch_id,
        "before": _BEHIND_ALL if before is None else before,
        "limit": limit,
    }
    return [
        DeedRow(number, at, run_id, Deed(*deed))
        for number, at, run_id, *deed in db.execute(SQL[name], values).fetchall()
    ]


def is_older(db: sqlite3.Connection, until: int) -> bool:
    """Whether something is in the log from before an instant: looked at first, so that nothing is written for nothing."""
    (oldest,) = db.execute(SQL["oldest_deed"]).fetchone()
    return oldest is not None and oldest <= until


def prune(transaction: Transaction, age: int, limit: int) -> int:
    """See `Store.prune_log`."""
    db = transaction.db
    gone = db.execute(SQL["prune_log"], {"until": transaction.now - age, "limit": limit}).fetchall()
    for batch in {row for row in gone if row != ("",)}:
        if db.execute(SQL["is_in_log"], batch).fetchone() is None:
            db.execute(SQL["drop_batch"], batch)
            db.execute(SQL["drop_batch_runs"], batch)
    return len(gone)
