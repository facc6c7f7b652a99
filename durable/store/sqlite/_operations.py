"""What operators do to runs: reset, pause, free, remove."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from durable._engine.deeds import Deed
from durable._engine.operations import ActivityChange, Operated, Reset, ResetView
from durable._engine.records import (
    Close,
    Hold,
    Message,
    RunStatus,
)
from durable.history import FORMAT, EventRow
from durable.store._parent_close import termination
from durable.store.sqlite import (
    _activities,
    _commit,
    _log,
    _messages,
    _rows,
    _runs,
    _search,
    _updates,
    _versions,
)
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import ids

SQL = _rows.queries("operations")

Plan = Callable[[ResetView], Reset | None]


class _Nothing(Exception):
    """Nothing is to be written after all."""


def reset(
    transaction: Transaction,
    lives: Lives,
    base_run_id: str,
    run_id: str,
    open_run: str | None,
    plan: Plan,
    after: int,
    children: Mapping[str, str],
    deed: Deed | None,
) -> bool:
    """See `Store.reset`."""
    db = transaction.db
    if open_run is not None and _status(db, open_run) is not RunStatus.RUNNING:
        return False
    db.execute("SAVEPOINT reset")
    try:
        _reset(transaction, lives, base_run_id, run_id, open_run, plan, after, children)
    except BaseException as error:
        db.execute("ROLLBACK TO reset")
        db.execute("RELEASE reset")
        if isinstance(error, _Nothing):
            return False
        raise
    db.execute("RELEASE reset")
    _log.write(transaction, base_run_id, deed)
    return True


def _reset(
    transaction: Transaction,
    lives: Lives,
    base_run_id: str,
    run_id: str,
    open_run: str | None,
    plan: Plan,
    after: int,
    children: Mapping[str, str],
) -> None:
    db, now = transaction.db, transaction.now
    adopted: frozenset[str] = frozenset()
    if children:
        db.execute(
            SQL["adopt"], {"run_id": run_id, "workflows": ids(children.values()), "children": ids(children)}
        )
        adopted = frozenset(found for (found,) in db.execute(SQL["adopted"], (run_id,)))
        db.execute(SQL["acquit"], (run_id,))
    events = [] if open_run is None else _runs.read_events(db, open_run, after, None)
    messages = [] if open_run is None else _messages.read(db, [open_run])
    new = plan(ResetView(now, tuple(events), tuple(messages), adopted))
    if new is None:
        raise _Nothing
    if open_run is not None:
        assert new.close is not None
        event, close = new.close
        if new.moves_updates:
            db.execute(SQL["forget_updates"], (open_run,))
        _commit.terminate(transaction, lives, open_run, lambda _seq: event, close, ())
        # Their workflow ids are to be free when the new run asks for them.
        for child in [found for (found,) in db.execute(SQL["condemned"], (open_run,))]:
            _commit.terminate(transaction, lives, child, termination, Close(RunStatus.TERMINATED), ())
    values = {
        "run_id": run_id,
        "base": base_run_id,
        "ended": open_run,
        "now": now,
        "format": FORMAT,
        "first_run_id": new.first_run_id,
        "times_out_at": None if new.run_timeout is None else now + new.run_timeout,
        "started": new.started,
        "cut": new.cut,
        "info": new.info,
    }
    if db.execute(SQL["enter"], values).rowcount != 1:
        raise _Nothing
    db.execute(SQL["write_info"], values)
    db.execute(SQL["copy_events"], values)
    _search.write(db, [(run_id, new.attributes)] if new.attributes else [])
    latest = db.execute(SQL["latest"], (run_id,)).fetchone()[0]
    event = new.event
    at = max(now, latest)
    _runs.insert_events(db, [(run_id, event.seq, event.task, event.type, at, event.data)])
    queued = [
        structs.replace(one, task_queue=_versions.at_activity(db, run_id, one.task_queue))
        for one in new.activities
    ]
    _activities.insert(transaction, [(run_id, one) for one in queued])
    _activities.request_cancel(db, [(run_id, id) for id in new.activities_canceled])
    _updates.write(db, [(run_id, outcome) for outcome in new.outcomes])
    said = [structs.replace(message, run_id=run_id) for message in new.messages]
    _messages.send(transaction, said, held_back=False)


def _status(db: sqlite3.Connection, run_id: str) -> RunStatus | None:
    found = db.execute(SQL["state_of"], (run_id,)).fetchone()
    return None if found is None else RunStatus(found[0])


def _closed(status: RunStatus | None) -> Operated | None:
    if status is RunStatus.RUNNING:
        return None
    return Operated.NOT_FOUND if status is None else Operated.CLOSED


def pause(transaction: Transaction, run_id: str, reason: str, deed: Deed | None) -> Operated:
    """See `Store.pause`."""
    db = transaction.db
    if (over := _closed(_status(db, run_id))) is not None:
        return over
    hold = db.execute(SQL["state_of"], (run_id,)).fetchone()[1]
    if hold == Hold.PAUSED:
        return Operated.UNCHANGED
    db.execute(SQL["pause"], {"run_id": run_id, "reason": reason})
    _log.write(transaction, run_id, deed)
    return Operated.CHANGED


def unpause(transaction: Transaction, run_id: str, holds: Sequence[Hold], deed: Deed | None) -> Operated:
    """See `Store.unpause`."""
    db = transaction.db
    if (over := _closed(_status(db, run_id))) is not None:
        return over
    hold = db.execute(SQL["state_of"], (run_id,)).fetchone()[1]
    if hold not in holds:
        return Operated.UNCHANGED
    db.execute(SQL["unpause"], {"run_id": run_id, "now": transaction.now})
    _log.write(transaction, run_id, deed)
    return Operated.CHANGED


def paused(db: sqlite3.Connection, worker_id: str) -> list[str]:
    """See `Store.paused_runs`."""
    return [run_id for (run_id,) in db.execute(SQL["paused_runs"], (worker_id,))]


def override(
    transaction: Transaction, run_id: str, override: str, message: Message, deed: Deed | None
) -> Operated:
    """See `Store.override`."""
    outcome = _versions.override(transaction, _status(transaction.db, run_id), run_id, override, message)
    if outcome is Operated.CHANGED:
        _log.write(transaction, run_id, deed)
    return outcome


def terminate(
    transaction: Transaction,
    lives: Lives,
    run_id: str,
    event: Callable[[int], EventRow],
    close: Close,
    messages: Sequence[Message],
    deed: Deed | None,
    waiting: bool,
) -> bool:
    """See `Store.terminate`."""
    if waiting and transaction.db.execute(SQL["is_waiting"], (run_id,)).fetchone() is None:
        return False
    done = _commit.terminate(transaction, lives, run_id, event, close, messages)
    if done:
        _log.write(transaction, run_id, deed)
    return done


def change_activities(
    transaction: Transaction, changes: Sequence[ActivityChange], deed: Deed | None
) -> list[bool]:
    """See `Store.change_activities`."""
    changed = _activities.change(transaction, changes)
    if any(changed):
        _log.write(transaction, changes[0].run_id, deed)
    return changed


def purge(transaction: Transaction, run_id: str, deed: Deed | None) -> Operated:
    """See `Store.purge`."""
    db = transaction.db
    status = _status(db, run_id)
    if status is None:
        return Operated.NOT_FOUND
    if status is RunStatus.RUNNING:
        return Operated.UNCHANGED
    db.execute(SQL["purge_events"], (run_id,))
    purge_rows(db, run_id)
    _log.write(transaction, run_id, deed)
    return Operated.CHANGED


def is_closed(db: sqlite3.Connection, run_id: str) -> bool:
    """Whether there is such a run, and it is closed."""
    return _status(db, run_id) not in (None, RunStatus.RUNNING)


def purge_rows(db: sqlite3.Connection, run_id: str) -> None:
    """Remove a run with all its rows but its history."""
    for name in ("purge_inbox", "purge_activities", "purge_queries", "purge_run"):
        db.execute(SQL[name], (run_id,))
