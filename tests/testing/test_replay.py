"""Histories in files and in databases, replayed under code that has changed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from durable import ApplicationError, Client, RetryPolicy, WorkflowFailureError, activity, workflow
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.exceptions import ActivityError, NondeterminismError, RegistrationError
from durable.history import Payload
from durable.testing import History, PostgresServer, WorkflowEnvironment
from durable.testing.replay import replay_open_runs
from durable.worker import Replayer
from tests.scenarios.rig import reached
from tests.testing.programs import charge, child, stop, subscription, waits


@workflow.defn(name="testing.subscription")
async def changed(customer: str, months: int) -> str:
    """It waits first and charges then."""
    reason = await stop.receive(timeout=30 * 24 * 3600)
    await charge(customer)
    return reason


@workflow.defn(name="testing.waits")
async def waits_now() -> str:
    await charge("ada")
    return await stop.receive()


NOW = [changed, waits_now, child]


async def under_way(client: Client, count: int = 6) -> None:
    """Runs that have charged and wait, some of them for a signal."""
    env = WorkflowEnvironment.from_client(client)
    async with env.worker(workflows=[subscription, waits, child], activities=[charge]):
        for number in range(count):
            await client.start_workflow(subscription("ada", 3), id=f"s-{number}")
        await client.start_workflow(waits(), id="w-0")
        handle = await client.start_workflow(subscription("bob", 3), id="closed")
        await handle.signal(stop("now"))
        await handle.result()
        for number in range(count):
            handle = client.get_workflow_handle(f"s-{number}")
            await reached(handle, "Started", "ActivityScheduled", "ActivityCompleted", "TimerStarted")


async def test_open_runs_of_a_database(store_url: str) -> None:
    async with Client.connect(store_url) as client:
        await under_way(client)
        seen: list[int] = []
        good = await replay_open_runs(
            client,
            replayer=Replayer(workflows=[subscription, waits]),
            progress=lambda report: seen.append(report.replayed),
        )
        assert good.ok
        assert seen == list(range(1, 8))
        assert str(good) == f"7 histories with {good.events} events: all replay"
        before = [run.run_id async for run in client.list_workflows()]
        bad = await replay_open_runs(client, replayer=Replayer(workflows=NOW))
        assert [(one.workflow_type, len(one.workflow_ids)) for one in bad.mismatches] == [
            ("testing.subscription", 6)
        ]
        assert isinstance(bad.mismatches[0].error, NondeterminismError)
        assert "6 of testing.subscription: s-" in str(bad)
        assert " and 1 more\n    NondeterminismError: " in str(bad)
        chosen = await replay_open_runs(client, replayer=Replayer(workflows=NOW), sample=3, seed=1)
        again = await replay_open_runs(client, replayer=Replayer(workflows=NOW), sample=3, seed=1)
        assert chosen.replayed == 3
        assert str(chosen) == str(again)
        closed = await replay_open_runs(client, "WorkflowId = 'closed'", replayer=Replayer(workflows=NOW))
        assert closed.replayed == 1
        assert [run.run_id async for run in client.list_workflows()] == before
        assert (await client.get_workflow_handle("s-0").describe()).reason == ""


async def test_histories_in_files(tmp_path: Path) -> None:
    file = tmp_path / "histories" / "one.json"
    async with WorkflowEnvironment(record=True) as env:
        assert await env.run(subscription("ada", 1), id="s-1") == "ended"
        env.record_history("s-1", file)
        history = env.history("s-1")
        assert history.types[:2] == ["WorkflowExecutionStarted", "ActivityTaskScheduled"]
        with pytest.raises(ValueError, match="no events 'Nothing'"):
            history.events_of("Nothing")
    kept = History.load(file)
    assert kept.types == history.types
    kept.replay(subscription)
    with pytest.raises(NondeterminismError):
        kept.replay(changed)
    async with WorkflowEnvironment() as env:
        await env.run(subscription("bob", 2), id="s-1")
        assert env.record_history("s-1", file).types == kept.types
        with pytest.raises(FileNotFoundError, match="--durable-record"):
            env.record_history("s-1", tmp_path / "none.json")
    secret = kept.scrubbed(
        lambda one: Payload(b'"***"', one.encoding) if one.data.startswith(b'"ada') else one
    )
    assert '"ada' not in repr(secret.recorded)
    secret.save(tmp_path / "secret.json")
    History.load(tmp_path / "secret.json").replay(subscription)


async def test_one_that_has_changed_its_arguments_is_a_matter_of_strictness(tmp_path: Path) -> None:
    @workflow.defn(name="testing.subscription")
    async def dearer(customer: str, months: int) -> Any:
        await charge(customer, 1000)
        return await stop.receive(timeout=30 * 24 * 3600)

    async with WorkflowEnvironment() as env:
        handle = await env.client.start_workflow(subscription("ada", 1), id="s-1")
        async with env.worker(workflows=[subscription], activities=[charge]):
            await env.advance(1)
            await handle.signal(stop("x"))
            await handle.result()
        history = env.history("s-1")
    history.replay(dearer, strict=False)
    with pytest.raises(NondeterminismError):
        history.replay(dearer, strict=True)


async def test_one_of_several_definitions_is_not_chosen_by_chance() -> None:
    async with WorkflowEnvironment() as env:
        assert await env.run(subscription("ada", 1), id="s-1") == "ended"
        history = env.history("s-1")
    with pytest.raises(RegistrationError) as refused:
        history.replay()
    assert changed.definition.where in str(refused.value)
    assert subscription.definition.where in str(refused.value)
    assert "Replayer(workflows=[...])" in str(refused.value)
    history.replay(subscription)


async def test_a_file_of_another_task_queue(tmp_path: Path) -> None:
    @workflow.defn(name="testing.elsewhere", task_queue="testing-elsewhere")
    async def elsewhere() -> str:
        return await charge("ada")

    for record in (True, False):
        async with WorkflowEnvironment(record=record) as env:
            await env.run(elsewhere(), id="e-1")
            assert env.record_history("e-1", tmp_path / "one.json").types[-1] == "WorkflowExecutionCompleted"


@pytest.mark.postgres
async def test_a_history_of_one_database_replays_in_the_environment_of_another(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    for first, second in ((None, postgres), (postgres, None)):
        file = tmp_path / "one.json"
        async with WorkflowEnvironment(record=True, postgres=first) as env:
            assert await env.run(subscription("ada", 2), id="s-1") == "ended"
            recorded = env.record_history("s-1", file)
        async with WorkflowEnvironment(postgres=second, strict=True) as env:
            assert await env.run(subscription("ada", 2), id="s-1") == "ended"
            assert env.record_history("s-1", file).types == recorded.types == env.history("s-1").types
            with pytest.raises(NondeterminismError):
                History.load(file).replay(changed)


async def test_what_people_wrote_is_scrubbed_too(tmp_path: Path) -> None:
    @activity.defn(name="testing.refuses", retry_policy=RetryPolicy(maximum_attempts=2))
    async def refuses(card: str) -> None:
        try:
            raise ValueError(f"{card} is no card")
        except ValueError as error:
            raise RuntimeError(f"refused {card}") from error

    @workflow.defn(name="testing.pays")
    async def pays(card: str) -> None:
        with contextlib.suppress(ActivityError):
            await refuses(card)
        workflow.upsert_memo({"card": card})
        raise ApplicationError(f"not paid by {card}", card)

    async with WorkflowEnvironment() as env:
        with pytest.raises(WorkflowFailureError):
            await env.run(
                pays("4111"),
                id="p-1",
                memo={"card": "4111"},
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(SearchAttributeKey.for_keyword("Card"), "4111")]
                ),
            )
        history = env.history("p-1")
    assert history.recorded.to_json().count("4111") > 8
    secret = history.scrubbed(lambda one: replace(one, data=one.data.replace(b"4111", b"0000")))
    secret.save(tmp_path / "secret.json")
    kept = (tmp_path / "secret.json").read_text()
    assert "4111" not in kept
    assert '"0000"' in kept
    History.load(tmp_path / "secret.json").replay(pays)
