"""Slots as a worker's parts use them: one `Slots` for each kind of task, made of what the program gave for it.

Whoever has a task takes a permit, marks it with the task that uses it, and gives it back. Who finds none free asks to be
told (`when_free`), once; being told is a reason to try again and no promise. A claim reserves what it asks the database
for, so that nothing is claimed that could not begin.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from durable._internal.shown import shown
from durable.common import WorkerDeploymentVersion
from durable.worker._resources import MEASURE_EVERY, Resources
from durable.worker._suppliers import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    ResourceBasedSlotSupplier,
    SlotInfo,
    SlotKind,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    SlotSupplier,
)

logger = logging.getLogger("durable.worker")

RETRY_FIRST, RETRY_LONGEST = 0.05, 5.0
"""Seconds until a supplier that raised is asked again, doubled each time."""

THREADS = 500
"""Threads for activities of a kind whose supplier does not say how many there may be at once; further ones wait."""

PERMIT = SlotPermit()
"""The permit of all suppliers that count only."""


class Slots(ABC):
    """The slots of one kind; see the module.

    Attributes:
        told: Whether somebody wants to know what uses each slot; if not, `mark` need not be called.
    """

    told = False

    def __init__(self) -> None:
        self._callbacks: set[Callable[[], None]] = set()

    @abstractmethod
    def take(self, *, sticky: bool = False) -> SlotPermit | None:
        """Take a slot, if there is a free one; `sticky` says that it is for a workflow that is in memory already."""

    @abstractmethod
    async def reserve(self, most: int) -> list[SlotPermit]:
        """Take slots for a claim, at most so many; none means to wait for `when_free`."""

    @property
    @abstractmethod
    def free(self) -> int:
        """How many could be taken now, as far as that is known without taking one."""

    @property
    def used(self) -> int | None:
        """How many are taken; None where only a program's own supplier knows."""
        return None

    @abstractmethod
    def give(self, permit: SlotPermit, info: SlotInfo | None = None) -> None:
        """Give a slot back; `info` is the task that used it, if one did."""

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back once when it is worth another try. The same callback waits only once."""
        self._callbacks.add(callback)

    def mark(self, permit: SlotPermit, info: SlotInfo) -> None:  # noqa: B027 - most do not want to know
        """Take the news which task uses a slot."""

    async def stop(self) -> None:
        """Ask nobody for slots any more."""
        self._callbacks.clear()

    def _tell(self) -> None:
        callbacks, self._callbacks = self._callbacks, set()
        for callback in callbacks:
            callback()


class FixedSlots(Slots):
    """So many."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._used = 0

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._used

    @property
    def free(self) -> int:
        """How many are not taken."""
        return self._size - self._used

    def take(self, *, sticky: bool = False) -> SlotPermit | None:
        """Take one, if one is free."""
        if self._used >= self._size:
            return None
        self._used += 1
        return PERMIT

    async def reserve(self, most: int) -> list[SlotPermit]:
        """Take what is free."""
        taken = min(most, self._size - self._used)
        self._used += taken
        return [PERMIT] * taken

    def give(self, permit: SlotPermit, info: SlotInfo | None = None) -> None:
        """Give one back."""
        self._used -= 1
        if self._callbacks:
            self._tell()


class ResourceSlots(Slots):
    """As many as the machine can bear."""

    def __init__(self, supplier: ResourceBasedSlotSupplier, kind: SlotKind, resources: Resources) -> None:
        super().__init__()
        self._least, self._most = supplier.least(kind), supplier.most
        self._ramp = supplier.ramp(kind)
        self._targets = supplier.tuner_config
        self._resources = resources
        self._loop = asyncio.get_running_loop()
        self._used = 0
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used(self) -> int:
        """How many are taken."""
        return self._used

    @property
    def free(self) -> int:
        """How many would be given now."""
        if self._used < self._least:
            return self._least - self._used
        if self._used >= self._most or self._loop.time() < self._next_at:
            return 0
        resources, targets = self._resources, self._targets
        resources.measure()
        if (
            resources.cpu is None
            or resources.cpu >= targets.target_cpu_usage
            or resources.memory >= targets.target_memory_usage
        ):
            return 0
        return 1 if self._ramp else self._most - self._used

    def take(self, *, sticky: bool = False) -> SlotPermit | None:
        """Take one, if the machine can bear it."""
        if self.free <= 0:
            return None
        if self._ramp and self._used >= self._least:
            self._next_at = self._loop.time() + self._ramp
        self._used += 1
        return PERMIT

    async def reserve(self, most: int) -> list[SlotPermit]:
        """Take what the machine can bear now."""
        taken: list[SlotPermit] = []
        while len(taken) < most and (permit := self.take()) is not None:
            taken.append(permit)
        return taken

    def give(self, permit: SlotPermit, info: SlotInfo | None = None) -> None:
        """Give one back."""
        self._used -= 1
        if self._callbacks:
            self._tell()

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back when a slot is given back, or time has passed: others may have left the machine."""
        super().when_free(callback)
        if self._timer is None:
            wait = max(self._next_at - self._loop.time(), MEASURE_EVERY if self._ramp == 0 else 0.01)
            self._timer = self._loop.call_later(wait, self._look)

    def _look(self) -> None:
        self._timer = None
        self._tell()

    async def stop(self) -> None:
        """Look no more."""
        await super().stop()
        if self._timer is not None:
            self._timer.cancel()


class CustomSlots(Slots):
    """By what a program of one's own says."""

    told = True

    def __init__(self, supplier: CustomSlotSupplier, context: SlotReserveContext) -> None:
        super().__init__()
        self._supplier = supplier
        self._context = context
        self._sticky = replace(context, is_sticky=True)
        self._waiting: asyncio.Task[None] | None = None
        self._kept: list[SlotPermit] = []

    @property
    def free(self) -> int:
        """One, if no task waits for the supplier already: it is asked when there is a task."""
        return 0 if self._waiting is not None else 1

    def take(self, *, sticky: bool = False) -> SlotPermit | None:
        """Ask for one."""
        if self._kept:
            return self._kept.pop()
        try:
            permit = self._supplier.try_reserve_slot(self._sticky if sticky else self._context)
            return None if permit is None else _checked(permit)
        except Exception:
            logger.exception("a slot supplier's try_reserve_slot raised, which is taken for a no")
            return None

    async def reserve(self, most: int) -> list[SlotPermit]:
        """Wait for the first one, and take more as long as there are."""
        taken = [await self._reserved(self._context)]
        while len(taken) < most and (permit := self.take()) is not None:
            taken.append(permit)
        return taken

    async def _reserved(self, context: SlotReserveContext) -> SlotPermit:
        pause = RETRY_FIRST
        while True:
            try:
                return _checked(await self._supplier.reserve_slot(context))
            except Exception:
                logger.exception("a slot supplier's reserve_slot raised; it is asked again")
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(pause * 2, RETRY_LONGEST)

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back when the supplier has reserved a slot; who takes first then, has it."""
        super().when_free(callback)
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_task(self._wait(), name="durable slot")

    async def _wait(self) -> None:
        sticky = self._context.slot_type == "workflow"
        self._kept.append(await self._reserved(self._sticky if sticky else self._context))
        self._waiting = None
        self._tell()
        while self._kept:
            self.give(self._kept.pop())

    def mark(self, permit: SlotPermit, info: SlotInfo) -> None:
        """Tell the supplier."""
        try:
            self._supplier.mark_slot_used(SlotMarkUsedContext(info, permit))
        except Exception:
            logger.exception("a slot supplier's mark_slot_used raised")

    def give(self, permit: SlotPermit, info: SlotInfo | None = None) -> None:
        """Give one back."""
        try:
            self._supplier.release_slot(SlotReleaseContext(info, permit))
        except Exception:
            logger.exception("a slot supplier's release_slot raised")

    async def stop(self) -> None:
        """Wait for no slot any more."""
        await super().stop()
        if (waiting := self._waiting) is not None:
            waiting.cancel()
            await asyncio.wait([waiting])


def _checked(permit: object) -> SlotPermit:
    if not isinstance(permit, SlotPermit):
        raise TypeError(f"a slot supplier must return a SlotPermit, not {shown(permit)}")
    return permit


def threads_for(supplier: SlotSupplier) -> int:
    """Return how many threads the activities of a kind may need at once, at most."""
    if isinstance(supplier, FixedSizeSlotSupplier):
        return supplier.num_slots
    return supplier.most if isinstance(supplier, ResourceBasedSlotSupplier) else THREADS


def slots_of(
    supplier: SlotSupplier,
    kind: SlotKind,
    *,
    task_queue: str,
    identity: str,
    version: WorkerDeploymentVersion | None,
    resources: Resources | None,
) -> Slots:
    """Return the slots that a supplier means for one worker and one kind of task."""
    if isinstance(supplier, FixedSizeSlotSupplier):
        return FixedSlots(supplier.num_slots)
    if isinstance(supplier, ResourceBasedSlotSupplier):
        assert resources is not None
        return ResourceSlots(supplier, kind, resources)
    context = SlotReserveContext(
        slot_type=kind,
        task_queue=task_queue,
        worker_identity=identity,
        worker_build_id="" if version is None else version.build_id,
        worker_deployment_version=version,
        is_sticky=False,
    )
    return CustomSlots(supplier, context)
