"""Deadlines of workflow types: who is late is told of, once, before and after, by one worker; and nothing is ended by it."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, Worker, workflow
from durable.exceptions import RegistrationError
from durable.telemetry import JsonFormatter, Metrics, prometheus_text
from durable.worker import _deadlines, _surveys
from tests.scenarios.rig import until

DEADLINE = 4.0
"""Seconds: its last fifth is long enough for a look on a busy machine."""


@workflow.defn(deadline=timedelta(seconds=DEADLINE))
async def promised() -> None:
    await workflow.sleep(3600)


@workflow.defn(name="patient", deadline=timedelta(hours=1))
class Patient:
    @workflow.run
    async def run(self) -> None:
        await workflow.sleep(3600)


@workflow.defn
async def unpromised() -> None:
    await workflow.sleep(3600)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_surveys, "FIRST", 0.01)
    monkeypatch.setattr(_surveys, "EVERY", 0.05)
    monkeypatch.setattr(_surveys, "SHARE", 0)
    monkeypatch.setattr(_surveys, "MISSED", 1200)  # the turn is kept for a minute
    monkeypatch.setattr(_deadlines, "NEAR", 0.1)  # a look falls into what is left, on a busy machine as well


def counted(metrics: Metrics, workflow_type: str = "promised") -> dict[str, int]:
    """How many runs of a type are near their deadline, and past it."""
    pattern = rf'^durable_workflow_late{{workflow_type="{workflow_type}",deadline="(\w+)"}} (\d+)'
    return {name: int(n) for name, n in re.findall(pattern, prometheus_text(metrics), re.MULTILINE)}


def told(caplog: pytest.LogCaptureFixture, where: str) -> list[Any]:
    """The records that tell of a run."""
    return [one for one in caplog.records if f"is {where} its deadline" in one.getMessage()]


async def test_a_late_run_is_told_of_before_and_after_once_and_goes_on(
    store_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: Counter[str] = Counter()
    look_at = _deadlines.look_at

    async def counted_look(home: Any, *args: Any) -> Any:
        found = await look_at(home, *args)
        looks[home.worker_id] += 1
        return found

    monkeypatch.setattr(_deadlines, "look_at", counted_look)
    first, second = Metrics(), Metrics()
    for metrics in (first, second):
        metrics.collect()
    kinds: Any = [promised, Patient, unpromised]
    async with (
        Client.connect(store_url, metrics=first) as client,
        Client.connect(store_url, metrics=second) as other,
        Worker(client, workflows=kinds, activities=[]) as worker,
    ):
        await until("it looks", lambda: counted(first) == {"near": 0, "past": 0})
        handle = await client.start_workflow(promised(), id="late")
        for kind in ("patient", "unpromised"):
            await client.start_workflow(kind, id=kind)
        await client.start_workflow(promised(), id="delayed", start_delay=timedelta(hours=1))
        await until("it is told before", lambda: bool(told(caplog, "near")))
        await until("it is told after", lambda: counted(first) == {"near": 0, "past": 1})
        assert counted(first, "patient") == {"near": 0, "past": 0}
        assert counted(first, "unpromised") == {}
        async with Worker(other, workflows=kinds, activities=[]):
            assert counted(second) == {}
            assert worker.worker_id is not None
            # Before it leaves it takes all turns for no longer than that.
            monkeypatch.setattr(_surveys, "MISSED", 1)
            seen = looks[worker.worker_id]
            await until("it has looked again", lambda: looks[worker.worker_id or ""] > seen + 2 * len(kinds))
            await worker.shutdown()
            await until("the other one counts", lambda: counted(second) == {"near": 0, "past": 1})
            assert (await handle.describe()).status.name == "RUNNING"
            await handle.terminate()
            await until("it is over", lambda: counted(second) == {"near": 0, "past": 0})
    (near,), (past,) = told(caplog, "near"), told(caplog, "past")
    assert (near.levelno, past.levelno) == (logging.WARNING, logging.ERROR)
    line = JsonFormatter().format(past)
    assert {key: json.loads(line)[key] for key in ("workflow_id", "run_id", "workflow_type")} == {
        "workflow_id": "late",
        "run_id": handle.first_execution_run_id,
        "workflow_type": "promised",
    }
    assert "should be for 0:00:04 at most" in past.getMessage()


@pytest.mark.sqlite
async def test_many_that_are_late_at_once_do_not_bury_the_log(
    store_url: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_deadlines, "MOST_TOLD", 3)
    monkeypatch.setattr(_deadlines, "NEAR", 0.0)
    async with Client.connect(store_url) as client:
        for number in range(5):
            await client.start_workflow("patient", id=f"p-{number}")
        async with Worker(client, workflows=[Patient], activities=[]):
            await until("it is told", lambda: "more workflows of type patient" in caplog.text)
            await client.start_workflow("patient", id="p-9")
            await until("the next one is told of", lambda: "p-9" in caplog.text)
    assert [one.args[0] for one in told(caplog, "near")] == ["p-0", "p-1", "p-2", "p-9"]
    assert "more workflows of type patient are near their deadline, 5 in all" in caplog.text


def test_what_can_be_no_deadline() -> None:
    with pytest.raises(ValueError, match="deadline must be longer than zero"):
        workflow.defn(deadline=0)
    with pytest.raises(TypeError, match="deadline must be a timedelta or a number of seconds"):
        workflow.defn(deadline="1h")  # type: ignore[arg-type]
    with pytest.raises(RegistrationError, match="a dynamic workflow has no deadline"):
        workflow.defn(dynamic=True, deadline=1)
