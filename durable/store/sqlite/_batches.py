"""What operators do to many runs at once: which runs, and with which of them they are through."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from durable._engine.deeds import MAX_ERRORS, BatchNews, BatchRow, BatchRun, Dealt, NewBatch
from durable._engine.records import TAKEN, Message
from durable.store._filter import ListQuery
from durable.store.sqlite import _log, _messages, _rows, _search
from durable.store.sqlite._connection import Transaction

SQL = _rows.queries("batches")


def begin(transaction: Transaction, batch: NewBatch) -> BatchRow:
    """See `Store.begin_batch`."""
    if transaction.db.execute(SQL["begin_batch"], (batch.batch_id, batch.digest)).rowcount:
        _log.write(transaction, "", batch.deed)
    found = find(transaction.db, batch.batch_id)
    assert found is not None
    return found


def find(db: sqlite3.Connection, batch_id: str) -> BatchRow | None:
    """See `Store.read_batch`."""
    found = db.execute(SQL["read_batch"], (batch_id,)).fetchone()
    if found is None:
        return None
    batch_id, digest, position, gathered, pending, done, skipped, failed, errors = found
    told = tuple(json.loads(errors))
    return BatchRow(batch_id, digest, position, bool(gathered), pending, done, skipped, failed, told)


def gather(
    transaction: Transaction,
    batch_id: str,
    position: bytes,
    runs: Sequence[BatchRun],
    following: bytes,
    last: bool,
) -> None:
    """See `Store.gather_batch`."""
    values = {"batch_id": batch_id, "position": position, "following": following, "gathered": last}
    if transaction.db.execute(SQL["move_batch"], values).rowcount:
        transaction.db.executemany(
            SQL["gather_batch"], [(batch_id, run.key, run.workflow_id, run.run_id) for run in runs]
        )


def pending(db: sqlite3.Connection, batch_id: str, limit: int) -> list[BatchRun]:
    """See `Store.pending_batch_runs`."""
    return [BatchRun(*row) for row in db.execute(SQL["pending_batch_runs"], (batch_id, limit)).fetchall()]


def settle(transaction: Transaction, batch_id: str, news: Sequence[BatchNews]) -> None:
    """See `Store.settle_batch`."""
    db = transaction.db
    counted = [one for one in news if db.execute(SQL["settle_run"], (batch_id, one.number)).rowcount]
    if not counted:
        return
    errors = json.loads(db.execute(SQL["errors_of_batch"], (batch_id,)).fetchone()[0])
    errors += [one.error for one in counted if one.dealt is Dealt.FAILED]
    counts = [sum(one.dealt is dealt for one in counted) for dealt in Dealt]
    db.execute(SQL["count_settled"], (*counts, json.dumps(errors[:MAX_ERRORS]), batch_id))


def send_to_found(transaction: Transaction, query: ListQuery, messages: Sequence[Message]) -> bool:
    """See `Store.send_to_found`."""
    db = transaction.db
    found, _ = _search.list_runs(db, query, len(messages) + 1, None)
    if {run.run_id for run in found} != {message.run_id for message in messages}:
        return False
    db.execute("SAVEPOINT sending")
    sent = all(outcome in TAKEN for outcome in _messages.send(transaction, messages))
    if not sent:
        db.execute("ROLLBACK TO sending")
    db.execute("RELEASE sending")
    return sent
