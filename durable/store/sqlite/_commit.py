"""The commit path: what steps of runs write.

Whatever is decided is decided before the first write of a transition: its fence, and for one that closes its unread
messages. So a transition that is not written leaves nothing to undo. Transitions that close come behind all others, as if
they had been committed a moment later: a message sent in the same batch is seen.

A transition that was written before is not written again: its events stand there, and with them came all the rest.

`BUSY` is answered only to who sends to a run that holds messages back: there is one writer, and nobody else holds a row.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

from msgspec import structs

from durable._engine.records import Close, CommitResult, Message, StartVerdict, Transition, Unread, Verdict
from durable.history import EventRow
from durable.store.sqlite import _activities, _messages, _others, _rows, _runs, _search, _updates, _versions
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("commit")
_append_fenced = Many(SQL["append_fenced"])
_release = Many(SQL["release"])
_close = Many(SQL["close"])
_same_epoch = Many(SQL["same_epoch"])
_standing = Many(SQL["standing"])
_withdraw = Many(SQL["withdraw"])
_unread_kinds = _rows.decoder(tuple[str, int])


def commit(transaction: Transaction, lives: Lives, transitions: Sequence[Transition]) -> CommitResult:
    """See `Store.commit`."""
    db = transaction.db
    verdicts = dict.fromkeys((transition.run_id for transition in transitions), Verdict.WRITTEN)
    if len(verdicts) != len(transitions):
        raise ValueError("a batch holds at most one transition of each run")
    fenced = transitions
    if lost := set(_fence(db, transitions)):
        fenced = [transition for transition in transitions if transition.run_id not in lost]
        before = _written_before(db, [transition for transition in transitions if transition.run_id in lost])
        verdicts.update(dict.fromkeys(lost - before, Verdict.LOST))
    closing = [transition for transition in fenced if transition.close is not None]
    started: list[StartVerdict] = []

    def write(part: Sequence[Transition]) -> None:
        ready = _others.address(transaction, part)
        if len(ready) < len(part):
            waiting = {transition.run_id for transition in part} - {transition.run_id for transition in ready}
            verdicts.update(dict.fromkeys(waiting, Verdict.BUSY))
        unread, bare = _look(db, [transition for transition in ready if transition.close is not None])
        if unread:
            verdicts.update(dict.fromkeys(unread, Verdict.REFUSED))
            ready = [transition for transition in ready if transition.run_id not in unread]
        started.extend(_write(transaction, lives, ready, bare=bare))

    write([transition for transition in fenced if transition.close is None] if closing else fenced)
    for part in _independent(closing):
        write(part)
    return CommitResult(transaction.now, tuple(verdicts.values()), tuple(started))


def append(transaction: Transaction, transitions: Sequence[Transition]) -> CommitResult | None:
    """Commit, in one statement, transitions that only append events, as most do; None if anything is in the way.

    Each statement costs the writer some microseconds and, beside a busy event loop, up to two waits for the interpreter lock.
    """
    for t in transitions:
        if (
            t.close is not None or t.release is not None or t.proven or t.messages or t.consumed
            or t.activities or t.activities_done or t.activities_canceled
            or t.outcomes or t.sends or t.starts or t.hold_back or t.upsert
        ):  # fmt: skip
            return None
    rows = _event_rows(transaction.now, transitions)
    if not rows or len(rows) > _rows.ROWS_AT_ONCE or len({t.run_id for t in transitions}) < len(transitions):
        return None
    expected = _expected(transitions)
    if "\\" in expected:
        return None
    try:
        cursor = _append_fenced(transaction.db, rows, expected)
    except sqlite3.IntegrityError:
        return None
    if cursor is None or cursor.rowcount != len(rows):
        return None
    return CommitResult(transaction.now, (Verdict.WRITTEN,) * len(transitions))


def _event_rows(now: int, transitions: Iterable[Transition]) -> list[tuple[str, int, int, int, int, bytes]]:
    return [
        (t.run_id, event.seq, event.task, event.type, at, event.data)
        for t in transitions
        for at in ((now if now > t.not_before else t.not_before) if t.time is None else t.time,)
        for event in t.events
    ]


def _expected(transitions: Iterable[Transition]) -> str:
    """The fence: the epoch of each run, as JSON."""
    return _rows.to_json({transition.run_id: transition.epoch for transition in transitions}).decode()


def _fence(db: sqlite3.Connection, transitions: Sequence[Transition]) -> list[str]:
    """The runs that are not open under their transition's epoch."""
    expected = _expected(transitions)
    if "\\" not in expected:
        return [row[0] for row in db.execute(SQL["fence"], (expected,)).fetchall()]
    # Old versions of json_each give keys as they are escaped.
    return [
        transition.run_id
        for transition in transitions
        if db.execute(SQL["fence_one"], (transition.run_id, transition.epoch)).fetchone() is None
    ]


def _independent(closing: list[Transition]) -> list[list[Transition]]:
    """Parts that may be judged together: none of a part sends to another of it."""
    runs = {transition.run_id for transition in closing}
    if any(
        transition.sends or any(message.run_id in runs for message in transition.messages)
        for transition in closing
    ):
        return [[transition] for transition in closing]
    return [closing] if closing else []


def _look(db: sqlite3.Connection, closing: list[Transition]) -> tuple[set[str], bool]:
    """What closing runs have: which have a message that they have not read, and that keeps them from closing; and whether
    they are bare, as most are: without messages, children, activity rows and updates, and about to get none of these.
    """
    if not closing:
        return set(), True
    which = ids(t.run_id for t in closing)
    read = ids(chain.from_iterable(transition.consumed for transition in closing))
    unread, *more = db.execute(SQL["look"], {"runs": which, "read": read}).fetchone()
    modes = {t.run_id: t.close.unread for t in closing if t.close and t.close.unread is not Unread.MOVE}
    refused = {
        run_id
        for run_id, is_update in _unread_kinds(unread)
        if run_id in modes and (not is_update or modes[run_id] is Unread.REFUSE)
    }
    return refused, not any(more) and not any(
        t.starts or t.messages or t.activities or t.outcomes or (t.close and t.close.successor)
        for t in closing
    )


def _written_before(db: sqlite3.Connection, transitions: Sequence[Transition]) -> set[str]:
    """The runs of these transitions, under the same epoch, that have all the events of theirs byte for byte."""
    rows = [
        (t.run_id, event.seq, event.task, event.type, event.data) for t in transitions for event in t.events
    ]
    there = Counter(run_id for found in _standing.read(db, rows) for run_id in _rows.strings(found[0]))
    whole = [(t.run_id, t.epoch) for t in transitions if t.events and there[t.run_id] == len(t.events)]
    return {run_id for found in _same_epoch.read(db, whole) for run_id in _rows.strings(found[0])}


def _append(db: sqlite3.Connection, now: int, transitions: Sequence[Transition]) -> Sequence[Transition]:
    """Append the events; return the transitions without those that were written before.

    Raises:
        ValueError: A position is taken by something else, or an event is malformed.
    """
    rows = _event_rows(now, transitions)
    start = 0
    try:
        for start in range(0, len(rows), _rows.ROWS_AT_ONCE):
            _runs.insert_events(db, rows[start : start + _rows.ROWS_AT_ONCE])
    except sqlite3.IntegrityError as error:
        _withdraw(db, [(run_id, seq) for run_id, seq, *_ in rows[:start]])
        # A run that was closed by its transition would have been lost, so none that closes was written before.
        before = _written_before(db, [t for t in transitions if t.close is None])
        if not before:
            raise ValueError(
                f"an event of this batch is malformed, or its position is taken: {error}"
            ) from None
        return _append(db, now, [t for t in transitions if t.run_id not in before])
    return transitions


def _write(
    transaction: Transaction, lives: Lives, transitions: Sequence[Transition], *, bare: bool
) -> list[StartVerdict]:
    """Write transitions whose time has come; return what they started. An empty kind of row costs nothing.

    Those that close are `bare` if there is nothing to be removed or told with them, see `_look`.
    """
    db, now = transaction.db, transaction.now
    transitions = _append(db, now, transitions)
    if sent := [
        message
        for t in transitions
        for message in (t.messages if t.close is None else _to_parent(db, t.run_id, t.messages))
    ]:
        _messages.send(transaction, sent, held_back=False)
    started = _others.start_children(transaction, lives, transitions)
    if consumed := [position for t in transitions for position in t.consumed]:
        db.execute(SQL["consume"], (ids(consumed),))
    if stamps := [
        (t.run_id, u.stamp) for t in transitions if (u := t.upsert) is not None and u.stamp is not None
    ]:
        _versions.stamp(transaction, stamps)
    if activities := [(t.run_id, activity) for t in transitions for activity in t.activities]:
        _activities.insert(transaction, activities)
    if done := [(t.run_id, number) for t in transitions for number in t.activities_done]:
        _activities.drop(db, done)
    if canceled := [(t.run_id, number) for t in transitions for number in t.activities_canceled]:
        _activities.request_cancel(db, canceled)
    if proven := [t.run_id for t in transitions if t.proven]:
        db.execute(SQL["prove"], (ids(proven),))
    if released := [
        (t.run_id, r.wake_at if r.wake_in is None else now + r.wake_in, int(r.hold), r.reason)
        for t in transitions
        if (r := t.release) is not None and t.close is None
    ]:
        _release(db, released)
    if upserts := [(t.run_id, t.upsert) for t in transitions if t.upsert is not None]:
        _search.upsert(db, upserts)
    if outcomes := [(t.run_id, outcome) for t in transitions for outcome in t.outcomes]:
        _updates.write(db, outcomes)
    if holding := [t for t in transitions if t.hold_back]:
        _others.hold_back(transaction, holding)
    if closed := [(t.run_id, t.close, max(now, t.not_before)) for t in transitions if t.close is not None]:
        if bare:
            _close(db, [(run_id, int(close.status), at) for run_id, close, at in closed])
        else:
            started += _close_runs(transaction, lives, closed)
    return started


def _to_parent(db: sqlite3.Connection, run_id: str, messages: Sequence[Message]) -> Sequence[Message]:
    """The messages of a run that closes: what its parent is told goes to the parent in its row, which may have been reset."""
    if not any(message.internal and message.run_id != run_id for message in messages):
        return messages
    parent = db.execute(SQL["parent"], (run_id,)).fetchone()[0]
    return [
        structs.replace(message, run_id=parent or message.run_id)
        if message.internal and message.run_id != run_id
        else message
        for message in messages
    ]


def _close_runs(
    transaction: Transaction, lives: Lives, closed: Sequence[tuple[str, Close, int]]
) -> list[StartVerdict]:
    """Close runs, each at an instant, and remove what only open ones have; return what goes on in their place."""
    db = transaction.db
    closes = [(run_id, close) for run_id, close, _ in closed]
    _others.tell_children(transaction, [run_id for run_id, _ in closes])
    _close(db, [(run_id, int(close.status), at) for run_id, close, at in closed])
    started = _others.succeed(transaction, lives, closes)
    _updates.lose(db, closes)
    _drop_leftovers(db, (run_id for run_id, _ in closes))
    return started


def _drop_leftovers(db: sqlite3.Connection, run_ids: Iterable[str]) -> None:
    which = ids(run_ids)
    db.execute(SQL["drop_messages"], (which,))
    db.execute(SQL["drop_activities"], (which,))


def terminate(
    transaction: Transaction,
    lives: Lives,
    run_id: str,
    event: Callable[[int], EventRow],
    close: Close,
    messages: Sequence[Message],
) -> bool:
    """See `Store.terminate`."""
    db = transaction.db
    if db.execute(SQL["is_open"], (run_id,)).fetchone() is None:
        return False
    last = _runs.read_last_event(db, run_id)
    row = event(1 if last is None else last.seq + 1)
    at = transaction.now if last is None else max(transaction.now, last.time)
    _runs.insert_events(db, [(run_id, row.seq, row.task, row.type, at, row.data)])
    _close_runs(transaction, lives, [(run_id, close, at)])
    _messages.send(transaction, _to_parent(db, run_id, messages), held_back=False)
    return True
