"""How often it is looked for what somebody waits for: on a clock that only the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from durable._internal.instants import SECOND
from durable.client._local import LocalRuns
from durable.client._patience import Patience
from durable.client._update_waiting import UpdateWaiting
from durable.client._waiting import Waiting
from durable.history import EventData, EventRow, EventType, WorkflowExecutionTerminated, encode_data
from durable.store import ANY_KEY, Hint, HintKind, UpdateOutcome, UpdateStage
from durable.testing.simulation._world import World

END = WorkflowExecutionTerminated(reason="enough", identity="test")


class Store:
    """What waiting needs of a store: what has closed, when, and a look that takes its time."""

    def __init__(self) -> None:
        self.closes_at: dict[str, float] = {}
        self.looks: list[tuple[float, int]] = []
        self.takes = 0.0
        self.tell: Callable[[Hint], None] = lambda hint: None

    def listen(self, callback: Callable[[Hint], None], *kinds: HintKind) -> Callable[[], None]:
        self.tell = callback
        return lambda: None

    async def read_closing_events(self, run_ids: Sequence[str]) -> dict[str, EventRow]:
        now = asyncio.get_running_loop().time()
        self.looks.append((now, len(run_ids)))
        await asyncio.sleep(self.takes)
        kind = EventType.WORKFLOW_EXECUTION_TERMINATED
        return {
            run_id: EventRow(2, 1, int(kind), encode_data(END))
            for run_id in run_ids
            if self.closes_at.get(run_id, now + 1) <= now
        }

    async def find_update(self, run_id: str, message_id: str) -> UpdateOutcome:
        now = asyncio.get_running_loop().time()
        self.looks.append((now, 1))
        await asyncio.sleep(self.takes)
        done = self.closes_at.get(message_id, now + 1) <= now
        return UpdateOutcome(message_id, UpdateStage.COMPLETED if done else UpdateStage.ADMITTED)


def simulate(main: Callable[[], Awaitable[None]]) -> None:
    """Run a coroutine where time passes only when nothing else is left to do."""
    ended: list[BaseException | None] = []

    async def ending() -> None:
        try:
            await main()
        except BaseException as error:
            ended.append(error)
        else:
            ended.append(None)

    world = World(1)
    with world.entered():
        world.spawn(world.host("test"), ending)
        assert world.run(lambda: bool(ended), world.now + 3600 * SECOND)
    if ended[0] is not None:
        raise ended[0]
    assert not world.defects


class Rig:
    """A client's waiting, and how long each who waited did."""

    def __init__(self) -> None:
        self.store = Store()
        store: Any = self.store
        self.waiting = Waiting(store, LocalRuns(), Patience())
        self.tasks: list[asyncio.Task[None]] = []
        self.late: dict[str, float] = {}

    async def begin(self, *run_ids: str) -> None:
        self.tasks += [asyncio.ensure_future(self._wait(run_id)) for run_id in run_ids]
        await asyncio.sleep(0.0001)

    async def _wait(self, run_id: str) -> None:
        found: EventData = await self.waiting.closing_event(run_id)
        assert found == END
        self.late[run_id] = asyncio.get_running_loop().time() - self.store.closes_at[run_id]

    def close(self, run_id: str, *, in_: float = 0.0) -> None:
        self.store.closes_at[run_id] = asyncio.get_running_loop().time() + in_

    async def end(self) -> None:
        await asyncio.gather(*self.tasks)
        assert not self.waiting.awaited
        await self.waiting.aclose()


def test_a_hint_that_names_the_run_is_followed_at_once_however_soon_it_comes() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.begin("a")
        assert len(rig.store.looks) == 1  # whether it has closed already; not twice
        rig.close("a")
        rig.store.tell(Hint(HintKind.CLOSED, "a"))
        await rig.end()
        assert rig.late["a"] == 0
        assert len(rig.store.looks) == 2

    simulate(main)


def test_a_close_that_is_told_while_it_is_looked_whether_there_was_one_is_not_missed() -> None:
    async def main() -> None:
        rig = Rig()
        rig.store.takes = 0.01
        await rig.begin("a")
        rig.close("a")
        rig.store.tell(Hint(HintKind.CLOSED, "a"))
        await rig.end()
        assert rig.late["a"] <= 0.03

    simulate(main)


def test_hints_that_name_nothing_take_a_tenth_of_the_time_at_most() -> None:
    async def main() -> None:
        rig = Rig()
        rig.store.takes = 0.001
        await rig.begin("a")
        for _ in range(1000):
            rig.store.tell(Hint(HintKind.CLOSED, ANY_KEY))
            await asyncio.sleep(0.0005)
        assert 40 <= len(rig.store.looks) <= 52  # half a second, each look a millisecond
        rig.close("a")
        rig.store.tell(Hint(HintKind.CLOSED, "a"))
        await rig.end()

    simulate(main)


def test_where_hints_are_heard_it_is_looked_once_in_a_second() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.begin("a")
        rig.store.tell(Hint(HintKind.CLOSED, "somebody else's"))
        await asyncio.sleep(10)
        assert len(rig.store.looks) <= 1 + 11
        rig.close("a")
        await rig.end()
        assert 0 < rig.late["a"] <= 1.0  # the hint of this one was lost

    simulate(main)


def test_where_no_hint_is_heard_nobody_waits_much_longer_for_that() -> None:
    async def main() -> None:
        rig = Rig()
        for number in range(20):
            await rig.begin(str(number))
            rig.close(str(number), in_=0.9)
            await asyncio.sleep(0.05)
        await rig.end()
        assert max(rig.late.values()) <= 0.07, rig.late
        rig.store.looks.clear()
        await rig.begin("long")
        rig.close("long", in_=600)
        await rig.end()
        assert len(rig.store.looks) < 750  # at first soon, then every second
        assert rig.late["long"] <= 1.0

    simulate(main)


def test_the_more_wait_without_hints_the_less_often_it_is_looked_at_all_of_them() -> None:
    async def main() -> None:
        rig = Rig()
        run_ids = [str(number) for number in range(2000)]
        await rig.begin(*run_ids)
        rig.store.looks.clear()
        await asyncio.sleep(5)
        assert sum(count for _, count in rig.store.looks) <= 2000 * 27
        for run_id in run_ids:
            rig.close(run_id)
        await rig.end()

    simulate(main)


def test_an_update_whose_hint_names_its_run_is_looked_at_at_once() -> None:
    async def main() -> None:
        store: Any = Store()
        loop = asyncio.get_running_loop()
        updates = UpdateWaiting(store, Patience())
        store.takes = 0.001
        with updates.waiter("a", "m") as waiter:
            task = asyncio.ensure_future(waiter.reached(UpdateStage.COMPLETED))
            await asyncio.sleep(0.002)
            for _ in range(40):
                store.tell(Hint(HintKind.UPDATE, ANY_KEY))
                await asyncio.sleep(0.0005)
            assert len(store.looks) <= 4  # in 20 ms
            await asyncio.sleep(0.05)
            store.looks.clear()
            store.tell(Hint(HintKind.UPDATE, "a"))
            await asyncio.sleep(0.002)
            store.closes_at["m"] = loop.time()
            store.tell(Hint(HintKind.UPDATE, "a"))
            await task
        assert loop.time() - store.closes_at["m"] == pytest.approx(store.takes)

    simulate(main)
