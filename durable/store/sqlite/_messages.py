"""Inboxes: what is sent to runs and not yet read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from durable._engine.records import Message, RunStatus, SendOutcome
from durable.store.sqlite import _rows
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("messages")
_known = Many(SQL["known_messages"])
_insert = Many(SQL["insert_messages"])
_statuses = _rows.decoder(tuple[str, int, str])
_pairs = _rows.decoder(tuple[str, str])


def send(transaction: Transaction, messages: Sequence[Message]) -> list[SendOutcome]:
    """See `Store.send`. Here the library's own messages are looked at as closely as any other: it costs nothing."""
    if not messages:
        return []
    db = transaction.db
    targets = ids(dict.fromkeys(message.run_id for message in messages))
    rows = _statuses(db.execute(SQL["run_statuses"], (targets,)).fetchone()[0])
    queues = {run_id: queue for run_id, status, queue in rows if status == RunStatus.RUNNING}
    closed = {run_id for run_id, status, _ in rows if status != RunStatus.RUNNING}
    keys = [(message.run_id, message.message_id) for message in messages]
    known = {pair for found in _known.read(db, keys) for pair in _pairs(found[0])}
    outcomes: list[SendOutcome] = []
    inserted: list[tuple[str, str, str, int, int, bytes]] = []
    for message, key in zip(messages, keys, strict=True):
        queue = queues.get(message.run_id)
        if queue is None:
            outcomes.append(SendOutcome.CLOSED if message.run_id in closed else SendOutcome.NOT_FOUND)
        elif key in known:
            outcomes.append(SendOutcome.REPEATED)
        else:
            known.add(key)
            inserted.append((*key, queue, message.type, int(message.internal), message.data))
            outcomes.append(SendOutcome.SENT)
    _insert(db, inserted)
    return outcomes


def read(db: sqlite3.Connection, run_ids: Sequence[str]) -> list[Message]:
    """See `Store.read_messages`."""
    return _rows.messages(*db.execute(SQL["read_messages"], (ids(run_ids),)).fetchone())


def read_owned(db: sqlite3.Connection, worker_id: str, limit: int) -> list[Message]:
    """See `Store.read_owned_messages`."""
    return _rows.messages(*db.execute(SQL["read_owned_messages"], (worker_id, limit)).fetchone())
