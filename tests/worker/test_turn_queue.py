"""Whose turn it is when very many are ready at once."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from durable._internal import machine
from durable.worker._turn_queue import TurnQueue

COST = 0.001
"""Seconds that a turn takes here."""


class Rig:
    """A queue on a clock that only turns move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 0.0
        self.order: list[str] = []
        monkeypatch.setattr(machine, "perf_counter", lambda: self.at)
        queue: Any = TurnQueue
        self.queue: TurnQueue = queue(self, self, self.defect)

    def during(self, run: Any, turn: Any, turns: Any) -> bool:
        turn(turns)
        return False

    def now(self) -> int:
        return 0

    def defect(self, error: BaseException) -> None:
        raise error

    async def done(self, count: int) -> None:
        while len(self.order) < count:
            await asyncio.sleep(0)


class Ready:
    """A run that is ready so often, and after each turn at once again."""

    def __init__(self, rig: Rig, name: str, times: int = 1) -> None:
        self._rig, self._name, self._times = rig, name, times

    def turn(self, turns: Any) -> None:
        self._rig.at += COST
        self._rig.order.append(self._name)
        self._times -= 1

    def conclude(self, now: int) -> None:
        if self._times:
            self._rig.queue.add(self)

    def broken(self) -> None:
        raise AssertionError


async def test_who_is_at_work_does_not_wait_for_all_that_have_to_be_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rig = Rig(monkeypatch)
    for _ in range(100):
        rig.queue.add(Ready(rig, "opened"), opening=True)
    rig.queue.add(Ready(rig, "at work", times=5))
    await rig.done(105)
    turns = [place for place, name in enumerate(rig.order) if name == "at work"]
    assert turns[0] == 0
    assert max(after - before for before, after in pairwise(turns)) <= 11, turns


async def test_who_has_to_be_opened_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    for _ in range(40):
        rig.queue.add(Ready(rig, "at work", times=20))
    rig.queue.add(Ready(rig, "opened"), opening=True)
    rig.queue.add(Ready(rig, "opened"), opening=True)
    await rig.done(802)
    assert [place for place, name in enumerate(rig.order) if name == "opened"] == [8, 9], rig.order


async def test_what_is_forgotten_has_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch)
    rig.queue.add(Ready(rig, "opened"), opening=True)
    rig.queue.add(Ready(rig, "at work"))
    rig.queue.clear()
    rig.queue.add(Ready(rig, "last"))
    await rig.done(1)
    assert rig.order == ["last"]
