"""Worker versions: runs that stay with theirs, runs that follow, and what becomes of both when versions change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from durable import Client, Signal, Worker, activity, workflow
from durable.client import WorkerDeploymentVersionStatus, WorkflowHandle
from durable.common import (
    AutoUpgradeVersioningOverride,
    PinnedVersioningOverride,
    VersioningBehavior,
    WorkerDeploymentVersion,
)
from durable.exceptions import WorkerDeploymentConflictError, WorkerDeploymentNotFoundError
from durable.history import WorkflowTaskCompleted
from durable.worker import WorkerDeploymentConfig
from durable.workflow import ContinueAsNewVersioningBehavior
from tests.scenarios.rig import PATIENCE, Env, event, events, until

PINNED, AUTO = VersioningBehavior.PINNED, VersioningBehavior.AUTO_UPGRADE
go = Signal("go", str)


def version(build: str) -> WorkerDeploymentVersion:
    return WorkerDeploymentVersion("shop", build)


def here() -> str:
    """Which build runs the present task."""
    return workflow.info().get_current_build_id()


def flow(behavior: VersioningBehavior) -> Any:
    """A workflow that tells which builds ran its tasks: one at its start, one for each signal but the last."""

    @workflow.defn(name=f"versioned_{behavior.name.lower()}", versioning_behavior=behavior)
    async def versioned() -> list[str]:
        said = [here()]
        while await go.receive() != "end":
            said.append(here())
        return [*said, here()]

    return versioned


pinned, auto = flow(PINNED), flow(AUTO)


@workflow.defn(name="versioned_plain")
async def plain_flow() -> str:
    await go.receive()
    return here()


class Shop:
    """A deployment with workers of several builds."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self.workers: dict[str, Worker] = {}
        self.deployment = env.client.get_worker_deployment("shop")

    async def deploy(self, build: str, *definitions: Any, **options: Any) -> Worker:
        """Start a worker of a build."""
        config = WorkerDeploymentConfig(version(build), use_worker_versioning=True)
        worker = self.env.worker(*(definitions or (pinned, auto)), **{"deployment_config": config, **options})
        self.workers[build] = await worker.__aenter__()
        return worker

    async def stop(self, *builds: str) -> None:
        for build in builds:
            await self.workers.pop(build).shutdown()


@pytest.fixture
async def shop(env: Env) -> AsyncIterator[Shop]:
    made = Shop(env)
    yield made
    await made.stop(*made.workers)


async def completed(handle: WorkflowHandle[Any, Any]) -> list[tuple[str, str]]:
    """Which versions its history says ran its tasks, and what its workflow said there."""
    return [
        (one.data.worker_deployment_version, one.data.versioning_behavior)
        for one in (await handle.fetch_history()).events
        if isinstance(one.data, WorkflowTaskCompleted)
    ]


async def ran(handle: WorkflowHandle[Any, Any], build: str) -> None:
    """Wait until its history says that a build ran its newest tasks."""

    async def look() -> bool:
        found = await completed(handle)
        return bool(found) and found[-1][0] == (f"shop:{build}" if build else "")

    await until(f"build {build!r} runs it", look)


async def left(shop: Shop, handle: WorkflowHandle[Any, Any], build: str) -> None:
    """Wait until the worker of a build has not got it in memory (any more)."""

    async def look() -> bool:
        return (await handle.describe()).owner != shop.workers[build].worker_id

    await until("its worker has let it go", look)


@pytest.mark.temporal("deployment_versioning/routing_pinned", "patterns/worker_versioning")
async def test_a_pinned_run_stays_with_its_version(shop: Shop) -> None:
    await shop.deploy("1")
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(pinned())
    await ran(handle, "1")
    await shop.deploy("2")
    await shop.deployment.set_current_version("2")
    later = await shop.env.start(pinned())
    await ran(later, "2")
    await handle.signal(go("on"))
    await handle.signal(go("end"))
    await later.signal(go("end"))
    assert await handle.result(timeout=PATIENCE) == ["1", "1", "1"]
    assert await later.result(timeout=PATIENCE) == ["2", "2"]
    assert await completed(handle) == [("shop:1", "pinned")]
    assert (await events(handle))[:2] == ["Started", "WorkflowTaskCompleted"]
    told = await handle.describe()
    assert told.versioning_behavior is PINNED
    assert told.deployment_version == version("1")
    assert told.versioning_override is None


@pytest.mark.temporal("deployment_versioning/routing_auto_upgrade", "patterns/worker_versioning")
async def test_an_auto_upgrade_run_follows_the_current_version_from_memory_too(shop: Shop) -> None:
    await shop.deploy("1")
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(auto())
    await ran(handle, "1")
    await shop.deploy("2")
    await shop.deployment.set_current_version("2")
    await left(shop, handle, "1")
    await handle.signal(go("on"))
    await ran(handle, "2")
    await shop.deployment.set_current_version("1")
    await left(shop, handle, "2")
    await handle.signal(go("end"))
    assert await handle.result(timeout=PATIENCE) == ["1", "2", "1"]
    assert await completed(handle) == [
        ("shop:1", "auto_upgrade"),
        ("shop:2", "auto_upgrade"),
        ("shop:1", "auto_upgrade"),
    ]
    assert (await handle.describe()).versioning_behavior is AUTO


@pytest.mark.temporal("deployment_versioning/routing_with_ramp")
async def test_a_ramp_takes_its_share_by_workflow_id(shop: Shop) -> None:
    await shop.deploy("1")
    await shop.deploy("2")
    await shop.deployment.set_current_version("1")

    async def builds(name: str) -> list[str]:
        handles = [await shop.env.start(auto(), id=f"{name}-{n}") for n in range(12)]
        for handle in handles:
            await handle.signal(go("end"))
        return [(await handle.result(timeout=PATIENCE))[0] for handle in handles]

    assert set(await builds("ramp")) == {"1"}
    assert await completed(shop.env.client.get_workflow_handle("ramp-0")) == [("shop:1", "auto_upgrade")]
    await shop.deployment.set_ramping_version("2", 100)
    assert set(await builds("ramp")) == {"2"}
    await shop.deployment.set_ramping_version("2", 40)
    some = await builds("ramp")
    assert set(some) == {"1", "2"}
    assert await builds("ramp") == some
    await shop.deployment.set_ramping_version("2", 70)
    more = await builds("ramp")
    assert all(after == "2" for before, after in zip(some, more, strict=True) if before == "2")
    await shop.deployment.set_ramping_version(None)
    assert set(await builds("ramp")) == {"1"}


@pytest.mark.temporal("deployment_versioning/routing_with_override")
async def test_an_override_stands_above_the_workflow(shop: Shop) -> None:
    await shop.deploy("1")
    await shop.deploy("2")
    await shop.deployment.set_current_version("2")
    kept = await shop.env.start(auto(), versioning_override=PinnedVersioningOverride(version("1")))
    freed = await shop.env.start(pinned(), versioning_override=AutoUpgradeVersioningOverride())
    await ran(kept, "1")
    await ran(freed, "2")
    told = await kept.describe()
    assert told.versioning_override == PinnedVersioningOverride(version("1"))
    assert told.versioning_behavior is PINNED
    await shop.deployment.set_current_version("1")
    await left(shop, freed, "2")
    await freed.signal(go("on"))
    await ran(freed, "1")
    await kept.update_options(versioning_override=None)
    await shop.deployment.set_current_version("2")
    await left(shop, kept, "1")
    await kept.signal(go("on"))
    await ran(kept, "2")
    await freed.update_options(versioning_override=PinnedVersioningOverride(version("2")))
    await ran_on(freed, "2")
    for handle in (kept, freed):
        await handle.signal(go("end"))
    assert await kept.result(timeout=PATIENCE) == ["1", "2", "2"]
    assert await freed.result(timeout=PATIENCE) == ["2", "1", "2"]
    assert (await event(kept, "OptionsUpdated")).versioning_override == ""
    assert (await event(freed, "OptionsUpdated")).versioning_override == "shop:2"
    with pytest.raises(ValueError, match="has ever served"):
        await shop.env.start(pinned(), versioning_override=PinnedVersioningOverride(version("3")))


async def ran_on(handle: WorkflowHandle[Any, Any], build: str) -> None:
    async def look() -> bool:
        return (await handle.describe()).deployment_version == version(build)

    await until(f"it is of build {build}", look)


async def test_no_worker_of_the_version(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    await shop.deploy("1")
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(pinned())
    await ran(handle, "1")
    await shop.deploy("2")
    await shop.deployment.set_current_version("2")
    await shop.stop("1")
    await handle.signal(go("on"))

    async def said() -> bool:
        return "pinned to version shop:1, of which no worker is alive" in caplog.text

    await until("a worker warns", said)
    told = await shop.deployment.describe()
    assert [(one.status.name, one.workers) for one in told.version_summaries] == [
        ("DRAINING", 0),
        ("CURRENT", 1),
    ]
    assert "Signaled" not in await events(handle)
    await handle.update_options(versioning_override=PinnedVersioningOverride(version("2")))
    await handle.signal(go("end"))
    assert (await handle.result(timeout=PATIENCE))[1:] == ["2", "2"]
    drained = (await shop.deployment.describe()).version_summaries[0]
    assert drained.status is WorkerDeploymentVersionStatus.DRAINED
    await shop.deployment.delete_version("1")
    assert len((await shop.deployment.describe()).version_summaries) == 1


async def test_workers_without_a_version_and_with_one(shop: Shop) -> None:
    async with shop.env.worker(plain_flow, pinned, auto) as bare:
        before = await shop.env.start(plain_flow())
        await until("it waits", lambda: waits(before))
        # Workers come, and get nothing until their version is current.
        everything = (
            plain_flow,
            pinned,
            auto,
        )
        config = WorkerDeploymentConfig(version("1"), True, default_versioning_behavior=AUTO)
        await shop.deploy("1", *everything, deployment_config=config)
        early = await shop.env.start(pinned())
        await early.signal(go("end"))
        assert await early.result(timeout=PATIENCE) == ["", ""]
        await shop.deployment.set_current_version("1")
        await until("its worker has let it go", lambda: is_not_of(bare, before))
        late = await shop.env.start(pinned())
        await ran(late, "1")
        await before.signal(go("end"))
        assert await before.result(timeout=PATIENCE) == "1"
        assert await completed(before) == [("shop:1", "auto_upgrade")]
        moving = await shop.env.start(auto())
        await ran(moving, "1")
        await shop.deployment.set_current_version(None)
        await left(shop, moving, "1")
        await moving.signal(go("end"))
        assert await moving.result(timeout=PATIENCE) == ["1", ""]
        assert await completed(moving) == [("shop:1", "auto_upgrade"), ("", "")]
        await late.signal(go("end"))
        assert await late.result(timeout=PATIENCE) == ["1", "1"]
        assert bare.is_running


async def is_not_of(worker: Worker, handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).owner != worker.worker_id


async def waits(handle: WorkflowHandle[Any, Any]) -> bool:
    return (await handle.describe()).owner is not None or len(await events(handle)) == 1


@activity.defn(name="versioned_where")
async def where() -> str:
    return "first"


@activity.defn(name="versioned_where")
async def where_second() -> str:
    return "second"


@workflow.defn(name="versioned_caller", versioning_behavior=PINNED)
async def caller() -> list[str]:
    said: list[str] = []
    while await go.receive() != "end":
        said.append(await where.options(start_to_close_timeout=5)())
    return said


async def test_activities_of_a_pinned_run_go_to_its_version(shop: Shop) -> None:
    options = {"disable_eager_activity_execution": True}
    await shop.deploy("1", caller, where, **options)
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(caller())
    await ran(handle, "1")
    await shop.deploy("2", caller, where_second, **options)
    await shop.deployment.set_current_version("2")
    for _ in range(4):
        await handle.signal(go("on"))
    await handle.signal(go("end"))
    assert await handle.result(timeout=PATIENCE) == ["first"] * 4


@workflow.defn(name="versioned_child", versioning_behavior=PINNED)
async def child() -> str:
    return here()


@workflow.defn(name="versioned_parent", versioning_behavior=PINNED)
async def parent(rounds: int) -> list[str]:
    said = [here()]
    await go.receive()
    said.append(await child())
    changed = workflow.info().is_target_worker_deployment_version_changed()
    said.append(f"changed {changed}")
    if rounds:
        workflow.continue_as_new(
            rounds - 1,
            initial_versioning_behavior=ContinueAsNewVersioningBehavior.AUTO_UPGRADE if rounds == 1 else None,
        )
    return said


async def test_children_and_the_next_run_inherit(shop: Shop) -> None:
    await shop.deploy("1", parent, child)
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(parent(2))
    await ran(handle, "1")
    await shop.deploy("2", parent, child)
    await shop.deployment.set_current_version("2")

    async def told() -> bool:
        return (await shop.env.client.store.queue_routes(["default"]))["default"].current == "shop:2"

    await until("it is current", told)
    for _ in range(3):
        await handle.signal(go("on"))
    # The second run stays with the first one's version, the third asked for the current one.
    newest = shop.env.client.get_workflow_handle(handle.id)
    assert await newest.result(timeout=PATIENCE) == ["2", "2", "changed False"]
    builds = [one async for one in shop.env.client.list_workflows("TemporalWorkerDeployment = 'shop'")]
    kinds = sorted(
        (one.workflow_type, str(one.deployment_version and one.deployment_version.build_id)) for one in builds
    )
    assert kinds == [
        ("versioned_child", "1"),
        ("versioned_child", "1"),
        ("versioned_child", "2"),
        ("versioned_parent", "1"),
        ("versioned_parent", "1"),
        ("versioned_parent", "2"),
    ]


@workflow.defn(name="versioned_watcher", versioning_behavior=PINNED)
async def watcher() -> bool:
    while await go.receive() != "end":
        pass
    return workflow.info().is_target_worker_deployment_version_changed()


async def test_a_pinned_run_is_told_that_it_could_move(shop: Shop) -> None:
    await shop.deploy("1", watcher)
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(watcher())
    await ran(handle, "1")
    await shop.deploy("2", watcher)
    await shop.deployment.set_current_version("2")

    async def knows() -> bool:
        incarnation = shop.workers["1"]._incarnation
        assert incarnation is not None
        return incarnation.versions.changed(handle.id)

    await until("its worker knows", knows)
    await handle.signal(go("end"))
    assert await handle.result(timeout=PATIENCE) is True


@workflow.defn(name="versioned_ramped", versioning_behavior=PINNED)
async def ramped(again: bool) -> str:
    if again:
        await go.receive()
        workflow.continue_as_new(
            False, initial_versioning_behavior=ContinueAsNewVersioningBehavior.USE_RAMPING_VERSION
        )
    return here()


async def test_the_next_run_begins_with_the_ramping_version(shop: Shop) -> None:
    await shop.deploy("1", ramped)
    await shop.deployment.set_current_version("1")
    handles = [await shop.env.start(ramped(True)) for _ in range(2)]
    for handle in handles:
        await ran(handle, "1")
    await shop.deploy("2", ramped)
    await shop.deployment.set_ramping_version("2", 0.0001)
    await handles[0].signal(go("on"))
    assert await handles[0].result(timeout=PATIENCE) == "2"
    await shop.deployment.set_ramping_version(None)
    await handles[1].signal(go("on"))
    assert await handles[1].result(timeout=PATIENCE) == "1"


async def test_lists_find_runs_by_version_and_by_patch(shop: Shop) -> None:
    @workflow.defn(name="versioned_patched", versioning_behavior=PINNED)
    async def patched() -> bool:
        workflow.patched("other")
        return workflow.patched("new-way")

    await shop.deploy("1", patched, auto)
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(patched())
    assert await handle.result(timeout=PATIENCE)
    follows = await shop.env.start(auto())
    await ran(follows, "1")

    async def found(query: str) -> list[str]:
        return sorted([one.id async for one in shop.env.client.list_workflows(query)])

    both = sorted([handle.id, follows.id])
    assert await found("TemporalChangeVersion = 'new-way'") == [handle.id]
    assert await found("TemporalChangeVersion = 'older'") == []
    assert await found("TemporalWorkerDeploymentVersion = 'shop:1'") == both
    assert await found("TemporalWorkerDeployment = 'shop'") == both
    assert await found("TemporalWorkflowVersioningBehavior = 'Pinned'") == [handle.id]
    assert await found("TemporalWorkflowVersioningBehavior = 'AutoUpgrade'") == [follows.id]
    assert await found("BuildIds = 'versioned:1'") == both
    assert await found("TaskQueue = 'default'") == both
    assert {one.task_queue async for one in shop.env.client.list_workflows()} == {"default"}
    told = await handle.describe()
    named = {pair.key.name: pair.value for pair in told.typed_search_attributes}
    assert list(named["TemporalChangeVersion"]) == ["other", "new-way"]
    assert told.task_queue == "default"


async def test_a_deployment_is_changed_with_care(shop: Shop) -> None:
    with pytest.raises(WorkerDeploymentNotFoundError, match="no deployment"):
        await shop.deployment.describe()
    await shop.deploy("1")
    with pytest.raises(WorkerDeploymentNotFoundError, match="known are: shop:1"):
        await shop.deployment.set_current_version("2")
    first = await shop.deployment.describe()
    assert [one.status.name for one in first.version_summaries] == ["INACTIVE"]
    await shop.deployment.set_current_version("1", identity="ada", conflict_token=first.conflict_token)
    with pytest.raises(WorkerDeploymentConflictError, match="changed by ada"):
        await shop.deployment.set_current_version("1", conflict_token=first.conflict_token)
    with pytest.raises(ValueError, match="current version already"):
        await shop.deployment.set_ramping_version("1", 10)
    with pytest.raises(ValueError, match="from 0 to 100"):
        await shop.deployment.set_ramping_version("1", 101)
    await shop.deploy("2", task_queue="elsewhere")
    with pytest.raises(WorkerDeploymentConflictError, match="'default'"):
        await shop.deployment.set_current_version("2")
    await shop.deployment.set_ramping_version("2", 5, ignore_missing_task_queues=True)
    told = await shop.deployment.describe()
    assert told.routing_config.current_version == version("1")
    assert told.routing_config.ramping_version == version("2")
    assert told.routing_config.ramping_version_percentage == 5
    assert told.last_modifier_identity != "ada"
    assert [one.status.name for one in told.version_summaries] == ["CURRENT", "RAMPING"]
    with pytest.raises(WorkerDeploymentConflictError, match="is needed"):
        await shop.deployment.delete_version("2")
    assert [one.name for one in await shop.env.client.list_worker_deployments()] == ["shop"]
    # Runs of a queue that the ramping version does not serve are all the current version's.
    handle = await shop.env.start(auto())
    await ran(handle, "1")


async def test_a_workflow_must_say_what_a_version_means_to_it(env: Env) -> None:
    with pytest.raises(ValueError, match="says nothing of versions"):
        env.worker(plain_flow, deployment_config=WorkerDeploymentConfig(version("1"), True))
    env.worker(plain_flow, deployment_config=WorkerDeploymentConfig(version("1"), False))
    with pytest.raises(TypeError, match="deployment_config"):
        Worker(env.client, workflows=[], activities=[], build_id="1")  # type: ignore[call-arg]


async def test_a_query_is_answered_by_a_worker_of_the_runs_version(shop: Shop, store_url: str) -> None:
    def asked(build: str) -> Any:
        @workflow.defn(name="versioned_asked", versioning_behavior=PINNED)
        async def answering() -> None:
            workflow.set_query_handler("build", lambda: build)
            await go.receive()

        return answering

    first, second = asked("1"), asked("2")
    await shop.deploy("1", first)
    await shop.deployment.set_current_version("1")
    handle = await shop.env.start(first())
    await ran(handle, "1")
    await shop.deploy("2", second)
    await shop.deployment.set_current_version("2")
    async with Client.connect(store_url) as other:
        assert await other.get_workflow_handle(handle.id).query("build") == "1"
    await handle.signal(go("end"))
    await handle.result(timeout=PATIENCE)
