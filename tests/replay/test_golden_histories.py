"""Histories recorded under one Python replay under every other, under any hash seed, on the code as it is now."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.converter import default
from durable.history import CLOSING, Event, EventRow, decode_history
from durable.workflow._definition import REGISTRY
from tests.replay import programs

HISTORIES = sorted((Path(__file__).parent / "histories").glob("*.json"))
SCRIPT = "from tests.replay.test_golden_histories import HISTORIES, load, run\nfor path in HISTORIES: run(*load(path))\nprint(len(HISTORIES))"


def load(path: Path) -> tuple[str, list[Event]]:
    found: dict[str, Any] = json.loads(path.read_text())
    rows = [EventRow(seq, task, type, data.encode(), time) for seq, task, type, time, data in found["events"]]
    return found["run_id"], decode_history(rows)


def run(run_id: str, events: list[Event]) -> None:
    """Replay strictly: every command of every task, arguments included; nothing may be left over."""
    started = events[0].data
    definition = REGISTRY.named(started.workflow_type)[-1]  # type: ignore[attr-defined]
    reports: list[str] = []

    def instance(*, trace: bool = False) -> Instance:
        return Instance(
            definition,
            run_id,
            default(),
            namespace="default",
            note=lambda text, error: reports.append(f"{text}: {error!r}"),
            trace=trace,
        )

    code = instance()
    with Turns() as turns:
        live = replay(code, turns, events, rebuild=lambda: instance(trace=True), strict=True)
    assert live is None, "the last task has no recorded commands"
    assert code.closing
    assert code.evict() == 0
    assert reports == []


def test_there_are_histories_of_every_program_and_three_pythons() -> None:
    names = {path.stem.rpartition("-")[0] for path in HISTORIES}
    versions = {path.stem.rpartition("-")[2] for path in HISTORIES}
    assert names == {program.name for program in programs.PROGRAMS}
    assert versions >= {"3.11", "3.12", "3.13"}


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
        started = events[0].data
        definition = REGISTRY.named(started.workflow_type)[-1]  # type: ignore[attr-defined]
        code = Instance(definition, run_id, default(), namespace="default", note=lambda text, error: None)
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
