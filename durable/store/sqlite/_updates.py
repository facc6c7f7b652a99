"""What became of updates."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from durable._engine.records import Close, UpdateOutcome, UpdateStage
from durable.store.sqlite import _rows
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("others")
_write = Many(SQL["write_outcomes"])
_known = Many(SQL["known_outcomes"])
_pairs = _rows.decoder(tuple[str, str])

Key = tuple[str, str]
"""A run and the id of an update's message."""


def write(db: sqlite3.Connection, outcomes: Sequence[tuple[str, UpdateOutcome]]) -> None:
    """Write what became of updates of runs; the one outcome of an update is never overwritten."""
    _write(
        db, [(run_id, outcome.message_id, int(outcome.stage), outcome.data) for run_id, outcome in outcomes]
    )


def lose(db: sqlite3.Connection, closes: Sequence[tuple[str, Close]]) -> None:
    """Give the updates that end with these runs their outcome: unread ones, and accepted ones without one."""
    ended: dict[bytes, list[str]] = {}
    for run_id, close in closes:
        if close.update_lost:
            ended.setdefault(close.update_lost, []).append(run_id)
    for lost, run_ids in ended.items():
        values = {"run_ids": ids(run_ids), "lost": lost}
        db.execute(SQL["lose_unread_updates"], values)
        db.execute(SQL["lose_accepted_updates"], values)


def known(db: sqlite3.Connection, keys: Sequence[Key]) -> set[Key]:
    """Those of these updates that have been read: a rejected one leaves nothing in the history but its outcome."""
    return {pair for found in _known.read(db, keys) for pair in _pairs(found[0])}


def find(db: sqlite3.Connection, run_id: str, message_id: str) -> UpdateOutcome | None:
    """See `Store.find_update`."""
    found = db.execute(SQL["find_update"], {"run_id": run_id, "message_id": message_id}).fetchone()
    return None if found is None else UpdateOutcome(message_id, UpdateStage(found[0]), found[1])
