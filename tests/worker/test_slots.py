"""Slots of each kind of supplier, and runs that wait for theirs."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from durable.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    ResourceBasedSlotConfig,
    ResourceBasedSlotSupplier,
    ResourceBasedTunerConfig,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    WorkerTuner,
    WorkflowSlotInfo,
)
from durable.worker._run_slots import RunSlots
from durable.worker._slots import CustomSlots, FixedSlots, ResourceSlots, Slots


class Machine:
    """What `Resources` would tell."""

    memory = 0.1
    cpu: float | None = 0.1

    def measure(self) -> None:
        pass


class Loop:
    """The clock of an event loop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)


def by_resources(machine: Machine, kind: Any = "activity", **config: Any) -> ResourceSlots:
    supplier = ResourceBasedSlotSupplier(
        ResourceBasedSlotConfig(**config), ResourceBasedTunerConfig(0.8, 0.9)
    )
    found: Any = machine
    return ResourceSlots(supplier, kind, found)


def take(slots: Slots, most: int = 1000) -> int:
    """How many can be taken at once."""
    return sum(slots.take() is not None for _ in range(most))


PERMIT = SlotPermit()

# ---------------------------------------------------------------------- fixed


async def test_a_fixed_number() -> None:
    slots = FixedSlots(3)
    assert len(await slots.reserve(2)) == 2
    assert slots.free == 1
    assert take(slots) == 1
    assert await slots.reserve(5) == []
    told: list[str] = []
    slots.when_free(lambda: told.append("free"))
    slots.give(PERMIT)
    slots.give(PERMIT)
    assert told == ["free"]
    slots.give(PERMIT)
    assert len(await slots.reserve(5)) == 3


# ---------------------------------------------------------------------- by resources


async def test_more_while_the_machine_can_bear_it() -> None:
    machine = Machine()
    slots = by_resources(machine, minimum_slots=2, maximum_slots=6, ramp_throttle=0)
    machine.memory = 0.8
    assert (slots.free, take(slots)) == (2, 2)
    machine.memory, machine.cpu = 0.79, 0.9
    assert (slots.free, take(slots)) == (0, 0)
    machine.cpu = None
    assert take(slots) == 0, "not known yet"
    machine.cpu = 0.89
    assert slots.free == 4
    assert len(await slots.reserve(3)) == 3
    assert take(slots) == 1
    assert (slots.free, await slots.reserve(1)) == (0, [])
    slots.give(PERMIT)
    assert slots.free == 1


async def test_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(monkeypatch)
    slots = by_resources(Machine(), ramp_throttle=timedelta(seconds=2))
    assert take(slots) == 2, "the minimum, and one"
    loop.now += 1.9
    assert (slots.free, take(slots)) == (0, 0)
    loop.now += 0.2
    assert (slots.free, take(slots)) == (1, 1)


@pytest.mark.parametrize(
    ("kind", "least", "ramp"), [("workflow", 5, 0.0), ("activity", 1, 0.05), ("local-activity", 1, 0.05)]
)
def test_what_holds_when_nothing_is_said(kind: Any, least: int, ramp: float) -> None:
    supplier = ResourceBasedSlotSupplier(ResourceBasedSlotConfig(), ResourceBasedTunerConfig(0.8, 0.9))
    assert (supplier.least(kind), supplier.most, supplier.ramp(kind)) == (least, 500, ramp)
    few = ResourceBasedSlotSupplier(
        ResourceBasedSlotConfig(maximum_slots=2), ResourceBasedTunerConfig(0.8, 0.9)
    )
    assert few.least(kind) == min(least, 2)


async def test_who_waits_is_told_after_a_while() -> None:
    machine = Machine()
    machine.memory = 0.9
    slots = by_resources(machine, ramp_throttle=0)
    assert take(slots) == 1
    told = asyncio.Event()
    slots.when_free(told.set)
    machine.memory = 0.1
    await asyncio.wait_for(told.wait(), 60)
    assert slots.take() is not None
    slots.when_free(told.set)
    await slots.stop()


# ---------------------------------------------------------------------- of one's own


class Counting(CustomSlotSupplier):
    """So many, and a log of what was asked and told."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.out: list[SlotPermit] = []
        self.said: list[Any] = []
        self.freed = asyncio.Event()

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        while (permit := self._one(ctx, "reserve")) is None:
            self.freed.clear()
            await self.freed.wait()
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        return self._one(ctx, "try")

    def _one(self, ctx: SlotReserveContext, how: str) -> SlotPermit | None:
        if len(self.out) >= self.size:
            return None
        self.said.append((how, ctx.is_sticky))
        self.out.append(SlotPermit())
        return self.out[-1]

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        self.said.append(ctx.slot_info)

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        self.out.remove(ctx.permit)
        self.said.append(("released", ctx.slot_info))
        self.freed.set()


CONTEXT = SlotReserveContext("workflow", "q", "me", "", None, is_sticky=False)


async def test_a_supplier_of_ones_own() -> None:
    supplier = Counting(3)
    slots = CustomSlots(supplier, CONTEXT)
    permits = await slots.reserve(2)
    assert supplier.said == [("reserve", False), ("try", False)]
    third = slots.take(sticky=True)
    assert third is not None
    assert supplier.said[2:] == [("try", True)]
    assert slots.take() is None
    info = WorkflowSlotInfo("a", is_sticky=True)
    slots.mark(third, info)
    told = asyncio.Event()
    slots.when_free(told.set)
    assert slots.free == 0
    slots.give(third, info)
    await told.wait()
    assert supplier.said[3:] == [info, ("released", info), ("reserve", True), ("released", None)]
    for permit in permits:
        slots.give(permit)
    assert supplier.out == []


async def test_what_is_told_has_it() -> None:
    supplier = Counting(1)
    slots = CustomSlots(supplier, CONTEXT)
    first = slots.take()
    assert first is not None
    taken: list[SlotPermit | None] = []
    done = asyncio.Event()

    def again() -> None:
        taken.append(slots.take())
        done.set()

    slots.when_free(again)
    await asyncio.sleep(0)
    slots.give(first)
    await done.wait()
    assert taken == supplier.out
    assert len(taken) == 1


class Raising(CustomSlotSupplier):
    """Fails in every way, at first."""

    def __init__(self) -> None:
        self.answers: list[Any] = [ValueError("not now"), "no permit", SlotPermit()]

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        return self._next()

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        return self._next()

    def _next(self) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        raise ValueError("marked")

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        raise ValueError("released")


async def test_a_supplier_that_raises(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.worker._slots.RETRY_FIRST", 0.001)
    slots = CustomSlots(Raising(), CONTEXT)
    assert slots.take() is None
    assert slots.take() is None
    assert slots.take() is not None
    other = CustomSlots(Raising(), CONTEXT)
    (permit,) = await other.reserve(1)
    other.mark(permit, WorkflowSlotInfo("a", is_sticky=False))
    other.give(permit)
    text = caplog.text
    for said in (
        "try_reserve_slot raised",
        "reserve_slot raised; it is asked again",
        "must return a SlotPermit, not 'no permit'",
    ):
        assert said in text
    assert "mark_slot_used raised" in text
    assert "release_slot raised" in text
    assert all(record.levelno == logging.ERROR for record in caplog.records)


async def test_nobody_is_asked_any_more() -> None:
    supplier = Counting(1)
    slots = CustomSlots(supplier, CONTEXT)
    first = slots.take()
    assert first is not None
    slots.when_free(lambda: pytest.fail("it has stopped"))
    await asyncio.sleep(0)
    await slots.stop()
    slots.give(first)
    await asyncio.sleep(0)
    assert supplier.out == []


# ---------------------------------------------------------------------- runs


class Run:
    def __init__(self, name: str, worked: list[str], *, in_memory: bool = False) -> None:
        self.workflow_type = name
        self.in_memory = in_memory
        self.gone = False
        self.permit: SlotPermit | None = None
        self.waits_for_slot = False
        self._worked = worked

    def work(self) -> None:
        self._worked.append(self.workflow_type)


async def test_runs_wait_for_their_slots_in_order() -> None:
    worked: list[str] = []
    slots = RunSlots(FixedSlots(1))
    a, b, c, d = runs = [Run(name, worked) for name in "abcd"]
    assert [slots.enter(run) for run in runs] == [True, False, False, False]
    assert slots.enter(a), "it is at work already"
    assert not slots.enter(b)
    assert await slots.reserve(5) == [], "a claim does not pass by those that wait"
    assert slots.free == 0
    b.gone = True
    slots.leave(a)
    assert worked == ["c"]
    slots.leave(d)  # it rests, with nothing to do after all
    slots.leave(c)
    assert worked == ["c"]
    assert slots.free == 1
    assert slots.enter(a)
    assert not slots.enter(d)
    slots.leave(a)
    assert worked == ["c", "d"]


async def test_a_claim_reserves_its_slots() -> None:
    worked: list[str] = []
    slots = RunSlots(FixedSlots(2))
    permits = await slots.reserve(5)
    adopted, claimed = Run("adopted", worked), Run("claimed", worked)
    assert slots.free == 0
    assert not slots.enter(adopted)
    assert slots.enter(claimed, permits.pop())
    slots.give_back(permits)
    assert worked == ["adopted"]


async def test_those_that_wait_go_when_the_worker_stops() -> None:
    worked: list[str] = []
    slots = RunSlots(FixedSlots(1))
    a, b, c = (Run(name, worked) for name in "abc")
    slots.enter(a)
    slots.enter(b)
    slots.enter(c)
    c.gone = True
    slots.open()
    assert worked == ["b"]
    assert slots.enter(Run("d", worked))
    slots.leave(a)
    assert worked == ["b"]


async def test_a_supplier_is_told_which_run_has_a_slot() -> None:
    supplier = Counting(1)
    slots = RunSlots(CustomSlots(supplier, CONTEXT))
    run = Run("a", [], in_memory=True)
    assert slots.enter(run)
    slots.leave(run)
    info = WorkflowSlotInfo("a", is_sticky=True)
    assert supplier.said == [("try", True), info, ("released", info)]


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: FixedSizeSlotSupplier(0), ValueError, "num_slots must be at least 1"),
        (
            lambda: ResourceBasedTunerConfig(1.5, 0.5),
            ValueError,
            "target_memory_usage must be a number from 0 to 1",
        ),
        (
            lambda: ResourceBasedTunerConfig(0.5, "0.5"),
            TypeError,
            "target_cpu_usage must be a number from 0 to 1",
        ),  # type: ignore[arg-type]
        (lambda: ResourceBasedSlotConfig(minimum_slots=0), ValueError, "minimum_slots must be at least 1"),
        (lambda: ResourceBasedSlotConfig(maximum_slots=0), ValueError, "maximum_slots must be at least 1"),
        (lambda: ResourceBasedSlotConfig(3, 2), ValueError, "must not be more than maximum_slots"),
        (lambda: ResourceBasedSlotConfig(ramp_throttle=-1), ValueError, "ramp_throttle"),
        (
            lambda: WorkerTuner.create_resource_based(
                target_memory_usage=0.5,
                target_cpu_usage=0.5,
                activity_config=5,  # type: ignore[arg-type]
            ),
            TypeError,
            "slot_config must be a ResourceBasedSlotConfig",
        ),
        (
            lambda: WorkerTuner.create_composite(
                workflow_supplier=5, activity_supplier=FixedSizeSlotSupplier(1)
            ),  # type: ignore[arg-type]
            TypeError,
            "a supplier must be a FixedSizeSlotSupplier, a ResourceBasedSlotSupplier or a CustomSlotSupplier",
        ),
        (
            lambda: WorkerTuner.create_composite(
                workflow_supplier=ResourceBasedSlotSupplier(
                    ResourceBasedSlotConfig(), ResourceBasedTunerConfig(0.5, 0.5)
                ),
                activity_supplier=ResourceBasedSlotSupplier(
                    ResourceBasedSlotConfig(), ResourceBasedTunerConfig(0.5, 0.6)
                ),
            ),
            ValueError,
            "must have the same tuner_config",
        ),
    ],
)
def test_what_is_refused(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()
