"""Workflows that wait in lanes: held, until they are admitted. What is admitted counts until it closes.

See the migration for PostgreSQL for the why.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from durable._engine.lanes import WORKFLOWS
from durable._engine.records import NewRun
from durable.store.sqlite import _lanes, _rows
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._lanes import Waiting
from durable.store.sqlite._rows import ids

SQL = _rows.queries("gates")
_waiting = _rows.decoder(tuple[str, int, float, str | None, int | None])


def enter(db: sqlite3.Connection, runs: Sequence[NewRun]) -> None:
    """Let runs that have just been created wait in their lanes; the successor of one that has begun has begun."""
    for run in runs:
        lane = run.lane
        if lane is not None:
            values = {
                "run_id": run.run_id, "lane": lane.name, "share": lane.share, "key": lane.key, "most": lane.most,
                "weight": lane.weight,
            }  # fmt: skip
            db.execute(SQL["go_on" if run.admitted else "wait"], values)


def admit(
    transaction: Transaction, task_queues: Sequence[str], types: str | None, limit: int, format: int
) -> None:
    """Admit runs for a claim that follows: by priority; in one priority lots are drawn between lanes."""
    for queue in task_queues:
        if transaction.db.execute(SQL["in_use"], (queue,)).fetchone()[0]:
            _admit(transaction, queue, types, limit, format)


def _admit(transaction: Transaction, queue: str, types: str | None, limit: int, format: int) -> None:
    db = transaction.db
    values = {"queue": queue, "now": transaction.now, "types": types, "format": format}
    priorities = list(_priorities(db, queue))
    if any(
        db.execute(SQL["anything_due"], (queue, priority, transaction.now)).fetchone()[0]
        for priority in range(1, 6)
    ):
        limit = (limit + 1) // 2
    heads = [
        (head, lane)
        for priority in priorities
        for lane in _lanes.around(partial(_next_lane, db, queue, priority))
        for head in _line(db, values | {"priority": priority, "lane": lane, "limit": 1})
    ]
    limits = _lanes.Room(lambda key: _limit(db, key), lambda key: _running(db, key))
    able = {head.key for head in limits.fitting([head for head, _ in heads], alone=True)}
    chosen = sorted((head.priority, head.lot, lane) for head, lane in heads if head.key in able)
    lines = [
        _line(db, values | {"priority": priority, "lane": lane, "limit": limit})
        for priority, _, lane in chosen[: limit + 10]
    ]
    limits = _lanes.Room(lambda key: _limit(db, key), lambda key: _running(db, key))
    ready = limits.fitting([one for line in lines for one in line])
    taken = sorted(ready, key=lambda one: (one.priority, one.lot))[:limit]
    if taken:
        db.execute(SQL["admit"], (ids(one.key[0] for one in taken),))


def _line(db: sqlite3.Connection, values: dict[str, Any]) -> list[Waiting]:
    rows = _waiting(db.execute(SQL["waiting"], values).fetchone()[0])
    rows.sort(key=lambda row: (row[1], row[0]))
    drawn = _lanes.lots([row[2] for row in rows])
    return [
        Waiting((row[0], 0), row[1], values["priority"], lot, row[3], row[4] or 1)
        for row, lot in zip(rows, drawn, strict=True)
    ]


def _priorities(db: sqlite3.Connection, queue: str) -> Iterator[int]:
    priority: int | None = -(2**63)
    while True:
        priority = db.execute(SQL["next_priority"], (queue, priority)).fetchone()[0]
        if priority is None:
            return
        yield priority


def _next_lane(db: sqlite3.Connection, queue: str, priority: int, after: str) -> str | None:
    found: str | None = db.execute(SQL["next_lane"], (queue, priority, after)).fetchone()[0]
    return found


def _limit(db: sqlite3.Connection, key: str) -> int:
    pinned = _lanes.pinned(db, WORKFLOWS, key)
    found: int = db.execute(SQL["newest"], (key,)).fetchone()[0] if pinned is None else pinned
    return found


def _running(db: sqlite3.Connection, key: str) -> int:
    found: int = db.execute(SQL["running"], (key,)).fetchone()[0]
    return found


def first_due(db: sqlite3.Connection, after: int, task_queues: Sequence[str]) -> list[int | None]:
    """The first instants behind `after` at which runs that wait in lanes of these queues are due."""
    return [db.execute(SQL["first_due"], (queue, after)).fetchone()[0] for queue in task_queues]
