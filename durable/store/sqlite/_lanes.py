"""Lanes: what waits for a key, a circuit breaker or its share; and the rates of task queues.

There is one writer, so what is counted in a transaction stays true in it: no row has to be locked for that.
"""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from durable._engine.lanes import (
    ACTIVITIES,
    COUNTED,
    BreakerNews,
    BreakerRecord,
    Forced,
    KeyRecord,
    Lane,
    lane_queue,
)
from durable._engine.versioning import Reach, queue_of
from durable.store.sqlite import _rows
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("lanes")
_OF_WORKFLOWS = _rows.queries("gates")
_enter = Many(SQL["enter"])
_refuse = Many(SQL["refuse"])
_waiting = _rows.decoder(tuple[str, int, int, float, str | None, int | None, str | None, int | None])
_instants = _rows.decoder(int)

Key = tuple[str, int]

LANES_AT_ONCE = 1000
"""How many lanes of one priority a claim looks at; where there are more, it begins at one by chance."""


class Waiting(Struct, gc=False):
    """An activity that may be claimed: by `priority`, then `lot`."""

    key: Key
    due_at: int
    priority: int
    lot: float
    limit_key: str | None = None
    weight: int = 1
    breaker: str | None = None
    fails_fast: bool = False
    refused: bool = False


def enter(db: sqlite3.Connection, lanes: Sequence[tuple[str, int, Lane]]) -> None:
    """Let activities that have rows wait in lanes."""
    _enter(
        db,
        [
            (run_id, number, lane.name, lane.share, lane.key, lane.most, lane.weight, lane.breaker, lane.fails_fast)
            for run_id, number, lane in lanes
        ],
    )  # fmt: skip


def in_use(db: sqlite3.Connection, places: Sequence[str]) -> bool:
    """Whether anything waits in a lane of these places, or the queue of one of them has a rate."""
    return any(
        db.execute(SQL["in_use"], (lane_queue(place),)).fetchone()[0]
        or db.execute(SQL["rate"], (queue_of(place),)).fetchone() is not None
        for place in places
    )


def lots(shares: Sequence[float]) -> list[float]:
    """Return when each of a line is drawn: the chance of a line to be next is as large as its share."""
    drawn: list[float] = []
    at = 0.0
    for share in shares:
        at -= math.log(1 - random.random()) / share
        drawn.append(at)
    return drawn


def permits(transaction: Transaction, queue: str) -> float:
    """How many activities of a queue may start now."""
    row = transaction.db.execute(SQL["rate"], (queue,)).fetchone()
    if row is None:
        return math.inf
    per_second, left, at = row
    found: float = min(max(1.0, per_second), left + max(0, transaction.now - at) / 1e6 * per_second)
    return found


def take_permits(transaction: Transaction, queue: str, left: float) -> None:
    """Note how many permits are left."""
    transaction.db.execute(SQL["take_permits"], (left, transaction.now, queue))


def waiting(
    transaction: Transaction, reach: Reach, activity_types: Sequence[str] | None, limit: int, format: int
) -> list[Waiting]:
    """What waits in the lanes of a place and may start: no more of a key, or behind a breaker, than there is room for."""
    db, queue = transaction.db, reach.place
    values = {
        "whole": reach.whole, "low": reach.low, "high": reach.high,
        "queue": lane_queue(queue), "now": transaction.now, "types": None if activity_types is None else ids(activity_types), "format": format,
    }  # fmt: skip
    heads = [
        (head, lane)
        for priority in _priorities(db, lane_queue(queue))
        for lane in _lanes(db, lane_queue(queue), priority)
        for head in _line(db, values | {"priority": priority, "lane": lane, "limit": 1})
    ]
    able = {head.key for head in _room(transaction).fitting([head for head, _ in heads], alone=True)}
    chosen = sorted((head.priority, head.lot, lane) for head, lane in heads if head.key in able)
    lines = [
        _line(db, values | {"priority": priority, "lane": lane, "limit": limit})
        for priority, _, lane in chosen[: limit + 10]
    ]
    return _room(transaction).fitting([one for line in lines for one in line])


def _line(db: sqlite3.Connection, values: dict[str, Any]) -> list[Waiting]:
    """What waits in a lane and is due, the oldest first."""
    rows = _waiting(db.execute(SQL["waiting"], values).fetchone()[0])
    rows.sort(key=lambda row: (row[2], row[0], row[1]))
    drawn = lots([row[3] for row in rows])
    return [
        Waiting(row[:2], row[2], values["priority"], lot, row[4], row[5] or 1, row[6], bool(row[7]))
        for row, lot in zip(rows, drawn, strict=True)
    ]


class Room:
    """How much there is room for, as it is taken.

    Args:
        limit: Returns how much of a key may run.
        running: Returns how much does.
        behind: Returns how many more may start behind a circuit breaker.
    """

    def __init__(
        self,
        limit: Callable[[str], int],
        running: Callable[[str], int],
        behind: Callable[[str], float] = lambda key: math.inf,
    ) -> None:
        self._limit = limit
        self._running = running
        self._behind = behind
        self._most: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._room: dict[str, float] = {}

    def fitting(self, found: list[Waiting], *, alone: bool = False) -> list[Waiting]:
        """What there is room for, together or each alone.

        What does not fit holds up all that come behind it under its key, or it might never fit.
        """
        ordered = sorted(found, key=lambda one: (one.priority, one.due_at, one.key))
        return [one for one in ordered if self._fits(one, alone)]

    def _fits(self, one: Waiting, alone: bool) -> bool:
        behind = math.inf
        if one.breaker is not None:
            if one.breaker not in self._room:
                self._room[one.breaker] = self._behind(one.breaker)
            behind = self._room[one.breaker]
            one.refused = behind < 1 and one.fails_fast
            if behind < 1 and not one.fails_fast:
                return False
        if one.limit_key is not None and not self._take(one.limit_key, one.weight, alone):
            return False
        if one.breaker is not None and not one.refused and not alone:
            self._room[one.breaker] = behind - 1
        return True

    def _take(self, key: str, weight: int, alone: bool) -> bool:
        if key not in self._left:
            self._most[key] = self._limit(key)
            self._left[key] = self._most[key] - self._running(key)
        weight = min(weight, self._most[key])
        fits = self._left[key] >= max(1, weight)
        if not alone:
            self._left[key] = self._left[key] - weight if fits else 0
        return fits


def _room(transaction: Transaction) -> Room:
    db = transaction.db
    return Room(
        lambda key: _limit(db, key),
        lambda key: db.execute(SQL["running"], (key,)).fetchone()[0],
        lambda key: _breaker_room(transaction, key),
    )


def mark(db: sqlite3.Connection, taken: Sequence[Waiting]) -> None:
    """Note which of those that were given out are to fail, since their breakers are open."""
    _refuse(db, [(*one.key, one.refused) for one in taken if one.fails_fast])


def _priorities(db: sqlite3.Connection, queue: str) -> Iterator[int]:
    priority: int | None = -(2**63)
    while True:
        priority = db.execute(SQL["next_priority"], (queue, priority)).fetchone()[0]
        if priority is None:
            return
        yield priority


def _lanes(db: sqlite3.Connection, queue: str, priority: int) -> Iterator[str]:
    """The lanes of a priority."""
    return around(lambda after: db.execute(SQL["next_lane"], (queue, priority, after)).fetchone()[0])


def around(next_lane: Callable[[str], str | None]) -> Iterator[str]:
    """Lanes, each once, in a circle that begins anywhere; `next_lane` returns the one behind a name."""
    begin = f"{random.randrange(0x10000):04x}"
    count = 0
    for start, end in ((begin, None), ("", begin)):
        lane = start
        while count < LANES_AT_ONCE:
            found = next_lane(lane)
            if found is None or (end is not None and found > end):
                break
            lane = found
            count += 1
            yield lane


# ---------------------------------------------------------------------- keys


def pinned(db: sqlite3.Connection, kind: int, key: str) -> int | None:
    """What a client has set the limit of a key to."""
    row = db.execute(SQL["pinned"], (kind, key)).fetchone()
    return None if row is None else row[0]


def _limit(db: sqlite3.Connection, key: str) -> int:
    set_to = pinned(db, ACTIVITIES, key)
    found: int = db.execute(SQL["newest"], (key,)).fetchone()[0] if set_to is None else set_to
    return found


def read_key(db: sqlite3.Connection, kind: int, key: str) -> KeyRecord:
    """See `Store.read_key`."""
    queries = SQL if kind == ACTIVITIES else _OF_WORKFLOWS
    set_to = pinned(db, kind, key)
    newest = db.execute(queries["newest"], (key,)).fetchone()
    return KeyRecord(
        most=set_to if set_to is not None else None if newest is None else newest[0],
        pinned=set_to,
        running=db.execute(queries["running"], (key,)).fetchone()[0],
        waiting=db.execute(queries["count_waiting"], (key, COUNTED)).fetchone()[0],
    )


def set_key(transaction: Transaction, kind: int, key: str, most: int | None) -> None:
    """See `Store.set_key`."""
    if most is None:
        transaction.db.execute(SQL["drop_key"], (kind, key))
    else:
        transaction.db.execute(SQL["set_key"], (kind, key, most))


# ---------------------------------------------------------------------- circuit breakers


def read_breaker(db: sqlite3.Connection, key: str, now: int) -> BreakerRecord:
    """See `Store.read_breaker`."""
    row = db.execute(SQL["breaker"], (key,)).fetchone()
    trying = db.execute(SQL["trying"], (key,)).fetchone()[0]
    if row is None:
        return BreakerRecord((), None, 1, trying, None, now)
    failures, open_until, trials, forced = row
    return BreakerRecord(
        tuple(_instants(failures)),
        open_until,
        trials,
        trying,
        None if forced is None else Forced(forced),
        now,
    )


def _breaker_room(transaction: Transaction, key: str) -> float:
    found = read_breaker(transaction.db, key, transaction.now)
    if found.forced is Forced.CLOSED or (found.forced is None and found.open_until is None):
        return math.inf
    if found.forced is Forced.OPEN or (found.open_until is not None and found.open_until > transaction.now):
        return 0
    return found.trials - found.trying


def _write(db: sqlite3.Connection, key: str, record: BreakerRecord, **changes: Any) -> None:
    values = {
        name: getattr(record, name) for name in ("failures", "open_until", "trials", "forced")
    } | changes
    failures = _rows.to_json(list(values["failures"])).decode()
    db.execute(
        SQL["write_breaker"], (key, failures, values["open_until"], values["trials"], values["forced"])
    )


def tell_breakers(transaction: Transaction, news: Sequence[BreakerNews]) -> None:
    """See `Store.tell_breakers`."""
    db, now = transaction.db, transaction.now
    for one in news:
        breaker = one.breaker
        record = read_breaker(db, breaker.key, now)
        half_open = record.open_until is not None and record.open_until <= now
        if not one.failed:
            if half_open:
                _write(db, breaker.key, record, failures=(), open_until=None)
            continue
        if record.open_until is not None and not half_open:
            continue
        failures = (*(at for at in record.failures if at > now - breaker.window), now)
        if half_open or len(failures) >= breaker.failures:
            _write(
                db, breaker.key, record, failures=(), open_until=now + breaker.open_for, trials=breaker.trials
            )
        else:
            _write(db, breaker.key, record, failures=failures, trials=breaker.trials)


def force_breaker(transaction: Transaction, key: str, forced: Forced | None) -> None:
    """See `Store.force_breaker`."""
    record = read_breaker(transaction.db, key, transaction.now)
    _write(transaction.db, key, record, failures=(), open_until=None, forced=forced)


# ---------------------------------------------------------------------- rates


def set_rate(transaction: Transaction, task_queue: str, per_second: float | None) -> None:
    """See `Store.set_rate`."""
    if per_second is None:
        transaction.db.execute(SQL["drop_rate"], (task_queue,))
    else:
        transaction.db.execute(
            SQL["set_rate"], (task_queue, per_second, max(1.0, per_second), transaction.now)
        )


def read_rate(db: sqlite3.Connection, task_queue: str) -> float | None:
    """See `Store.read_rate`."""
    row = db.execute(SQL["rate"], (task_queue,)).fetchone()
    return None if row is None else row[0]
