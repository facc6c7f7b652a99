"""Histories replayed in other processes, whose strings hash otherwise."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from durable import workflow
from durable.exceptions import NondeterminismError
from durable.testing import History, WorkflowEnvironment, replay_in_second_process

PROGRAM = """
from durable import activity, workflow

@activity.defn(name="second_tell")
async def tell(who: str) -> None: ...

@workflow.defn(name="second_unsorted")
async def unsorted() -> None:
    for who in {"ada", "bob", "eve", "dan"}:
        await tell(who)

@workflow.defn(name="second_sorted")
class Sorted:
    @workflow.run
    async def run(self) -> None:
        for who in sorted({"ada", "bob", "eve", "dan"}):
            await tell(who)

@workflow.defn(name="second_counts")
async def counts() -> int:
    return sum(len(who) for who in {"ada", "bob", "eve"}) + len({hash("a")})
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[ModuleType]:
    """A module that is found by its file only, as pytest's importlib mode loads modules of tests."""
    file = tmp_path / "flows.py"
    file.write_text(PROGRAM)
    spec = importlib.util.spec_from_file_location("nobody.finds.this", file)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["nobody.finds.this"] = made
    spec.loader.exec_module(made)
    yield made
    del sys.modules["nobody.finds.this"]


async def recorded(call: Any) -> History:
    async with WorkflowEnvironment() as env:
        await env.run(call, id="w")
        return env.history("w")


async def test_the_order_of_a_set_is_found(program: ModuleType) -> None:
    history = await recorded(program.unsorted())
    history.replay(program.unsorted, strict=True)  # here nothing shows
    with pytest.raises(NondeterminismError, match=r"with PYTHONHASHSEED=[12]: workflow 'second_unsorted'"):
        replay_in_second_process(history, program.unsorted, processes=2)


async def test_what_does_not_depend_on_it_passes(program: ModuleType) -> None:
    replay_in_second_process(await recorded(program.Sorted.run()), program.Sorted, processes=1)
    replay_in_second_process(await recorded(program.counts()), program.counts, processes=1)


def break_it(program: ModuleType) -> None:
    assert program.__file__ is not None
    Path(program.__file__).write_text("raise KeyError('nobody is at home')")


async def test_what_cannot_be_replayed_elsewhere_says_why(program: ModuleType) -> None:
    @workflow.defn(name="second_inside")
    async def inside() -> None: ...

    history = await recorded(program.counts())
    wrong: Any = replay_in_second_process
    with pytest.raises(ValueError, match="'second_inside' is defined where no other process finds it"):
        wrong(history, inside)
    with pytest.raises(TypeError, match="takes a workflow, not 'counts'"):
        wrong(history, "counts")
    break_it(program)
    with pytest.raises(RuntimeError, match=r"has failed:(.|\n)*nobody is at home"):
        wrong(history, program.counts, processes=1)
