"""Safeguards of the library, taken out one at a time: a simulation that does not notice is no good.

Names are those of the reliability plan. Each patches the shipped functions. Where a second safeguard holds when the first is
gone, both are taken out, the docstring says so, and `HELD_BY_ANOTHER` takes out the first alone: then the same seed must
find nothing. What is not here says why in `NOT_HERE`.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgspec

from durable._engine import _asked, _state
from durable._internal import machine
from durable._replay import _instance, _loop, _ordered, _turns
from durable.history import ActivityTaskCompleted, EventType, TimerFired, decode_data, encode_data
from durable.store import Verdict
from durable.store.sqlite import _activities, _commit, _others, _store
from durable.testing.simulation import _network
from durable.worker import _claims, _clock, _committer, _glances, _housekeeping, _incarnation, _watchdog

Ablation = Callable[[], Any]
Made = Callable[[], Generator[None]]

ABLATIONS: dict[str, Ablation] = {}

HELD_BY_ANOTHER: dict[str, Ablation] = {}
"""The first half of those that take out two safeguards: alone, it changes nothing that anybody could notice."""

NOT_HERE = {
    "A5": "SQLite has no LISTEN to come back to. On PostgreSQL polls find what was missed (A4), and the look behind a new "
    "LISTEN only makes it sooner: tests/store/test_postgres_hints.py waits for it without polls",
    "A7": "a matter of PostgreSQL's plans: the conformance suite claims fewer runs than there are, "
    "and tests/store/test_postgres_server.py reads the plan",
}


def ablation(name: str, where: dict[str, Ablation] = ABLATIONS) -> Callable[[Made], Made]:
    def register(made: Made) -> Made:
        where[name] = contextmanager(made)
        return made

    return register


@contextmanager
def changed(*changes: tuple[Any, str, Any]) -> Generator[None]:
    """Put these values in the place of attributes: owner, name, value."""
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in changes]
    for owner, name, value in changes:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


# ---------------------------------------------------------------------- what a commit is checked for


def no_fence() -> Any:
    """Only whether the run is open is asked, not under which epoch."""

    def fence(db: Any, transitions: Any) -> list[str]:
        asked = "SELECT 1 FROM runs WHERE run_id = ? AND status = 1"
        return [t.run_id for t in transitions if db.execute(asked, (t.run_id,)).fetchone() is None]

    def append(transaction: Any, transitions: Any) -> None:
        """The statement that asks for the epoch itself."""

    return changed((_commit, "_fence", fence), (_commit, "append", append))


@ablation("A1")
def commits_without_a_fence() -> Generator[None]:
    """Whoever once owned a run may write to it."""
    with no_fence():
        yield


def no_unique_position() -> Any:
    """Several events may stand at one position of a log."""
    begin = _network.Database.__init__

    def without(self: Any, world: Any, *, leases: bool) -> None:
        begin(self, world, leases=leases)
        self.db.executescript("""
            CREATE TABLE loose AS SELECT * FROM events; DROP TABLE events; ALTER TABLE loose RENAME TO events;
            CREATE INDEX events_by_run ON events (run_id, seq)
        """)

    return changed((_network.Database, "__init__", without))


def blind_retries() -> Any:
    """What became of a commit is not read back: it is written once more."""

    async def again(self: Any, run: Any, transition: Any, epoch: int | None) -> None:
        self._ready[run] = transition
        self._wake.set()

    return changed((_committer.Committer, "_settle_one", again))


@ablation("A2")
@ablation("A3")
def blind_retries_and_no_unique_position() -> Generator[None]:
    """Each holds alone: what is written again stands there byte for byte, and the store says that it was written; and
    without the unique position the log is read back before anything is written again.
    """
    with blind_retries(), no_unique_position():
        yield


@ablation("A2", HELD_BY_ANOTHER)
def no_unique_position_alone() -> Generator[None]:
    with no_unique_position():
        yield


@ablation("A3", HELD_BY_ANOTHER)
def blind_retries_alone() -> Generator[None]:
    with blind_retries():
        yield


@ablation("A11")
def rows_of_activities_behind_their_events() -> Generator[None]:
    """The rows of activities are written in a transaction of their own."""
    commit = _store.SQLiteStore.commit

    async def twice(self: Any, transitions: Any) -> Any:
        result = await commit(self, [msgspec.structs.replace(one, activities=()) for one in transitions])
        rows = [
            (one.run_id, row)
            for one, verdict in zip(transitions, result.verdicts, strict=True)
            if verdict is Verdict.WRITTEN
            for row in one.activities
        ]
        if rows:
            await self.writer.run(partial(_activities.insert, activities=rows))
        return result

    with changed((_store.SQLiteStore, "commit", twice)):
        yield


@ablation("A13")
def closes_over_unread_messages() -> Generator[None]:
    """Nobody looks into the inbox of a run that closes."""

    def look(db: Any, closing: Any) -> tuple[set[str], bool]:
        return set(), False

    with changed((_commit, "_look", look)):
        yield


@ablation("A14")
def messages_do_not_move() -> Generator[None]:
    """What a run has not read when it continues as new is lost."""
    sql = {**_others.SQL, "move_messages": "SELECT :from, :to"}
    with changed((_others, "SQL", sql)):
        yield


@ablation("A15")
def payloads_as_jsonb() -> Generator[None]:
    """The database looks into results, as `jsonb` does, and writes them its own way."""
    rows_of = _commit._event_rows

    def changed_rows(now: int, transitions: Any) -> list[Any]:
        return [(*row[:5], _as_jsonb(row[3], row[5])) for row in rows_of(now, transitions)]

    with changed((_commit, "_event_rows", changed_rows)):
        yield


def _as_jsonb(kind: int, data: bytes) -> bytes:
    event = decode_data(kind, data) if kind == EventType.ACTIVITY_TASK_COMPLETED else None
    if not isinstance(event, ActivityTaskCompleted):
        return data
    value = json.dumps(_normal(json.loads(event.result.data or b"null"))).encode()
    result = msgspec.structs.replace(event.result, data=value)
    return encode_data(msgspec.structs.replace(event, result=result))


def _normal(value: Any) -> Any:
    if isinstance(value, float):
        return int(value) if abs(value) >= 1e16 else value + 0.0
    inside: Any = value
    if isinstance(value, list):
        return [_normal(one) for one in inside]
    if isinstance(value, dict):
        keys: list[str] = sorted(inside, key=_by_length)
        return {key: _normal(inside[key]) for key in keys}
    return value


def _by_length(key: str) -> tuple[int, str]:
    return len(key), key


# ---------------------------------------------------------------------- how work is found


@ablation("A4")
def wake_up_by_hints_only() -> Generator[None]:
    """Nobody looks unless a hint came: neither the glance of each poll interval, nor the rare look of each loop."""

    async def never(self: Any) -> None:
        await asyncio.Event().wait()

    far = 10**9
    with changed((_glances.Glances, "run", never), (_glances, "SELDOM", far), (_claims, "SELDOM", far)):
        yield


@ablation("A6")
def the_worker_s_clock_decides() -> Generator[None]:
    """Timers and deadlines are due by the machine's clock instead of the database's."""

    def now(self: Any) -> int:
        return machine.wall()

    with changed((_clock.DatabaseClock, "now", now)):
        yield


@ablation("A12")
def timers_stay_open_in_the_log() -> Generator[None]:
    """That a timer has fired is known to who fired it, and not read from the log."""

    def stays(state: Any, data: Any) -> None:
        pass

    fold: dict[Any, Any] = {**_state._FOLD, TimerFired: stays}
    with changed((_state, "_FOLD", fold)):
        yield


# ---------------------------------------------------------------------- what becomes of the dead


@ablation("A8")
def attempts_that_died_are_not_counted() -> Generator[None]:
    """The attempt of an activity that died with its process, beside its workflow, was none."""

    counted = _asked.AttemptEnd

    def end_of(attempt: int, *rest: Any) -> Any:
        return counted(attempt - 1, *rest)

    with changed((_asked, "AttemptEnd", end_of)):
        yield


@ablation("A9")
def recovery_at_start_only() -> Generator[None]:
    """Whoever starts looks for the dead, and never again."""
    bury = _housekeeping.Housekeeping._bury_the_dead

    async def once(self: Any) -> None:
        if not getattr(self, "_has_buried", False):
            self._has_buried = True
            await bury(self)

    with changed((_housekeeping.Housekeeping, "_bury_the_dead", once)):
        yield


@ablation("A10")
def owner_is_the_host() -> Generator[None]:
    """A worker is called as its machine is, whichever of its incarnations it is."""
    begin = _incarnation.Incarnation.__init__

    def named(self: Any, store: Any, options: Any, local: Any, life: Any) -> None:
        begin(self, store, options, local, life)
        self.worker_id = options.identity.split(".")[0]

    with changed((_incarnation.Incarnation, "__init__", named)):
        yield


@ablation("A18")
def renewals_without_the_watchdog() -> Generator[None]:
    """A worker's thread keeps its lease although its event loop stands still."""
    with changed((_watchdog.Watchdog, "alive", property(lambda self: True))):
        yield


# ---------------------------------------------------------------------- what a replay repeats


def no_ordered_sets() -> Any:
    """`asyncio.wait` tells of what is done in the order of hashes."""
    return changed((_ordered, "_ours", lambda: False))


@ablation("A16")
def sets_in_any_order() -> Generator[None]:
    """Alone, sets that keep their order are held by hashes that are numbers of the run; here these begin anywhere."""

    def anywhere(self: Any, salt: int) -> None:
        self._salt = random.getrandbits(30)

    with no_ordered_sets(), changed((_loop.DeterministicLoop, "salt_with", anywhere)):
        yield


@ablation("A16", HELD_BY_ANOTHER)
def no_ordered_sets_alone() -> Generator[None]:
    with no_ordered_sets():
        yield


@ablation("A17")
def evicted_code_is_left_to_the_collector() -> Generator[None]:
    """Code that leaves memory is not taken down, but closed some time later, in the middle of another run's turn."""
    left: list[Any] = []
    run = _turns.Turns.run

    def leave(self: Any) -> int:
        task = self.loop.newest
        while task is not None:
            task._log_destroy_pending = False
            left.append(task.get_coro())
            task = task.older
        return 0

    def collecting(self: Any, loop: Any, apply: Any, *args: Any) -> None:
        def applied(*args: Any) -> None:
            apply(*args)
            close()

        run(self, loop, applied, *args)

    def close() -> None:
        while left:
            with suppress(BaseException):
                left.pop().close()

    try:
        with changed((_instance.Instance, "evict", leave), (_turns.Turns, "run", collecting)):
            yield
    finally:
        close()
