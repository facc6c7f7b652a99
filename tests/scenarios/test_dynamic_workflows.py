"""Workflows of any type that a worker has no definition of, run by one that takes them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from durable import Client, Signal, Worker, workflow
from durable.client import WorkflowFailureError
from durable.common import Concurrency, RawValue, VersioningBehavior, WorkerDeploymentVersion
from durable.exceptions import ApplicationError, RegistrationError
from durable.history import WorkflowTaskCompleted
from durable.interceptor.worker import Interceptor, WorkflowInboundInterceptor
from durable.worker import Replayer, WorkerDeploymentConfig
from durable.workflow import DynamicWorkflowConfig
from tests.scenarios.rig import PATIENCE, Env, until

go = Signal("go", None)
_raising: list[Exception] = []


def read(raw: RawValue, kind: type[Any]) -> Any:
    return workflow.payload_converter().from_payload(raw.payload, kind)


async def result(env: Env, *call: Any, **options: Any) -> Any:
    return await (await env.start(*call, **options)).result(timeout=PATIENCE)


@workflow.defn(dynamic=True, failure_exception_types=[KeyError])
class Anything:
    """Its behaviour is in its arguments: what to do, then a value."""

    @workflow.init
    def __init__(self, args: Sequence[RawValue]) -> None:
        self.count = len(args)
        self.open = False

    @workflow.dynamic_config
    def config(self) -> DynamicWorkflowConfig:
        if _raising:
            raise _raising[0]
        strict = workflow.info().workflow_type == "dw.lenient"
        return DynamicWorkflowConfig(failure_exception_types=[ZeroDivisionError] if strict else None)

    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> Any:
        what = read(args[0], str)
        name = workflow.info().workflow_type
        if what == "wait":
            await workflow.wait_condition(lambda: self.open)
        elif what == "again":
            await workflow.sleep(0.001)
            workflow.continue_as_new(args=["say", read(args[1], int) + 1])
        elif what == "divide":
            return 1 // read(args[1], int)
        elif what == "look up":
            return {}[read(args[1], int)]
        return [name, what, *[read(one, int) for one in args[1:]], self.count]

    @workflow.signal
    def go(self) -> None:
        self.open = True

    @workflow.query
    def state(self) -> str:
        return f"{workflow.info().workflow_type} {self.open}"


@workflow.defn(name="dw.known")
class Known:
    @workflow.run
    async def run(self, what: str) -> str:
        child: Any = await workflow.execute_child_workflow("dw.child", args=[what, 7])
        return f"known, {child}"


async def test_any_type_is_run_as_it_is_named(env: Env) -> None:
    async with env.worker(Anything, Known):
        found = [await result(env, f"dw.{n}", "say", n, id=f"any-{n}") for n in range(3)]
        assert found == [[f"dw.{n}", "say", n, 2] for n in range(3)]
        assert await result(env, "dw.known", "say", id="known") == "known, ['dw.child', 'say', 7, 2]"
    handle = env.client.get_workflow_handle("any-1")
    described = await handle.describe()
    assert described.workflow_type == "dw.1"
    (started, *_) = (await handle.fetch_history()).events
    assert started.data.workflow_type == "dw.1"  # type: ignore[union-attr]


async def test_it_waits_is_told_asked_and_goes_on(env: Env) -> None:
    async with env.worker(Anything):
        handle = await env.start("dw.waits", "wait", id="waits")
        assert await handle.query("state") == "dw.waits False"
        await handle.signal("go")
        assert await handle.result(timeout=PATIENCE) == ["dw.waits", "wait", 1]
        assert await handle.query("state") == "dw.waits True"
        again = await env.start("dw.again", "again", 1, id="again")
        assert await again.result(timeout=PATIENCE) == ["dw.again", "say", 2, 2]


async def test_a_query_from_elsewhere_is_answered_by_who_runs_all(store_url: str, cached: int) -> None:
    async with (
        Client.connect(store_url) as one,
        Client.connect(store_url) as two,
        Env(one, cached).worker(Anything, client=one),
    ):
        await one.execute_workflow("dw.past", "say", id="past")
        assert await two.get_workflow_handle("past").query("state") == "dw.past False"


async def test_its_definition_names_no_type(env: Env) -> None:
    async with env.worker(Anything):
        with pytest.raises(TypeError, match="every type and has none itself"):
            await env.client.start_workflow(Anything.run, [], id="none")  # type: ignore[call-overload, unused-ignore]
        with pytest.raises(TypeError, match="every type and has none itself"):
            Anything.run([])


async def test_the_config_says_what_fails_a_run(env: Env) -> None:
    async with env.worker(Anything, workflow_failure_exception_types=[OSError]):
        with pytest.raises(WorkflowFailureError) as caught:
            await result(env, "dw.lenient", "divide", 0, id="lenient")
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "ZeroDivisionError"
        with pytest.raises(WorkflowFailureError):
            await result(env, "dw.plain", "look up", 0, id="as the decorator says")
        for name, what in (("dw.plain", "divide"), ("dw.lenient", "look up")):
            handle = await env.start(name, what, 0, id=f"blocked {what}")
            await until("blocked", lambda handle=handle: _held(handle))
            await handle.terminate()


async def _held(handle: Any) -> bool:
    return (await handle.describe()).hold == "blocked"


async def test_a_config_that_fails_blocks_the_run(plain: Env) -> None:
    _raising[:] = [RuntimeError("no config today")]
    try:
        async with plain.worker(Anything):
            handle = await plain.start("dw.config", "say", id="config")
            await until("blocked", lambda: _held(handle))
            assert "no config today" in (await handle.describe()).reason
            _raising.clear()
            assert await handle.result(timeout=PATIENCE) == ["dw.config", "say", 1]
    finally:
        _raising.clear()


async def test_the_config_changes_nothing(plain: Env) -> None:
    @workflow.defn(dynamic=True)
    class Writes:
        @workflow.dynamic_config
        def config(self) -> DynamicWorkflowConfig:
            workflow.random()
            workflow.set_query_handler("late", lambda: 1)
            return DynamicWorkflowConfig()

        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> None:
            pass

    async with plain.worker(Writes):
        handle = await plain.start("dw.writes", id="writes")
        await until("blocked", lambda: _held(handle))
        assert "ReadOnlyContextError" in (await handle.describe()).reason
        await handle.terminate()


async def test_a_function_that_runs_all(env: Env) -> None:
    @workflow.defn(dynamic=True)
    async def anything(args: Sequence[RawValue]) -> int:
        await workflow.sleep(timedelta(milliseconds=1))
        return len(args)

    async with env.worker(anything):
        assert await result(env, "dw.fn", 1, 2, 3, id="fn") == 3


class _Seen(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: Any) -> Any:
        assert all(isinstance(one, RawValue) for one in input.args[0])
        return ["seen", await super().execute_workflow(input)]


class _See(Interceptor):
    def workflow_interceptor_class(self, input: Any) -> type[WorkflowInboundInterceptor]:
        return _Seen


async def test_interceptors_stand_around_it(env: Env) -> None:
    async with env.worker(Anything, interceptors=[_See()]):
        assert await result(env, "dw.seen", "say", id="seen") == ["seen", ["dw.seen", "say", 1]]
        again = await env.start("dw.again", "again", 1, id="again")
        assert await again.result(timeout=PATIENCE) == ["seen", ["dw.again", "say", 2, 2]]


async def test_without_one_the_type_waits(plain: Env) -> None:
    async with plain.worker(Known):
        handle = await plain.start("dw.waiting", "say", id="waiting")
        async with plain.worker(Anything):
            assert await handle.result(timeout=PATIENCE) == ["dw.waiting", "say", 1]


async def test_it_takes_over_what_another_of_its_kind_ran(store_url: str, cached: int) -> None:
    async with Client.connect(store_url) as one:
        env = Env(one, cached)
        async with env.worker(Anything):
            handle = await env.start("dw.moves", "wait", id="moves")
            await until("it runs", lambda: handle.query("state"))
        async with env.worker(Anything):
            await handle.signal("go")
            assert await handle.result(timeout=PATIENCE) == ["dw.moves", "wait", 1]


# ---------------------------------------------------------------- versions and concurrency keys


def versioned(build: str, says: Callable[[], DynamicWorkflowConfig]) -> Any:
    """A dynamic workflow that tells which builds ran its tasks."""

    @workflow.defn(dynamic=True)
    class Versioned:
        @workflow.dynamic_config
        def config(self) -> DynamicWorkflowConfig:
            return says()

        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> list[str]:
            first = [build, workflow.info().get_current_build_id()]
            await go.receive()
            return [*first, build, workflow.info().get_current_build_id()]

    return Versioned


def by_type() -> DynamicWorkflowConfig:
    stays = workflow.info().workflow_type.endswith("stays")
    return (
        DynamicWorkflowConfig(versioning_behavior=VersioningBehavior.PINNED)
        if stays
        else DynamicWorkflowConfig()
    )


def of_build(build: str, **options: Any) -> dict[str, Any]:
    version = WorkerDeploymentVersion("dw", build)
    return {"deployment_config": WorkerDeploymentConfig(version, use_worker_versioning=True, **options)}


async def builds(handle: Any) -> list[tuple[str, str]]:
    return [
        (one.data.worker_deployment_version, one.data.versioning_behavior)
        for one in (await handle.fetch_history()).events
        if isinstance(one.data, WorkflowTaskCompleted)
    ]


async def test_the_config_says_what_a_version_means_to_a_run(env: Env) -> None:
    follows = {"default_versioning_behavior": VersioningBehavior.AUTO_UPGRADE}
    deployment = env.client.get_worker_deployment("dw")
    key = Concurrency("dw", limit=2)
    async with env.worker(versioned("1", by_type), **of_build("1", **follows)) as old:
        await deployment.set_current_version("1")
        stays = await env.start("dw.stays", id="stays", concurrency=key)
        moves = await env.start("dw.moves", id="moves", concurrency=key)
        await until("it stays", lambda: builds(stays))
        await until("it moves", lambda: builds(moves))
        waits = await env.start("dw.waits", id="waits", concurrency=key)
        async with env.worker(versioned("2", by_type), **of_build("2", **follows)):
            await deployment.set_current_version("2")
            await until("it was let go", lambda: _not_of(old, moves))
            assert (await waits.describe()).reason.startswith(
                "it waits for its turn under concurrency key 'dw'"
            )
            await moves.signal(go(None))
            assert await moves.result(timeout=PATIENCE) == ["2", "1", "2", "2"]
            await stays.signal(go(None))
            assert await stays.result(timeout=PATIENCE) == ["1", "1", "1", "1"]
            await until("it has its turn", lambda: builds(waits))
            await waits.signal(go(None))
            assert await waits.result(timeout=PATIENCE) == ["2", "2", "2", "2"]
    assert await builds(stays) == [("dw:1", "pinned")]
    assert await builds(moves) == [("dw:1", "auto_upgrade"), ("dw:2", "auto_upgrade")]
    assert await builds(waits) == [("dw:2", "auto_upgrade")]


async def _not_of(worker: Worker, handle: Any) -> bool:
    return (await handle.describe()).owner != worker.worker_id


async def test_nobody_says_what_a_version_means_to_a_run(plain: Env) -> None:
    @workflow.defn(dynamic=True)
    class Silent:
        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> None:
            pass

    with pytest.raises(ValueError, match=r"'Silent' .* says nothing of versions"):
        plain.worker(Silent, **of_build("1"))
    async with plain.worker(versioned("1", by_type), **of_build("1")):
        await plain.client.get_worker_deployment("dw").set_current_version("1")
        handle = await plain.start("dw.moves", id="moves")
        await until("blocked", lambda: _held(handle))
        assert "says nothing of versions" in (await handle.describe()).reason
        await handle.terminate()
    with pytest.raises(TypeError, match="versioning_behavior must be"):
        DynamicWorkflowConfig(versioning_behavior="pinned")  # type: ignore[arg-type]


async def test_its_histories_are_replayed(env: Env) -> None:
    async with env.worker(Anything, Known):
        await result(env, "dw.known", "say", id="known")
        await result(env, "dw.said", "say", 1, id="said")
        with pytest.raises(WorkflowFailureError):
            await result(env, "dw.lenient", "divide", 0, id="lenient")
    histories = [
        await env.client.get_workflow_handle(id).fetch_history() for id in ("known", "said", "lenient")
    ]
    await Replayer(workflows=[Anything, Known]).replay_workflows(histories)
    with pytest.raises(RegistrationError, match=r"no workflow 'dw\.said'"):
        await Replayer(workflows=[Known]).replay_workflows(histories)


# ---------------------------------------------------------------- what is refused


def test_what_cannot_be_dynamic() -> None:
    with pytest.raises(RegistrationError, match="has no name itself"):
        workflow.defn(name="x", dynamic=True)
    with pytest.raises(TypeError, match="dynamic must be True or False"):
        workflow.defn(dynamic="yes")  # type: ignore[call-overload]
    with pytest.raises(RegistrationError, match="must take one argument, annotated Sequence"):

        @workflow.defn(dynamic=True)
        async def two(a: int, b: int) -> None:
            pass

    with pytest.raises(ValueError, match="stands for dynamic workflows"):

        @workflow.defn(name="(dynamic)")
        async def named() -> None:
            pass

    with pytest.raises(RegistrationError, match="is not dynamic"):

        @workflow.defn
        class NotDynamic:
            @workflow.dynamic_config
            def config(self) -> DynamicWorkflowConfig:
                return DynamicWorkflowConfig()

            @workflow.run
            async def run(self) -> None:
                pass

    with pytest.raises(RegistrationError, match="plain `def`"):

        @workflow.dynamic_config  # type: ignore[arg-type]
        async def config(self: Any) -> DynamicWorkflowConfig:
            return DynamicWorkflowConfig()

    with pytest.raises(RegistrationError, match="take self and nothing else"):

        @workflow.dynamic_config  # type: ignore[arg-type]
        def more(self: Any, more: int) -> DynamicWorkflowConfig:
            return DynamicWorkflowConfig()

    with pytest.raises(TypeError, match="exception classes"):
        DynamicWorkflowConfig(failure_exception_types=["KeyError"])  # type: ignore[list-item]


async def test_a_worker_serves_one_at_most(store_url: str) -> None:
    @workflow.defn(dynamic=True)
    class Other:
        @workflow.run
        async def run(self, args: Sequence[RawValue]) -> None:
            pass

    @workflow.defn(dynamic=True)
    class Untyped:
        @workflow.run
        async def run(self, args: list[int]) -> None:
            pass

    async with Client.connect(store_url) as client:
        with pytest.raises(RegistrationError, match="two definitions"):
            Worker(client, workflows=[Anything, Other], activities=[])
        with pytest.raises(RegistrationError, match="annotated Sequence"):
            Worker(client, workflows=[Untyped], activities=[])
