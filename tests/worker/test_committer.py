"""The committer against a store that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from durable.exceptions import StoreError, StoreUnavailableError
from durable.history import EventRow
from durable.store import CommitResult, Transition, Verdict
from durable.worker import _committer
from durable.worker._clock import DatabaseClock
from durable.worker._committer import MAX_RUNS, Committer

NOW = 7_000


class Run:
    """A run that wants to write, again and again if it is told to."""

    def __init__(
        self, run_id: str, *, events: int = 1, size: int = 1, consumed: tuple[int, ...] = ()
    ) -> None:
        self.run_id = run_id
        self.events = events
        self.size = size
        self.consumed = consumed
        self.asked = 0
        self.verdicts: list[tuple[Verdict, int]] = []
        self.refused: list[Exception] = []
        self.nothing = False

    def next_transition(self, now: int) -> Transition | None:
        self.asked += 1
        if self.nothing:
            return None
        rows = tuple(EventRow(seq, 1, 2, b"x" * self.size) for seq in range(1, self.events + 1))
        return Transition(self.run_id, 3, rows, consumed=self.consumed)

    def answered(self, verdict: Verdict, now: int) -> None:
        self.verdicts.append((verdict, now))

    def unwritable(self, error: Exception) -> None:
        self.refused.append(error)


class Store:
    """`say` makes the answer to each commit, from its number and its transitions."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.say: Callable[[int, Sequence[Transition]], Any] = lambda n, batch: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.owned: Any = {}
        self.events: dict[str, list[EventRow]] = {}
        self.asked_for_owned = 0

    async def commit(self, transitions: Sequence[Transition]) -> CommitResult:
        self.batches.append([one.run_id for one in transitions])
        await self.gate.wait()
        said = self.say(len(self.batches), transitions)
        if isinstance(said, BaseException):
            raise said
        verdicts = said or (Verdict.WRITTEN,) * len(transitions)
        return CommitResult(NOW, tuple(verdicts))

    async def owned_runs(self, worker_id: str) -> dict[str, int]:
        self.asked_for_owned += 1
        if callable(self.owned):
            found: dict[str, int] = self.owned(self.asked_for_owned)
            return found
        answer: dict[str, int] = self.owned
        return answer

    async def read_events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[EventRow]:
        return self.events.get(run_id, [])[after:][:limit]

    async def read_activities(self, run_id: str) -> list[Any]:
        return []

    async def now(self) -> int:
        return NOW


class Lease:
    held = True


class Rig:
    def __init__(self) -> None:
        self.store = Store()
        self.lease = Lease()
        store: Any = self.store
        lease: Any = self.lease
        self.committer = Committer(store, "me", DatabaseClock(NOW, lambda: 0), lease)
        self.loop = asyncio.ensure_future(self.committer.run())

    async def until(self, what: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not what():
                if self.loop.done():
                    self.loop.result()
                await asyncio.sleep(0.001)

    async def rest(self) -> None:
        await self.until(lambda: self.committer.idle)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(_committer, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(_committer, "RETRY_LONGEST", 0.002)
    made = Rig()
    yield made
    made.loop.cancel()
    await asyncio.gather(made.loop, return_exceptions=True)


WRITTEN = (Verdict.WRITTEN, NOW)


async def test_what_is_ready_goes_together(rig: Rig) -> None:
    runs = [Run(str(n)) for n in range(5)]
    for run in runs:
        rig.committer.submit(run)
    rig.committer.submit(runs[0])
    await rig.rest()
    assert rig.store.batches == [["0", "1", "2", "3", "4"]]
    assert [(run.asked, run.verdicts) for run in runs] == [(1, [WRITTEN])] * 5


async def test_the_next_batch_gathers_while_one_is_on_its_way(rig: Rig) -> None:
    rig.store.gate.clear()
    first, second, third = Run("1"), Run("2"), Run("3")
    rig.committer.submit(first)
    await rig.until(lambda: rig.store.batches)
    rig.committer.submit(second)
    rig.committer.submit(third)
    assert second.asked == 0  # asked at the last moment
    rig.store.gate.set()
    await rig.rest()
    assert rig.store.batches == [["1"], ["2", "3"]]


async def test_those_who_wait_are_sent_before_an_answer_is_told(rig: Rig) -> None:
    rig.store.gate.clear()
    a, b = Run("a"), Run("b")
    rig.committer.submit(a)
    await rig.until(lambda: rig.store.batches)
    rig.committer.submit(b)
    told: list[int] = []

    def say(n: int, batch: Sequence[Transition]) -> None:
        told.append(len(a.verdicts))

    rig.store.say = say
    rig.store.gate.set()
    await rig.rest()
    assert rig.store.batches == [["a"], ["b"]]
    # The second was sent and answered by a store that needs no time, before anybody heard of the first.
    assert told == [0, 0]
    assert a.verdicts == b.verdicts == [(Verdict.WRITTEN, NOW)]


async def test_a_committer_that_ends_leaves_nothing_on_its_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.store.gate.clear()
    a, b = Run("a"), Run("b")
    rig.committer.submit(a)
    await rig.until(lambda: rig.store.batches)
    rig.committer.submit(b)

    def fail(verdict: Verdict, now: int) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(a, "answered", fail)
    gate, rig.store.gate = rig.store.gate, asyncio.Event()
    gate.set()
    with pytest.raises(KeyError, match="a defect"):
        async with asyncio.timeout(60):
            await rig.loop
    assert rig.store.batches == [["a"], ["b"]]
    assert not b.verdicts
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "durable commit"]


async def test_a_batch_is_bounded_in_runs_and_bytes(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(MAX_RUNS + 1):
        rig.committer.submit(Run(str(n)))
    await rig.rest()
    assert [len(batch) for batch in rig.store.batches] == [MAX_RUNS, 1]
    monkeypatch.setattr(_committer, "MAX_BYTES", 10)
    rig.store.batches.clear()
    for n in range(5):
        rig.committer.submit(Run(str(n), size=6))
    await rig.rest()
    assert [len(batch) for batch in rig.store.batches] == [2, 2, 1]


async def test_a_run_that_has_nothing_to_write_costs_nothing(rig: Rig) -> None:
    run = Run("1")
    run.nothing = True
    rig.committer.submit(run)
    await rig.rest()
    assert (rig.store.batches, run.verdicts) == ([], [])


async def test_what_only_has_to_show_is_written_a_moment_later_or_rides(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, riding = Run("alone"), Run("riding")
    rig.committer.submit_soon(alone)
    rig.committer.submit_soon(riding)
    rig.committer.submit(riding)
    await rig.until(lambda: riding.verdicts)
    assert rig.store.batches == [["riding"]]
    assert not rig.committer.idle
    await rig.rest()
    assert rig.store.batches == [["riding"], ["alone"]]


async def test_nothing_is_written_without_the_lease(rig: Rig) -> None:
    rig.lease.held = False
    run = Run("1")
    rig.committer.submit(run)
    for _ in range(20):
        await asyncio.sleep(0)
    assert rig.store.batches == []
    rig.lease.held = True
    await rig.rest()
    assert run.verdicts == [WRITTEN]


async def test_a_run_that_is_gone_is_not_asked(rig: Rig) -> None:
    one, two = Run("1"), Run("2")
    rig.committer.submit(one)
    rig.committer.submit_soon(two)
    rig.committer.withdraw(one)
    rig.committer.withdraw(two)
    await rig.rest()
    assert one.asked == two.asked == 0


async def test_a_locked_run_comes_again_with_the_same_transition_and_others_go_on(rig: Rig) -> None:
    locked, other = Run("locked"), Run("other")
    rig.store.say = lambda n, batch: [
        Verdict.BUSY if one.run_id == "locked" and n < 3 else Verdict.WRITTEN for one in batch
    ]
    rig.committer.submit(locked)
    rig.committer.submit(other)
    await rig.rest()
    assert (locked.asked, locked.verdicts) == (1, [WRITTEN])
    assert (other.asked, other.verdicts) == (1, [WRITTEN])
    assert len(rig.store.batches) == 3


class Hurried:
    """An event loop that writes down what it should wait, and does not wait."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pauses: list[float] = []

    def call_later(self, delay: float, call: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        self.pauses.append(delay)
        return self.loop.call_later(0, call, *args)


async def test_a_locked_run_is_tried_less_and_less_often_until_it_is_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried: Any = Hurried(asyncio.get_running_loop())
    rig.committer._loop = hurried
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    run = Run("locked")
    rig.store.say = lambda n, batch: [Verdict.WRITTEN if n in (13, 15) else Verdict.BUSY]
    rig.committer.submit(run)
    await rig.until(lambda: run.verdicts)
    assert hurried.pauses == [min(0.001 * 2**n, 1.0) for n in range(12)]
    rig.committer.submit(run)
    await rig.until(lambda: len(run.verdicts) == 2)
    assert hurried.pauses[12:] == [0.001]
    assert run.asked == 2


async def test_no_other_run_waits_for_a_locked_one(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_committer, "LOCKED_FIRST", 3600.0)
    locked, other = Run("locked"), Run("other")
    rig.store.say = lambda n, batch: [
        Verdict.BUSY if one.run_id == "locked" else Verdict.WRITTEN for one in batch
    ]
    rig.committer.submit(locked)
    rig.committer.submit(other)
    await rig.until(lambda: other.verdicts)
    rig.committer.submit(locked)
    rig.committer.submit(other)
    await rig.until(lambda: len(other.verdicts) == 2)
    assert rig.store.batches == [["locked", "other"], ["other"]]
    assert (locked.asked, locked.verdicts) == (1, [])
    assert not rig.committer.idle
    rig.committer.withdraw(locked)
    assert rig.committer.idle


@pytest.mark.parametrize("verdict", [Verdict.LOST, Verdict.REFUSED])
async def test_a_verdict_goes_to_its_run(rig: Rig, verdict: Verdict) -> None:
    runs = [Run("0"), Run("1"), Run("2")]
    rig.store.say = lambda n, batch: [Verdict.WRITTEN, verdict, Verdict.WRITTEN]
    for run in runs:
        rig.committer.submit(run)
    await rig.rest()
    assert [run.verdicts[0][0] for run in runs] == [Verdict.WRITTEN, verdict, Verdict.WRITTEN]


# ---------------------------------------------------------------- an answer that does not come


async def test_an_unknown_outcome_is_read_back_run_by_run(rig: Rig) -> None:
    written, absent, lost = Run("written"), Run("absent"), Run("lost")

    def say(n: int, batch: Sequence[Transition]) -> Any:
        if n == 1:
            return StoreUnavailableError("away")
        # It has landed now, whichever of the two commits did it, at its own time.
        rig.store.events["absent"] = [EventRow(1, 1, 2, b"x", 66)]
        return None

    rig.store.say = say
    rig.store.events["written"] = [EventRow(1, 1, 2, b"x", 55)]
    rig.store.events["lost"] = [EventRow(1, 1, 2, b"somebody else's", 55)]
    rig.store.owned = {"written": 3, "absent": 3, "lost": 4}
    for run in (written, absent, lost):
        rig.committer.submit(run)
    await rig.rest()
    assert written.verdicts == [(Verdict.WRITTEN, 55)]  # the time that the log has
    assert [verdict for verdict, _ in lost.verdicts] == [Verdict.LOST]
    assert rig.store.batches == [["written", "absent", "lost"], ["absent"]]
    assert (absent.asked, absent.verdicts) == (1, [(Verdict.WRITTEN, 66)])


async def test_other_runs_go_on_while_an_outcome_is_unknown(rig: Rig) -> None:
    stuck, other = Run("stuck"), Run("other")
    rig.store.say = lambda n, batch: StoreUnavailableError("away") if n == 1 else None
    there = False

    def owned(n: int) -> dict[str, int]:
        if not there:
            raise StoreUnavailableError("still away")
        return {"stuck": 3}

    rig.store.owned = owned
    rig.committer.submit(stuck)
    await rig.until(lambda: rig.store.asked_for_owned >= 2)
    rig.committer.submit(other)
    await rig.until(lambda: other.verdicts)
    assert stuck.verdicts == []
    assert not rig.committer.idle
    rig.store.events["stuck"] = [EventRow(1, 1, 2, b"x", 55)]
    there = True
    await rig.rest()
    assert stuck.verdicts == [(Verdict.WRITTEN, 55)]


async def test_what_has_no_event_is_repeated_once(rig: Rig) -> None:
    """It is idempotent by what it names; there is nothing to read back."""
    run = Run("1", events=0, consumed=(9,))
    rig.store.say = lambda n, batch: StoreUnavailableError("away") if n == 1 else None
    rig.store.owned = {"1": 3}
    rig.committer.submit(run)
    await rig.until(lambda: run.verdicts or len(rig.store.batches) > 5)
    assert [verdict for verdict, _ in run.verdicts] == [Verdict.WRITTEN]
    assert len(rig.store.batches) == 2


async def test_an_error_while_settling_does_not_leave_a_run_behind(rig: Rig) -> None:
    run = Run("1")
    rig.store.say = lambda n, batch: StoreUnavailableError("away") if n == 1 else None
    rig.store.events["1"] = [EventRow(1, 1, 2, b"x", 55)]

    def owned(n: int) -> dict[str, int]:
        if n == 1:
            raise StoreError("XX000: a defect of the server")
        return {"1": 3}

    rig.store.owned = owned
    rig.committer.submit(run)
    await rig.until(lambda: run.verdicts or (rig.committer.idle and rig.store.asked_for_owned))
    assert run.verdicts == [(Verdict.WRITTEN, 55)]


# ---------------------------------------------------------------- what the database refuses


@pytest.mark.parametrize("error", [ValueError("a value cannot be stored"), StoreError("XX000")])
async def test_the_offender_of_a_batch_stands_alone(rig: Rig, error: Exception) -> None:
    runs = [Run(str(n)) for n in range(9)]
    rig.store.say = lambda n, batch: error if any(one.run_id == "5" for one in batch) else None
    for run in runs:
        rig.committer.submit(run)
    await rig.rest()
    assert runs[5].refused == [error]
    assert runs[5].verdicts == []
    for run in runs[:5] + runs[6:]:
        assert (run.verdicts, run.refused) == ([WRITTEN], [])
    assert len(rig.store.batches) <= 9  # by halves, not one by one


async def test_a_run_whose_transition_cannot_be_made_does_not_stop_the_others(rig: Rig) -> None:
    bad, good = Run("bad"), Run("good")

    def fail(now: int) -> Transition | None:
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")

    bad.next_transition = fail  # type: ignore[method-assign]
    rig.committer.submit(bad)
    rig.committer.submit(good)
    await rig.until(lambda: good.verdicts)
    assert not rig.loop.done()
