"""Inboxes: what is sent to runs and not yet read."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from durable._engine.records import Message, RunStatus, SendOutcome
from durable.history import EventType
from durable.store.sqlite import _rows, _updates
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("messages")
_known = Many(SQL["known_messages"])
_insert = Many(SQL["insert_messages"])
_statuses = _rows.decoder(tuple[str, int, str, int | None])
_pairs = _rows.decoder(tuple[str, str])

_UPDATE = EventType.WORKFLOW_EXECUTION_UPDATE_ACCEPTED


def send(
    transaction: Transaction, messages: Sequence[Message], *, held_back: bool = True
) -> list[SendOutcome]:
    """See `Store.send`. Here the library's own messages are looked at as closely as any other: it costs nothing.

    Args:
        transaction: The transaction of it all.
        messages: What is sent.
        held_back: Whether runs may hold them back: not what has been looked at before, see `_others.address`.
    """
    if not messages:
        return []
    db = transaction.db
    targets = ids(dict.fromkeys(message.run_id for message in messages))
    rows = _statuses(db.execute(SQL["run_statuses"], (targets,)).fetchone()[0])
    queues = {run_id: queue for run_id, status, queue, _ in rows if status == RunStatus.RUNNING}
    closed = {run_id for run_id, status, *_ in rows if status != RunStatus.RUNNING}
    holding = {run_id for run_id, *_, until in rows if until is not None and until > transaction.now}
    keys = [(message.run_id, message.message_id) for message in messages]
    known = {pair for found in _known.read(db, keys) for pair in _pairs(found[0])}
    if updates := [key for message, key in zip(messages, keys, strict=True) if message.type == _UPDATE]:
        known |= _updates.known(db, updates)
    outcomes: list[SendOutcome] = []
    inserted: list[tuple[str, str, str, int, int, bytes]] = []
    for message, key in zip(messages, keys, strict=True):
        queue = queues.get(message.run_id)
        if key in known:
            outcomes.append(SendOutcome.REPEATED)
        elif queue is None:
            outcomes.append(SendOutcome.CLOSED if message.run_id in closed else SendOutcome.NOT_FOUND)
        elif held_back and message.run_id in holding and not message.internal:
            outcomes.append(SendOutcome.HELD_BACK)
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
