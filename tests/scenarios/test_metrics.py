"""What workers record of themselves, what programs record with their meters, and what Prometheus reads of it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from durable import Client, Worker, activity, workflow
from durable.common import RetryPolicy
from durable.exceptions import ApplicationError, WorkflowFailureError
from durable.telemetry import METRICS, Metrics, prometheus_text
from durable.worker import _surveys
from tests.scenarios.rig import PATIENCE, Env, events, until


@activity.defn
async def measured(fail_at: int) -> int:
    attempt = activity.info().attempt
    activity.metric_meter().create_counter("tries").add(1)
    if attempt < fail_at:
        raise ApplicationError("not yet")
    return attempt


@workflow.defn
async def measured_flow(fail_at: int) -> int:
    meter = workflow.metric_meter().with_additional_attributes({"shop": "north"})
    meter.create_counter("orders", "Orders taken", "{order}").add(2)
    meter.create_histogram_timedelta("basket.age").record(timedelta(seconds=2))
    meter.create_gauge_float("price").set(1.5, {"of": 'a "book"\n'})
    await workflow.sleep(0.01)
    again = RetryPolicy(initial_interval=timedelta(milliseconds=1), maximum_attempts=2)
    return await measured.options(retry_policy=again)(fail_at)


def value(text: str, sample: str) -> float:
    """The value of a sample of an exposition."""
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert found is not None, f"{sample} is not in\n{text}"
    return float(found[1])


@pytest.fixture
async def told(store_url: str, cached: int, proxied: None) -> AsyncIterator[tuple[Env, Metrics]]:
    metrics = Metrics()
    metrics.collect()
    async with Client.connect(store_url, metrics=metrics) as client:
        env = Env(client, cached)
        yield env, metrics
        await env.judge()


@pytest.mark.temporal("telemetry/metrics", "data/custom_metric", "data/prometheus")
async def test_what_each_run_leaves(told: tuple[Env, Metrics]) -> None:
    env, metrics = told
    async with env.worker(measured_flow, measured):
        handle = await env.start(measured_flow(2))
        assert await handle.result(timeout=PATIENCE) == 2
        assert await events(handle) == [
            "Started",
            "TimerStarted",
            "TimerFired",
            "ActivityScheduled",
            "ActivityCompleted",
            "Completed",
        ]
        with pytest.raises(WorkflowFailureError):
            await (await env.start(measured_flow(9))).result(timeout=PATIENCE)
        text = prometheus_text(metrics)
        slots = 'durable_worker_slots_used{kind="activity"}'
        await until("slots are free again", lambda: value(prometheus_text(metrics), slots) == 0)
        assert value(text, 'durable_worker_slots_available{kind="local-activity"}') == 100
        assert 0 <= value(text, "durable_worker_heartbeat_age_seconds") < 60
    closed = 'durable_workflow_closed_total{{workflow_type="measured_flow",status="{}"}}'
    assert value(text, closed.format("completed")) == 1
    assert value(text, closed.format("failed")) == 1
    tries = 'durable_activity_attempts_total{{activity_type="measured",outcome="{}"}}'
    assert value(text, tries.format("completed")) == 1
    assert value(text, tries.format("failed")) == 3
    # Recorded once, whatever is replayed in between.
    north = 'namespace="default",shop="north",task_queue="default",workflow_type="measured_flow"'
    assert value(text, f"orders_total{{{north}}}") == 4
    assert value(text, f"basket_age_seconds_sum{{{north}}}") == 4
    assert value(text, f"price{{{north.replace('shop', QUOTED)}}}") == 1.5
    assert value(text, 'tries_total{activity_type="measured",namespace="default",task_queue="default"}') == 4
    lateness = value(text, "durable_timer_lateness_seconds_count")
    assert lateness == 2
    misses = 'durable_cache_lookups_total{result="miss"}'
    assert (misses in text) == (env.cached == 0)
    assert value(text, "durable_commit_duration_seconds_count") >= 4


QUOTED = 'of="a \\"book\\"\\n",shop'


@workflow.defn(name="faulty_flow")
async def faulty_flow() -> None:
    raise RuntimeError("a bug")


async def test_a_task_that_fails(told: tuple[Env, Metrics]) -> None:
    env, metrics = told
    failed = 'durable_workflow_task_failed_total{reason="panic",workflow_type="faulty_flow"}'
    async with env.worker(faulty_flow):
        handle = await env.start(faulty_flow())
        await until("it is counted", lambda: failed in prometheus_text(metrics))
        await handle.terminate()


@pytest.mark.sqlite
async def test_a_worker_tells_what_it_does(tmp_path: object) -> None:
    """Through OpenTelemetry, by the names, units and attributes of the catalogue."""
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader]))
    async with Client.connect(f"sqlite:///{tmp_path}/told.db", metrics=metrics) as client:
        env = Env(client, 1000)
        async with env.worker(measured_flow, measured):
            await (await env.start(measured_flow(1))).result(timeout=PATIENCE)
            found = reader.get_metrics_data()
            assert found is not None
    told = {one.name: one for each in found.resource_metrics[0].scope_metrics for one in each.metrics}
    known = {one.name: one for one in METRICS}
    for name, one in told.items():
        if name in known:
            assert (one.unit, one.description) == (known[name].unit, known[name].text)
            for point in one.data.data_points:
                assert set(point.attributes or {}) == set(known[name].attributes), name
    (closed,) = told["durable.workflow.closed"].data.data_points
    assert (closed.value, dict(closed.attributes)) == (  # type: ignore[union-attr,arg-type]
        1,
        {"workflow_type": "measured_flow", "status": "completed"},
    )
    assert told["durable.worker.slots_available"].data.data_points
    assert {"orders", "basket.age", "price", "tries"} <= {*told}


async def test_nothing_is_recorded_where_nobody_asked(plain: Env) -> None:
    metrics = Metrics()
    assert not metrics.on
    plain.client.metrics = metrics
    assert await plain.run(measured_flow(1), measured_flow, measured) == 1
    assert prometheus_text(metrics) == ""


async def test_one_worker_tells_what_waits_in_the_database_and_another_when_that_is_gone(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_surveys, "FIRST", 0.01)
    monkeypatch.setattr(_surveys, "EVERY", 0.05)
    monkeypatch.setattr(_surveys, "SHARE", 0)
    monkeypatch.setattr(_surveys, "MISSED", 1200)  # the turn is kept for a minute
    told = [Metrics(), Metrics()]
    for one in told:
        one.collect()

    def tellers() -> list[int]:
        return [n for n, one in enumerate(told) if "durable_queue_workers" in prometheus_text(one)]

    async with (
        Client.connect(store_url, metrics=told[0]) as first,
        Client.connect(store_url, metrics=told[1]) as second,
    ):
        workers = [
            Worker(client, task_queue="q", workflows=[], activities=[measured]) for client in (first, second)
        ]
        async with workers[0]:
            await until("it tells", lambda: tellers() == [0])
            async with workers[1]:
                await first.start_activity(measured(1), id="late", task_queue="elsewhere")
                await until("what waits is told", lambda: "elsewhere" in prometheus_text(told[0]))
                text = prometheus_text(told[0])
                assert value(text, 'durable_queue_backlog{kind="activity",task_queue="elsewhere"}') == 1
                assert value(text, 'durable_queue_workers{task_queue="elsewhere"}') == 0
                assert value(text, 'durable_queue_workers{task_queue="q"}') == 2
                assert value(text, "durable_workflow_open") == 1
                assert tellers() == [0], "one of them"
                # Before it leaves it has taken the turn for no longer than that.
                monkeypatch.setattr(_surveys, "MISSED", 1)
                await first.start_activity(measured(1), id="later", task_queue="elsewhere")
                backlog = 'durable_queue_backlog{kind="activity",task_queue="elsewhere"} 2'
                await until(
                    "it has looked again", lambda: any(backlog in prometheus_text(one) for one in told)
                )
                await workers[0].shutdown()
                await until("the other one tells", lambda: tellers() == [1])
