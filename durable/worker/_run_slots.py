"""The slots of workflow tasks: which runs of a worker are at work, and which of them wait until they may be.

A run is at work from the moment it has something to do until it rests: while its code runs, and while what that asked for
is written. So a run that a worker owns waits for a slot like one that it would claim; those that wait go first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from durable.worker._slots import Slots
from durable.worker._suppliers import SlotPermit, WorkflowSlotInfo


class Working(Protocol):
    """A run that is at work at times."""

    gone: bool
    permit: SlotPermit | None
    waits_for_slot: bool

    @property
    def in_memory(self) -> bool:
        """Whether its code is here."""
        ...

    @property
    def workflow_type(self) -> str:
        """The name of its definition."""
        ...

    def work(self) -> None:
        """Go to work: it has a slot, or needs none."""
        ...


class RunSlots:
    """See the module."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._waiting: deque[Working] = deque()
        self._info: dict[Working, WorkflowSlotInfo] = {}
        self._open = False

    @property
    def free(self) -> int:
        """How many more runs could go to work now."""
        return 0 if self._waiting else self._slots.free

    async def reserve(self, most: int) -> list[SlotPermit]:
        """Take slots for a claim."""
        return [] if self._waiting else await self._slots.reserve(most)

    def give_back(self, permits: Sequence[SlotPermit]) -> None:
        """Take back what a claim had no use for."""
        for permit in permits:
            self._slots.give(permit)

    def enter(self, run: Working, permit: SlotPermit | None = None) -> bool:
        """Whether a run may go to work now; if not, it does so when there is a slot. `permit` is what a claim took for it."""
        if run.permit is not None or self._open:
            return True
        if run.waits_for_slot:
            return False
        if permit is None and not self._waiting:
            permit = self._slots.take(sticky=run.in_memory)
        if permit is None:
            run.waits_for_slot = True
            self._waiting.append(run)
            self._slots.when_free(self._next)
            return False
        self._let_in(run, permit)
        return True

    def leave(self, run: Working) -> None:
        """Take the news that a run rests, or is gone."""
        run.waits_for_slot = False
        if (permit := run.permit) is not None:
            run.permit = None
            self._slots.give(permit, self._info.pop(run, None))

    def open(self) -> None:
        """Let all that wait go to work, since the worker stops: they have to be handed back."""
        self._open = True
        waiting, self._waiting = self._waiting, deque()
        for run in waiting:
            if run.waits_for_slot and not run.gone:
                run.waits_for_slot = False
                run.work()

    def when_free(self, callback: Callable[[], None]) -> None:
        """Call back once when a claim is worth another try."""
        self._slots.when_free(callback)

    def _let_in(self, run: Working, permit: SlotPermit) -> None:
        run.permit = permit
        if self._slots.told:
            info = self._info[run] = WorkflowSlotInfo(run.workflow_type, run.in_memory)
            self._slots.mark(permit, info)

    def _next(self) -> None:
        waiting = self._waiting
        while waiting:
            run = waiting[0]
            if run.gone or not run.waits_for_slot:
                waiting.popleft()
                continue
            permit = self._slots.take(sticky=run.in_memory)
            if permit is None:
                self._slots.when_free(self._next)
                return
            waiting.popleft()
            run.waits_for_slot = False
            self._let_in(run, permit)
            run.work()
