"""Order comes from insertion: the same in every process, and on every Python."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durable._replay._ordered import OrderedSet
from tests._interpreters import find

SCRIPT = Path(__file__).with_name("loop_rig.py")


@functools.cache
def trace(python: str, *arguments: str, seed: str = "0", malloc: str = "") -> str:
    environment = {**os.environ, "PYTHONHASHSEED": seed} | ({"PYTHONMALLOC": malloc} if malloc else {})
    done = subprocess.run(
        [python, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_order(n: int) -> list[int]:
    return list(range(n))


@pytest.mark.temporal("workflow/async_loop_ordering")
def test_every_construct_has_one_order_in_fresh_processes() -> None:
    traces = {
        trace(sys.executable, "order", "anyio", seed=str(i + 1), malloc="malloc" if i % 2 else "")
        for i in range(6)
    }
    assert len(traces) == 1
    orders: dict[str, Any] = json.loads(traces.pop())
    for name in (
        "wait_tasks",
        "wait_raw",
        "wait_pop",
        "group_abort",
        "locks",
        "group",
        "child_raises",
        "nested",
    ):
        assert orders[name] == in_order(20), name
    for name in ("started", "stream_closed", "gather_set"):
        assert orders[name] == in_order(20), name
    assert orders["completed"] == [in_order(20), in_order(20)]


@pytest.mark.temporal("workflow/async_loop_ordering")
def test_orders_and_schedules_are_the_same_on_every_python() -> None:
    pythons = [found.path for found in find()]
    assert pythons
    for kind in ("order", "patterns"):
        traces = {python: trace(python, kind) for python in [sys.executable, *pythons]}
        assert len(set(traces.values())) == 1, traces


def test_schedules_stay_as_they_were_recorded() -> None:
    golden = json.loads(Path(__file__).with_name("loop_patterns.json").read_text())
    assert json.loads(trace(sys.executable, "patterns")) == golden


def test_ordered_set_keeps_order_through_every_operation() -> None:
    a = OrderedSet([9, 1, 8, 2])
    b = {8, 2, 70, 30}
    assert list(a | OrderedSet([5, 9])) == [9, 1, 8, 2, 5]
    assert list(a & b) == list(a.intersection(b)) == [8, 2]
    assert list(a - b) == list(a.difference(b)) == [9, 1]
    assert list(a ^ OrderedSet([1, 3])) == [9, 8, 2, 3]
    assert b - a == {70, 30}
    assert type(b | a) is OrderedSet
    c = a.copy()
    c |= OrderedSet([7])
    c -= {9}
    c &= {7, 1, 8}
    assert list(c) == [1, 8, 7]
    c ^= OrderedSet([8, 6])
    assert list(c) == [1, 7, 6]
    c.discard(7)
    c.remove(6)
    c.add(0)
    assert c.pop() == 1
    assert (list(c), len(c), c == {0}, 0 in c, repr(c)) == ([0], 1, True, True, "{0}")
    c.clear()
    assert not c
    assert list(c) == []
    assert list(a) == [9, 1, 8, 2]
    assert set(a) == {9, 1, 8, 2}


def test_sets_are_builtin_outside_workflows() -> None:
    import asyncio

    from durable._replay._loop import DeterministicLoop
    from tests.replay.loop_rig import Rig

    assert type(Rig().loop) is DeterministicLoop  # installs

    async def outside() -> Any:
        done, _ = await asyncio.wait([asyncio.create_task(asyncio.sleep(0))])
        return type(done)

    assert asyncio.run(outside()) is set
