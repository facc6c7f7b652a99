"""Histories recorded under one Python replay under every other, under any hash seed, on the code as it is now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from durable._replay._instance import Instance
from durable._replay._intercepted import new_instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.converter import default
from durable.history import CLOSING, FROM_OUTSIDE, Event, EventRow, EventType, decode_history
from durable.interceptor.worker import workflow_interceptors
from durable.workflow._definition import DYNAMIC, REGISTRY
from tests.replay import programs, programs_of_runs
from tests.replay.programs_of_runs import QUEUE, Tags

(ANY_TYPE,) = [one for one in REGISTRY.served(DYNAMIC, QUEUE) if one.module == programs_of_runs.__name__]
HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
SCRIPT = "from tests.replay.test_golden_histories import HISTORIES, load, run\nfor path in HISTORIES: run(*load(path))\nprint(len(HISTORIES))"


def load(path: Path) -> tuple[str, list[Event]]:
    found: dict[str, Any] = json.loads(path.read_text())
    rows = [EventRow(seq, task, type, data.encode(), time) for seq, task, type, time, data in found["events"]]
    return found["run_id"], decode_history(rows)


def maker(run_id: str, events: list[Event], note: Any) -> Callable[..., Instance]:
    """Return what makes the code of a run, with the interceptors that its worker had."""
    started: Any = events[0].data
    named = REGISTRY.named(started.workflow_type)
    definition = named[-1] if named else ANY_TYPE.for_type(started.workflow_type)
    interceptors = workflow_interceptors([Tags()]) if started.workflow_type == "golden_headers" else ()
    return partial(
        new_instance,
        definition,
        run_id,
        default(),
        namespace="default",
        note=note,
        interceptors=interceptors,
    )


def run(run_id: str, events: list[Event]) -> None:
    """Replay strictly: every command of every task, arguments included; nothing may be left over."""
    reports: list[str] = []
    instance = maker(run_id, events, lambda text, error: reports.append(f"{text}: {error!r}"))
    code = instance()
    with Turns() as turns:
        live = replay(code, turns, events, rebuild=lambda: instance(trace=True), strict=True)
    assert live is None, "the last task has no recorded commands"
    assert code.closing is not isinstance(events[-1].data, FROM_OUTSIDE)
    assert code.evict() == 0
    assert reports == []


def test_there_are_histories_of_every_program_under_three_pythons_and_of_every_event() -> None:
    names = [one.name for one in (*programs.PROGRAMS, *programs_of_runs.RUNS)]
    found = {path.stem for path in HISTORIES}
    assert found >= {f"{name}-{version}" for name in names for version in ("3.11", "3.12", "3.13")}
    assert {stem.rpartition("-")[0] for stem in found} == set(names)
    assert {event.type for path in HISTORIES for event in load(path)[1]} == set(EventType)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_a_recorded_history_replays(path: Path) -> None:
    run_id, events = load(path)
    assert isinstance(events[-1].data, CLOSING)
    run(run_id, events)


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: path.stem)
def test_every_prefix_of_a_history_replays(path: Path) -> None:
    """A crash may leave any prefix that ends with a task's inputs or with its commands."""
    run_id, events = load(path)
    for end in range(1, len(events)):
        if events[end].task == events[end - 1].task:
            continue
        code = maker(run_id, events, lambda text, error: None)()
        with Turns() as turns:
            replay(code, turns, events[:end], rebuild=lambda: pytest.fail("it differs"), strict=True)
        assert code.evict() == 0


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_histories_replay_under_any_hash_seed(seed: str) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) == len(HISTORIES) > 0
