"""What a caller may say wrongly: refused there, by a typed error with the field's name, before anything is stored."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, RetryPolicy, Worker, activity, workflow
from durable.exceptions import (
    ConversionError,
    PayloadTooLargeError,
    RegistrationError,
    SchemaError,
    StoreConfigurationError,
    StoreUnavailableError,
)
from tests.scenarios.rig import Env, events


@workflow.defn(name="scn.bad.takes")
async def takes(value: Any = None) -> Any:
    return value


@activity.defn(name="scn.bad.does")
async def does(value: Any = None) -> Any:
    return value


BAD_NAMES = {
    "empty": "",
    "blank": "  ",
    "too long": "x" * 256,
    "too long in bytes": "é" * 128,
    "nul": "a\x00b",
    "newline": "a\nb",
    "surrogate": "\ud800",
    "number": 7,
    "bytes": b"x",
}
BAD_DURATIONS = [
    -1,
    -0.001,
    math.nan,
    math.inf,
    -math.inf,
    True,
    "5",
    1e30,
    timedelta(seconds=-1),
    timedelta.max,
]


async def nothing_is_stored(env: Env, workflow_id: str) -> bool:
    return await env.client.store.find_run(workflow_id) is None


@pytest.mark.parametrize("name", BAD_NAMES)
async def test_names(plain: Env, name: str) -> None:
    bad: Any = BAD_NAMES[name]
    client = plain.client
    for field, wrong in (
        ("id", lambda: client.start_workflow(takes(), id=bad)),
        ("task_queue", lambda: client.start_workflow(takes(), id="it", task_queue=bad)),
        ("workflow", lambda: client.start_workflow(bad, id="it")),
        ("memo", lambda: client.start_workflow(takes(), id="it", memo={bad: 1})),
    ):
        with pytest.raises((ValueError, TypeError, RegistrationError)) as caught:
            await wrong()
        if field != "workflow" or isinstance(bad, str):
            assert field in str(caught.value), f"{field}: {caught.value}"
        assert len(str(caught.value)) < 1000
    assert await nothing_is_stored(plain, "it")
    with pytest.raises((ValueError, TypeError)):
        client.get_workflow_handle(bad)
    with pytest.raises((ValueError, TypeError), match="task_queue"):
        Worker(client, task_queue=bad, workflows=[takes])


@pytest.mark.parametrize("value", BAD_DURATIONS, ids=repr)
async def test_durations(plain: Env, value: Any) -> None:
    client = plain.client
    for field in ("run_timeout", "execution_timeout", "task_timeout", "start_delay"):
        with pytest.raises((ValueError, TypeError), match=field):
            await client.start_workflow(takes(), id="it", **{field: value})
    assert await nothing_is_stored(plain, "it")
    for field in (
        "start_to_close_timeout",
        "schedule_to_close_timeout",
        "schedule_to_start_timeout",
        "heartbeat_timeout",
    ):
        with pytest.raises((ValueError, TypeError), match=field):
            does.options(**{field: value})
    for field in ("initial_interval", "maximum_interval"):
        with pytest.raises((ValueError, TypeError), match=field):
            RetryPolicy(**{field: value})
    for field in ("lease_duration", "poll_interval", "graceful_shutdown_timeout"):
        with pytest.raises((ValueError, TypeError), match=field):
            Worker(client, workflows=[takes], **{field: value})


async def test_durations_of_zero(plain: Env) -> None:
    for field in ("run_timeout", "execution_timeout"):
        with pytest.raises(ValueError, match=field):
            await plain.client.start_workflow(takes(), id="it", **{field: 0})
    with pytest.raises(ValueError, match="start_to_close_timeout"):
        does.options(start_to_close_timeout=0)
    with pytest.raises(ValueError, match="lease_duration"):
        Worker(plain.client, workflows=[takes], lease_duration=0)
    assert await nothing_is_stored(plain, "it")


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, (i for i in ()), CYCLE, open, "\ud800", {1: "a", "1": "b"}, 1j, math.nan],
    ids=["object", "lambda", "generator", "cycle", "function", "surrogate", "keys", "complex", "nan"],
)
async def test_values_that_cannot_be_stored(plain: Env, value: Any) -> None:
    with pytest.raises((ConversionError, TypeError, ValueError)) as caught:
        await plain.client.start_workflow(takes(value), id="it")
    assert "scn.bad.takes" in str(caught.value) or "input" in str(caught.value), caught.value
    with pytest.raises((ConversionError, TypeError, ValueError)):
        await plain.client.start_workflow(takes(), id="it", memo={"key": value})
    assert await nothing_is_stored(plain, "it")


async def test_values_that_are_too_large(plain: Env) -> None:
    large = "x" * (2 * 1024 * 1024 + 1)
    with pytest.raises(PayloadTooLargeError):
        await plain.client.start_workflow(takes(large), id="it")
    assert await nothing_is_stored(plain, "it")
    handle = await plain.start(takes(1))
    with pytest.raises(PayloadTooLargeError):
        await handle.signal("s", large)
    assert not await plain.client.store.read_messages([handle.result_run_id])
    await handle.terminate()


async def test_starts_that_contradict_themselves(plain: Env) -> None:
    from durable import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

    start = plain.client.start_workflow
    for wrong in (
        lambda: start(takes(1), 2, id="it"),
        lambda: start("scn.bad.takes", 1, args=[2], id="it"),
        lambda: start(takes, 1, 2, 3, id="it"),
        lambda: start(does, id="it"),
        lambda: start(print, id="it"),
        lambda: start(object(), id="it"),
        lambda: start(takes(), id="it", unknown_option=1),
        lambda: start("scn.bad.takes", args="abc", id="it"),
        lambda: start(takes(), id="it", id_reuse_policy="never"),
        lambda: start(takes(), id="it", memo=[1]),
        lambda: start(takes(), id="it", static_summary=7),
        lambda: start(takes(), id="it", static_summary="\ud800"),
        lambda: start(
            takes(),
            id="it",
            id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
        ),
    ):
        with pytest.raises((TypeError, ValueError, RegistrationError)):
            await wrong()
        assert await nothing_is_stored(plain, "it")
    for field, wrong in (
        ("memo", lambda: start(takes(), id="it", memo=[1])),
        ("static_summary", lambda: start(takes(), id="it", static_summary="\ud800")),
        ("id_reuse_policy", lambda: start(takes(), id="it", id_reuse_policy="never")),
        ("activity", lambda: start(does, id="it")),
    ):
        with pytest.raises((TypeError, ValueError, RegistrationError), match=field):
            await wrong()


async def test_workers_that_contradict_themselves(plain: Env) -> None:
    client = plain.client

    @workflow.defn(name="scn.bad.takes")
    async def another(x: int) -> int:
        return x

    for wrong, words in (
        (lambda: Worker(client, workflows=[takes, another]), "scn.bad.takes"),
        (lambda: Worker(client, workflows=[does]), "does"),
        (lambda: Worker(client, workflows=[], activities=[takes]), "takes"),
        (lambda: Worker(client, workflows=[print]), "print"),
        (lambda: Worker(client, workflows=[takes], max_cached_workflows=-1), "max_cached_workflows"),
        (lambda: Worker(client, workflows=[takes], max_concurrent_activities=0), "max_concurrent_activities"),
        (
            lambda: Worker(client, workflows=[takes], max_concurrent_activities=True),
            "max_concurrent_activities",
        ),
    ):
        with pytest.raises((TypeError, ValueError, RegistrationError), match=words):
            wrong()


async def test_a_worker_is_started_once(plain: Env) -> None:
    worker = plain.worker(takes)
    async with worker:
        assert worker.is_running
    assert not worker.is_running
    with pytest.raises(RuntimeError, match="before"):
        async with worker:
            pass


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.db",
        "mysql://localhost/x",
        "sqlite:app.db",
        "sqlite:///",
        "postgresql://",
        "postgresql://localhost:notaport/x",
        "sqlite:////nowhere/at/all/app.db",
        "sqlite:///a\x00b",
        7,
    ],
)
async def test_urls(url: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DURABLE_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((StoreConfigurationError, StoreUnavailableError, TypeError)) as caught:
        await Client.connect(url)
    assert str(caught.value)
    assert not os.listdir(tmp_path)


async def test_no_url_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DURABLE_URL", raising=False)
    with pytest.raises(StoreConfigurationError, match="DURABLE_URL"):
        await Client.connect()


async def test_a_database_that_is_not_reachable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailableError) as caught:
        await Client.connect("postgresql://someone:secret@127.0.0.1:1/nothing")
    assert "secret" not in str(caught.value)
    (tmp_path / "file").write_text("not a database, but long enough to be mistaken for one " * 50)
    with pytest.raises((StoreConfigurationError, StoreUnavailableError, SchemaError)):
        await Client.connect(f"sqlite:///{tmp_path / 'file'}")
    assert (tmp_path / "file").read_text().startswith("not a database")


@pytest.mark.owner
async def test_a_database_without_tables_and_without_leave_to_make_them(store_url: str) -> None:
    with pytest.raises(SchemaError, match="migrate"):
        await Client.connect(store_url, migrate=False)


@pytest.mark.parametrize("namespace", ["", "Upper", "a-b", "1a", "x" * 49, "pg_mine", 'a"b', 7])
async def test_namespaces(postgres_url: str, namespace: Any) -> None:
    with pytest.raises((StoreConfigurationError, TypeError)):
        await Client.connect(postgres_url, namespace=namespace)


async def test_a_client_that_is_closed(plain: Env, store_url: str) -> None:
    client = await Client.connect(store_url)
    handle = client.get_workflow_handle("it")
    await client.aclose()
    await client.aclose()
    calls: tuple[Callable[[], Awaitable[Any]], ...] = (
        lambda: client.start_workflow(takes(), id="it"),
        lambda: handle.signal("news"),
        lambda: handle.query("news"),
        lambda: handle.describe(),
        lambda: handle.result(),
        lambda: handle.cancel(),
        lambda: handle.terminate(),
    )
    for call in calls:
        with pytest.raises(StoreUnavailableError, match="the store has been closed"):
            async with asyncio.timeout(
                1.0
            ):  # at once, and not after the patience for a database that is away
                await call()
    assert await nothing_is_stored(plain, "it")


async def test_outside_of_a_workflow() -> None:
    from durable.exceptions import NotInActivityError, NotInWorkflowError

    for wrong in (workflow.now, workflow.info, workflow.random, workflow.uuid4):
        with pytest.raises(NotInWorkflowError):
            wrong()
    for wrong in (activity.info, activity.heartbeat, activity.is_cancelled):
        with pytest.raises(NotInActivityError):
            wrong()


@activity.defn(name="scn.bad.doubles")
async def doubles(value: int) -> int:
    return 2 * value


@workflow.defn(name="scn.bad.goes_on")
async def goes_on() -> list[Any]:
    found: list[Any] = []
    for value in ("one", 1, "two", 2):
        try:
            found.append(await doubles(value))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        except ConversionError:
            found.append(None)
    return found


async def test_code_that_goes_on_after_a_wrong_argument_replays(env: Env) -> None:
    """The error is raised again in a replay, though the history has nothing of that call."""
    assert await env.run(goes_on(), goes_on, doubles, id="goes-on") == [None, 2, None, 4]
    assert await events(env.handles[0][0]) == [
        *("Started", "ActivityScheduled", "ActivityCompleted"),
        *("ActivityScheduled", "ActivityCompleted", "Completed"),
    ]


async def test_cron_intervals(plain: Env) -> None:
    for schedule in ("@every 0s", "@every 999ms", "@every 0s/1s"):
        with pytest.raises(ValueError, match=r"cron_schedule: '@every .*at least one second"):
            await plain.client.start_workflow(takes(), id="it", cron_schedule=schedule)
    assert await nothing_is_stored(plain, "it")


async def test_lists(plain: Env) -> None:
    for wrong in ("ValueError", 5):
        with pytest.raises(TypeError, match="non_retryable_error_types must be a list"):
            RetryPolicy(non_retryable_error_types=wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="start_signal_args must be a list"):
        await plain.client.start_workflow(takes(), id="it", start_signal="go", start_signal_args="no")
    assert await nothing_is_stored(plain, "it")


@workflow.defn(name="bad.messages")
class Messages:
    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def note(self, n: int) -> None: ...

    @workflow.query
    def size(self) -> int:
        return 0

    @workflow.update
    def add(self) -> None: ...


async def test_a_message_of_another_kind_names_the_method_that_takes_it() -> None:
    async with Client.connect("sqlite://:memory:") as client:
        handle: Any = client.get_workflow_handle("any")
        with pytest.raises(TypeError, match=r"'size' is for handle\.query\(\)"):
            await handle.signal(Messages.size)
        with pytest.raises(TypeError, match=r"'note' is for handle\.signal\(\)"):
            await handle.query(Messages.note)
        with pytest.raises(TypeError, match=r"'size' is for handle\.query\(\)"):
            await handle.execute_update(Messages.size)
        with pytest.raises(TypeError, match=r"'add' is for handle\.execute_update\(\)"):
            await handle.signal(Messages.add)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"workflows": Messages}, r"pass workflows=\[\.\.\.\]"),
        ({"activities": "name"}, r"pass activities=\[\.\.\.\]"),
        ({"max_cached_workflow": 5}, "did you mean 'max_cached_workflows'"),
        ({"zzz": 5}, "there are activities, "),
    ],
)
async def test_what_a_worker_does_not_take(options: dict[str, Any], text: str) -> None:
    async with Client.connect("sqlite://:memory:") as client:
        with pytest.raises(TypeError, match=text):
            Worker(client, **options)
