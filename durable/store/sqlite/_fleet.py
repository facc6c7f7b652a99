"""What is said of task queues, and a look at all of them."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator

from durable._engine.deeds import Deed
from durable._engine.fleet import MOST_COUNTED, QueueState, Survey, survey_of
from durable.store.sqlite import _activities, _claims, _log, _rows, _workers
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives

SQL = _rows.queries("fleet")

Counted = tuple[str, str, int, int | None]


def set_state(transaction: Transaction, task_queue: str, state: QueueState, deed: Deed) -> bool:
    """See `Store.set_queue_state`."""
    if state is QueueState.OPEN:
        changed = transaction.db.execute(SQL["open_queue"], (task_queue,)).rowcount
    else:
        changed = transaction.db.execute(SQL["set_queue_state"], (task_queue, int(state))).rowcount
    if changed:
        _log.write(transaction, "", deed)
    return bool(changed)


def state_of(db: sqlite3.Connection, task_queue: str) -> QueueState:
    """See `Store.queue_state`."""
    found = db.execute(SQL["queue_state"], (task_queue,)).fetchone()
    return QueueState.OPEN if found is None else QueueState(found[0])


def may_take_turn(db: sqlite3.Connection, worker_id: str, now: int) -> bool:
    """Whether the turn is this worker's, or nobody's: looked at first, so that nothing is written for nothing."""
    holder, until = db.execute(SQL["survey_turn"]).fetchone()
    return bool(holder == worker_id or until <= now)


def take_turn(transaction: Transaction, worker_id: str, hold: int) -> bool:
    """See `Store.take_survey_turn`."""
    if not may_take_turn(transaction.db, worker_id, transaction.now):
        return False
    transaction.db.execute(SQL["take_survey_turn"], (worker_id, transaction.now + hold))
    return True


def survey(db: sqlite3.Connection, lives: Lives, now: int) -> Survey:
    """See `Store.survey`."""
    return survey_of([*_waiting(db, now), *_fleet(db, lives), *_runs(db)])


def _waiting(db: sqlite3.Connection, now: int) -> Iterator[Counted]:
    """What is due, place by place and priority by priority, by the indexes that claims use."""
    values = {"now": now, "most": MOST_COUNTED}

    def counted(kind: str, query: str, place: str, **more: int) -> Iterator[Counted]:
        number, first = db.execute(SQL[query], values | {"place": place} | more).fetchone()
        if number:
            yield kind, place, number, now - first

    for place in _places(db, "next_place_of_runs"):
        for priority in _claims.priorities(db, place):
            yield from counted("workflows", "count_runs_due", place, priority=priority)
    for place in _places(db, "next_place_of_gated"):
        yield from counted("workflows", "count_gated", place)
    for place in _places(db, "next_place_of_activities"):
        for priority in _activities.priorities(db, place):
            yield from counted("activities", "count_activities_due", place, priority=priority)
    for place in _places(db, "next_place_of_messages"):
        (number,) = db.execute(SQL["count_messages"], {"place": place, "most": MOST_COUNTED}).fetchone()
        yield "messages", place, number, None


def _places(db: sqlite3.Connection, query: str) -> Iterator[str]:
    place = ""
    while (place := db.execute(SQL[query], (place,)).fetchone()[0]) is not None:
        yield place


def _fleet(db: sqlite3.Connection, lives: Lives) -> Iterator[Counted]:
    """Who serves the queues, and what was said of them."""
    alive = Counter(
        queue for worker in _workers.list_all(db, lives) if not worker.expired for queue in worker.task_queues
    )
    for queue, number in alive.items():
        yield "workers", queue, number, None
    for place, number in db.execute(SQL["count_owned"], {"most": MOST_COUNTED}).fetchall():
        yield "owned", place, number, None
    for queue, state in db.execute(SQL["queue_states"]).fetchall():
        yield "state", queue, state, None


def _runs(db: sqlite3.Connection) -> Iterator[Counted]:
    """What the whole namespace has."""
    most = {"most": MOST_COUNTED}
    yield "open", "", db.execute(SQL["count_open"], most).fetchone()[0], None
    for hold, number in db.execute(SQL["count_held"], most).fetchall():
        yield "held", str(hold), number, None
    yield "retrying", "", db.execute(SQL["count_retrying"], most).fetchone()[0], None
