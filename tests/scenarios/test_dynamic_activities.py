"""Dynamic activities: what runs every type that its worker has no definition of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from durable import Worker, activity, workflow
from durable.common import Concurrency, RawValue
from durable.exceptions import RegistrationError
from tests.scenarios.rig import PATIENCE, Env, event, events


@activity.defn(name="scn.dyn.known")
async def known(text: str) -> str:
    return f"known {text}"


@workflow.defn(name="scn.dyn.calls")
async def calls(how: str) -> list[Any]:
    options: dict[str, Any] = {"task_queue": "elsewhere"} if how == "elsewhere" else {}
    run = workflow.execute_local_activity if how == "local" else workflow.execute_activity
    if how == "queued":
        options = {"eager": False}
    elif how == "limited":
        options = {"concurrency": Concurrency("scn.dyn", limit=1)}
    return [
        await run("scn.dyn.any", args=["a", {"b": 1}], result_type=str, **options),
        await run("scn.dyn.none", result_type=str, **options),
        await run("scn.dyn.known", "c", result_type=str, **options),
    ]


def dynamic(**options: Any) -> Any:
    @activity.defn(dynamic=True, **options)
    async def anything(args: Sequence[RawValue]) -> str:
        read = activity.payload_converter().from_payload
        values = [read(one.payload, dict if number else str) for number, one in enumerate(args)]
        return f"{activity.info().activity_type} {values}"

    return anything


FOUND = ["scn.dyn.any ['a', {'b': 1}]", "scn.dyn.none []", "known c"]


@pytest.mark.parametrize("how", ["eager", "local", "queued", "limited", "elsewhere"])
async def test_every_type_that_has_no_definition(env: Env, how: str) -> None:
    """In the process of the workflow, locally, through the queue, and by a worker of another queue that has only this."""
    serving = [dynamic(), known]
    if how == "elsewhere":
        async with env.worker(calls), env.worker(*serving, task_queue="elsewhere"):
            handle = await env.start(calls(how))
            assert await handle.result(timeout=PATIENCE) == FOUND
    else:
        async with env.worker(calls, *serving):
            handle = await env.start(calls(how))
            assert await handle.result(timeout=PATIENCE) == FOUND
    assert (await event(handle, "ActivityScheduled")).activity_type == "scn.dyn.any"
    assert (await events(handle)).count("ActivityCompleted") == 3


async def test_a_method_in_a_thread(env: Env) -> None:
    class Everything:
        def __init__(self, word: str) -> None:
            self.word = word

        @activity.method(dynamic=True)
        def anything(self, args: list[RawValue]) -> str:
            return f"{self.word} {activity.info().activity_type} {len(args)}"

    async with env.worker(calls, Everything("here:")):
        handle = await env.start(calls("eager"))
        assert await handle.result(timeout=PATIENCE) == [
            "here: scn.dyn.any 2", "here: scn.dyn.none 0", "here: scn.dyn.known 1",
        ]  # fmt: skip


async def test_in_a_workflow_it_is_called_by_a_name(env: Env) -> None:
    anything = dynamic()

    @workflow.defn(name="scn.dyn.wrong")
    async def wrong() -> list[str]:
        said: list[str] = []
        for call in (
            lambda: anything([]),
            lambda: anything.start([]),
            lambda: workflow.start_activity(anything, []),
            lambda: workflow.start_local_activity(anything, []),
        ):
            try:
                call()
            except TypeError as error:
                said.append(str(error))
        return said

    said = await env.run(wrong(), wrong, anything)
    assert len(said) == 4
    assert all("has no name to be called by" in text for text in said)


async def test_one_that_cannot_be_one_is_refused(plain: Env) -> None:
    with pytest.raises(RegistrationError, match="has no name itself"):
        activity.defn(name="x", dynamic=True)(lambda args: None)
    with pytest.raises(ValueError, match="stands for dynamic activities"):
        activity.defn(name="(dynamic)")(lambda args: None)

    @activity.defn(dynamic=True)
    async def typed(args: list[str]) -> None: ...

    @activity.defn(dynamic=True)
    async def two(args: Sequence[RawValue], more: int) -> None: ...

    for wrong in (typed, two):
        with pytest.raises(
            RegistrationError, match=r"must take one argument, annotated Sequence\[RawValue\]"
        ):
            Worker(plain.client, workflows=[], activities=[wrong])
    with pytest.raises(RegistrationError, match="two definitions"):
        Worker(plain.client, workflows=[], activities=[dynamic(), dynamic()])
