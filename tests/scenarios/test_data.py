"""Values on their way through a workflow: converters of one's own, and what they are told about whose a value is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from durable import Client, Signal, activity, workflow
from durable.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    Payload,
    SerializationContext,
    WithSerializationContext,
)
from durable.exceptions import ActivityError, ApplicationError, WorkflowUpdateFailedError
from tests.scenarios.rig import PATIENCE, Env, event, events, fails

say: Signal[str] = Signal("scn.data.say", str)


class Whose(EncodingPayloadConverter, WithSerializationContext):
    """Strings, with whose they are; those of others it refuses to read."""

    def __init__(self, context: SerializationContext | None = None) -> None:
        self.context = context

    @property
    def encoding(self) -> str:
        return "test/whose"

    def with_context(self, context: SerializationContext) -> Whose:
        return Whose(context)

    def to_payload(self, value: Any) -> Payload | None:
        if type(value) is not str:
            return None
        return Payload(value.encode(), self.encoding, {"whose": repr(self.context).encode()})

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        assert payload.metadata["whose"].decode() == repr(self.context)
        return payload.data.decode()


class WhoseConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Whose(), *DefaultPayloadConverter.default_encoding_payload_converters)


async def test_children_and_who_is_signalled_read_in_their_own_context(env: Env, store_url: str) -> None:
    @workflow.defn(name="scn.data.child")
    async def child(text: str) -> str:
        return text + await say.receive()

    @workflow.defn(name="scn.data.parent")
    async def parent(text: str) -> str:
        started = await workflow.start_child_workflow(child(text), id="the-child")
        await workflow.get_external_workflow_handle("the-child").signal(say("!"))
        return await started

    converter = DataConverter(payload_converter_class=WhoseConverter)
    async with (
        Client.connect(store_url, data_converter=converter) as client,
        env.worker(parent, child, client=client),
    ):
        handle = await client.start_workflow(parent("a"), id="the-parent")
        assert await handle.result(timeout=PATIENCE) == "a!"
        asked = await event(handle, "StartChildInitiated")
    assert "workflow_id='the-child'" in asked.input[0].metadata["whose"].decode()


@pytest.mark.parametrize("queue", [None, "scn.data.other"])
async def test_every_value_is_read_in_the_context_it_was_written_in(
    env: Env, store_url: str, queue: str | None
) -> None:
    @activity.defn(name="scn.data.echo", task_queue=queue, retry_policy=None)
    async def echo(text: str) -> str:
        activity.heartbeat(text)
        if activity.info().attempt == 1:
            raise ApplicationError("again", text, next_retry_delay=0.01)
        assert activity.info().heartbeat_details == [text]
        return text

    @workflow.defn(name="scn.data.contexts")
    class Contexts:
        said = ""

        @workflow.run
        async def run(self, text: str) -> str:
            self.said = await say.receive()
            return await echo(text) + self.said

        @workflow.query
        def heard(self, text: str) -> str:
            return text + self.said

        @workflow.update
        async def amend(self, text: str) -> str:
            if text == "no":
                raise ApplicationError("no", text)
            return text + "!"

    converter = DataConverter(payload_converter_class=WhoseConverter)
    async with Client.connect(store_url, data_converter=converter) as client:
        async with (
            env.worker(Contexts, *([] if queue else [echo]), client=client),
            env.worker(*([echo] if queue else []), client=client, task_queue=queue or "scn.data.unused"),
        ):
            handle = await client.start_workflow(Contexts.run, "a", id="whose", memo={"m": "x"})
            assert await handle.execute_update("amend", "u") == "u!"
            with pytest.raises(WorkflowUpdateFailedError) as refused:
                await handle.execute_update("amend", "no")
            assert isinstance(refused.value.cause, ApplicationError)
            assert refused.value.cause.details == ("no",)
            await handle.signal(say("b"))
            assert await handle.result(timeout=PATIENCE) == "ab"
            assert await (await handle.describe()).memo() == {"m": "x"}
            assert await handle.query("heard", "q") == "qb"
            other = await client.start_workflow(
                Contexts.run, "a", id="whose-2", start_signal="scn.data.say", start_signal_args=["c"]
            )
            assert await other.result(timeout=PATIENCE) == "ac"
        completed = await event(handle, "Completed")
        workflow_context = "WorkflowSerializationContext(namespace='default', workflow_id='whose')"
        assert completed.result.metadata["whose"].decode() == workflow_context
        scheduled = await event(handle, "ActivityScheduled")
        said = scheduled.input[0].metadata["whose"].decode()
        assert said.startswith("ActivitySerializationContext(namespace='default', activity_id='")
        assert f"activity_task_queue='{queue or 'default'}', workflow_id='whose'" in said


async def test_a_result_is_decoded_from_what_was_encoded_the_first_time_as_at_every_replay(env: Env) -> None:
    """A tuple, asked for as a list, is a list at once and not only after the first replay."""
    seen: list[Any] = []

    @activity.defn(name="scn.data.pair")
    async def pair() -> Any:
        return (1, {"k": (2,)})

    @workflow.defn(name="scn.data.looks")
    async def looks() -> Any:
        answer = await pair()
        if not workflow.unsafe.is_replaying():
            seen.append(answer)
        return answer

    assert await env.run(looks(), looks, pair) == [1, {"k": [2]}]
    assert seen == [[1, {"k": [2]}]]


@pytest.mark.temporal("worker_activity/heartbeat_converter_fail")
async def test_details_that_cannot_be_stored_fail_the_heartbeat_at_its_caller(env: Env) -> None:
    @activity.defn(name="scn.data.bad_heartbeat")
    async def bad() -> None:
        try:
            activity.heartbeat({"at": object()})
        except ValueError as error:
            raise ApplicationError(str(error), non_retryable=True) from None

    @workflow.defn(name="scn.data.beats")
    async def beats() -> None:
        await bad()

    async with env.worker(beats, bad):
        handle = await env.start(beats())
        cause = await fails(handle)
    assert isinstance(cause, ActivityError)
    assert "heartbeat details[0].at: an object cannot be stored" in str(cause.cause)
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Failed"]


@pytest.mark.temporal("data/pydantic_converter")
async def test_models_need_no_converter_of_their_own(env: Env) -> None:
    pydantic = pytest.importorskip("pydantic")
    created = pydantic.create_model("Created", name=(str, ...), tags=(set[str], set()))
    globals()["Created"] = created

    @activity.defn(name="scn.data.model")
    async def grows(model: created) -> created:  # type: ignore[valid-type]
        assert type(model) is created
        return created(name=model.name + "!", tags={"b", "a"})

    @workflow.defn(name="scn.data.models")
    async def models(model: created) -> list[created]:  # type: ignore[valid-type]
        return [model, await grows(model)]

    result = await env.run(models(created(name="n")), models, grows)
    assert result == [created(name="n"), created(name="n!", tags={"a", "b"})]
    handle = env.handles[-1][0]
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]
    (sent,) = (await event(handle, "ActivityScheduled")).input
    assert json.loads(sent.data) == {"name": "n", "tags": []}
