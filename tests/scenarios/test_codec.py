"""A payload codec between the program and its database: what passes it, what never does, and what its failures do."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from durable import (
    ApplicationError,
    Client,
    RetryPolicy,
    Signal,
    WorkflowFailureError,
    activity,
    workflow,
)
from durable.client import _patience as patience
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    Payload,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.exceptions import ChildWorkflowError, PayloadCodecError, WorkflowUpdateFailedError
from durable.history import WorkflowExecutionCompleted, decode_history
from durable.store import Store, beneath
from durable.store._filter import check_list, parse
from tests.scenarios.rig import PATIENCE, Env, event, events, held, reached, until

SOON = RetryPolicy(initial_interval=0.05)
ONCE = RetryPolicy(maximum_attempts=1)
SECRET = "canary-7f3a"


class KeyServiceAwayError(Exception):
    pass


class Toy(PayloadCodec):
    """Hides bytes, not well; each time otherwise, as encryption does. It can be away, as a key service can."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []
        self.away: Callable[[str], bool] = lambda what: False
        self.delay = 0.0
        self.count = 0
        self.busy: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def _call(self, what: str, payloads: Sequence[Payload]) -> None:
        self.calls.append((what, len(payloads)))
        self.busy[what] += 1
        self.most[what] = max(self.most[what], self.busy[what])
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.busy[what] -= 1
        if self.away(what):
            raise KeyServiceAwayError("no keys")

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._call("encode", payloads)
        self.count += 1
        return [
            Payload(
                base64.b85encode(payload.data)[::-1],
                "binary/toy",
                {"was": payload.encoding.encode(), "nonce": str(self.count).encode(), **payload.metadata},
            )
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        await self._call("decode", payloads)
        return [
            payload
            if payload.encoding != "binary/toy"
            else Payload(base64.b85decode(payload.data[::-1]), payload.metadata["was"].decode())
            for payload in payloads
        ]


@pytest.fixture
def codec() -> Toy:
    return Toy()


@pytest.fixture
async def env(store_url: str, cached: int, proxied: None, codec: Toy) -> AsyncIterator[Env]:
    converter = DataConverter(
        payload_codec=codec, failure_converter_class=DefaultFailureConverterWithEncodedAttributes
    )
    async with Client.connect(store_url, data_converter=converter) as client:
        made = Env(client, cached)
        yield made
        codec.away = lambda what: False
        await made.judge()


@dataclasses.dataclass
class Order:
    text: str
    price: float = 1e16


hear: Signal[str] = Signal("scn.codec.hear", str)


async def as_stored(store: Store, run_id: str) -> bytes:
    """All bytes of a run that a reader of the database sees."""
    bare = beneath(store)
    rows = await bare.read_events(run_id)
    activities = await bare.read_activities(run_id)
    messages = await bare.read_messages([run_id])
    return b"\n".join(
        [
            *(row.data for row in rows),
            *(row.scheduled + row.progress for row in activities),
            *(message.data for message in messages),
        ]
    )


@pytest.mark.temporal("data_converter/codec")
async def test_everything_comes_back_and_nothing_is_readable_in_the_database(env: Env, codec: Toy) -> None:
    keys: list[str] = []

    @activity.defn(name="scn.codec.echo", retry_policy=SOON, heartbeat_timeout=5)
    async def echo(order: Order) -> Order:
        info = activity.info()
        keys.append(info.idempotency_key)
        activity.heartbeat(SECRET, info.attempt)
        if info.attempt == 1:
            await until(
                "the heartbeat has a row", lambda: env.client.store.read_activities(info.workflow_run_id)
            )
            raise ValueError(f"first {SECRET}")
        assert info.heartbeat_details == [SECRET, 1]
        return Order(order.text + "!", order.price)

    @workflow.defn(name="scn.codec.all")
    class All:
        said = ""

        @workflow.run
        async def run(self, order: Order) -> Order:
            answer = await echo(order)
            self.said = await hear.receive()
            if self.said.endswith("fail"):
                raise ApplicationError(f"failed {SECRET}", Order(SECRET), type="Asked")
            return answer

        @workflow.query
        def heard(self, prefix: str) -> str:
            return prefix + self.said

        @workflow.update
        async def amend(self, text: str) -> str:
            if text.endswith("no"):
                raise ApplicationError(f"no {text}")
            return text + "!"

    async with env.worker(All, echo):
        handle = await env.start(All.run, Order(SECRET), memo={"note": SECRET}, id="all")
        assert await (await handle.describe()).memo() == {"note": SECRET}
        assert await handle.execute_update("amend", SECRET) == SECRET + "!"
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("amend", f"{SECRET} no", id="refused")
        assert str(refused.value.cause).endswith(f"no {SECRET} no")
        outcome = await beneath(env.client.store).find_update(handle.result_run_id or "", "update:refused")
        assert outcome is not None
        assert b"Encoded failure" in outcome.data
        assert b"binary/toy" in outcome.data
        await handle.signal(hear(SECRET))
        assert await handle.result(timeout=PATIENCE) == Order(SECRET + "!")
        assert await handle.query("heard", "> ") == f"> {SECRET}"
        failing = await env.start(All.run, Order(SECRET))
        await failing.signal(hear(f"{SECRET} fail"))
        with pytest.raises(WorkflowFailureError) as caught:
            await failing.result(timeout=PATIENCE)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.message, cause.type) == (f"failed {SECRET}", "Asked")
    assert cause.details[0]["text"] == SECRET
    assert await handle.query("heard", "> ") == f"> {SECRET}"  # from the log, without a worker
    found = await events(handle)
    assert found[:2] == ["Started", "ActivityScheduled"]
    assert found[-1] == "Completed"
    updates = ["UpdateAccepted", "UpdateAccepted", "UpdateCompleted", "UpdateCompleted"]
    assert sorted(found[2:-1]) == ["ActivityCompleted", "Signaled", *updates]
    assert len(set(keys)) == 2  # one per call, the same at each attempt
    for one in (handle, failing):
        stored = await as_stored(env.client.store, (await one.describe()).run_id)
        assert SECRET.encode() not in stored
        assert base64.b64encode(SECRET.encode()).rstrip(b"=")[:-1] not in stored
        assert b"binary/toy" in stored
        assert SECRET.encode()[::-1] not in stored
    rows = await beneath(env.client.store).read_events((await handle.describe()).run_id)
    closed = decode_history(rows)[-1].data
    assert isinstance(closed, WorkflowExecutionCompleted)
    assert closed.result.encoding == "binary/toy"
    assert closed.result.metadata["was"] == b"json/plain"
    completed = await event(handle, "Completed")
    assert completed.result == Payload(b'{"text":"canary-7f3a!","price":1e16}')


async def test_the_payloads_of_a_task_go_in_one_call_and_those_of_runs_at_the_same_time(
    plain: Env, store_url: str, codec: Toy
) -> None:
    @activity.defn(name="scn.codec.one")
    async def one(number: int) -> int:
        return number

    @workflow.defn(name="scn.codec.many")
    async def many(numbers: list[int]) -> int:
        return sum(await asyncio.gather(*(one(number) for number in numbers)))

    converter = DataConverter(payload_codec=codec)
    async with Client.connect(store_url, data_converter=converter) as client:
        async with plain.worker(many, one, client=client):
            await client.execute_workflow(many([1, 2, 3]))
        together = max(count for what, count in codec.calls if what == "encode")
        assert together >= 6  # three activities, scheduled and completed
        codec.delay = 0.1
        handles = [await client.start_workflow(many([1]), start_delay=0.001) for _ in range(1)]
        handles += await asyncio.gather(
            *(client.start_workflow(many([number]), start_delay=0.001) for number in range(30))
        )
        codec.most.clear()
        async with plain.worker(many, one, client=client):
            results = await asyncio.gather(*(handle.result(timeout=PATIENCE) for handle in handles))
        assert results == [1, *range(30)]
        assert codec.most["encode"] > 3, "the client only decodes, so these are calls of the runs"


@pytest.mark.parametrize("what", ["encode", "decode"])
async def test_a_codec_that_is_away_blocks_a_run_until_it_is_back(env: Env, codec: Toy, what: str) -> None:
    @workflow.defn(name="scn.codec.waits")
    async def waits(text: str) -> str:
        if workflow.info().attempt:
            await asyncio.sleep(0.01)
        return text + "!"

    handle = await env.start(waits(SECRET), start_delay=0.05)
    codec.away = lambda asked: asked == what
    async with env.worker(waits):
        reason = await held(handle)
        assert "Toy" in reason
        assert "KeyServiceAwayError: no keys" in reason
        assert await events_undecoded(env, handle) in (["Started"], ["Started", "TimerStarted", "TimerFired"])
        codec.away = lambda asked: False
        assert await handle.result(timeout=PATIENCE) == SECRET + "!"
    assert await events(handle) == ["Started", "TimerStarted", "TimerFired", "Completed"]


async def test_the_reason_of_a_blocked_run_does_not_tell_what_its_code_said(env: Env) -> None:
    @workflow.defn(name="scn.codec.faulty")
    async def faulty(text: str) -> str:
        raise RuntimeError(f"a bug with {text}")

    handle = await env.start(faulty(SECRET))
    async with env.worker(faulty):
        reason = await held(handle)
    assert reason.startswith("RuntimeError: (its message is in the worker's log) (")
    assert SECRET not in reason


async def events_undecoded(env: Env, handle: Any) -> list[str]:
    record = await env.client.store.find_run(handle.id)
    assert record is not None
    rows = await beneath(env.client.store).read_events(record.run_id)
    return [
        type(one.data).__name__.replace("WorkflowExecution", "").replace("ActivityTask", "Activity")
        for one in decode_history(rows)
    ]


async def test_what_an_activity_did_waits_for_the_codec_and_is_not_done_again(
    env: Env, codec: Toy, caplog: pytest.LogCaptureFixture
) -> None:
    """At most once: were the result thrown away with the run, its workflow would fail over a lost worker."""
    executions: list[int] = []

    @activity.defn(name="scn.codec.once", retry_policy=ONCE)
    async def once(text: str) -> str:
        executions.append(activity.info().attempt)
        codec.away = lambda asked: asked == "encode"
        return text

    @workflow.defn(name="scn.codec.effect")
    async def effect(text: str) -> str:
        return await once(text)

    async with env.worker(effect, once):
        with caplog.at_level(logging.ERROR, "durable.worker"):
            handle = await env.start(effect(SECRET))
            await until("it waits", lambda: "waits here, with what its activities have done" in caplog.text)
        codec.away = lambda asked: False
        assert await handle.result(timeout=PATIENCE) == SECRET
    assert executions == [1]
    assert SECRET not in caplog.text
    assert await events(handle) == ["Started", "ActivityScheduled", "ActivityCompleted", "Completed"]


async def test_others_go_on_while_one_workflows_key_is_away(
    plain: Env, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.5)

    class Keys(PayloadCodec, WithSerializationContext):
        """A key per workflow; that of `b` is away. What was made with one key is not read with another."""

        away = True

        def __init__(self, key: str = "") -> None:
            self.key = key

        def with_context(self, context: SerializationContext) -> Keys:
            assert isinstance(context, WorkflowSerializationContext)
            assert context.namespace == "default"
            return Keys(context.workflow_id)

        def check(self) -> None:
            if self.key.startswith("b") and Keys.away:
                raise KeyServiceAwayError(f"no key for {self.key}")

        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            self.check()
            return [
                Payload(one.data[::-1], "toy", {"key": self.key.encode(), "was": one.encoding.encode()})
                for one in payloads
            ]

        async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
            self.check()
            for payload in payloads:
                assert payload.metadata["key"].decode() == self.key
            return [Payload(one.data[::-1], one.metadata["was"].decode()) for one in payloads]

    @activity.defn(name="scn.codec.queued", eager=False, task_queue="scn.codec.other")
    async def queued(text: str) -> str:
        activity.heartbeat(text)
        return text

    @workflow.defn(name="scn.codec.keyed")
    async def keyed(text: str) -> str:
        return await queued(text) + await hear.receive()

    converter = DataConverter(payload_codec=Keys())
    async with Client.connect(store_url, data_converter=converter) as client:
        Keys.away = False
        started = await asyncio.gather(
            *(client.start_workflow(keyed(name), id=name, start_delay=0.05) for name in ("a1", "b1", "a2"))
        )
        for handle in started:
            await handle.signal(hear("?"))
        Keys.away = True
        with pytest.raises(PayloadCodecError, match="no key for b2"):
            await client.start_workflow(keyed("x"), id="b2")
        async with (
            plain.worker(keyed, client=client),
            plain.worker(queued, client=client, task_queue="scn.codec.other"),
        ):
            assert await started[0].result(timeout=PATIENCE) == "a1?"
            assert await started[2].result(timeout=PATIENCE) == "a2?"
            assert "no key for b1" in await held(started[1])
            Keys.away = False
            assert await started[1].result(timeout=PATIENCE) == "b1?"


async def test_an_activity_whose_input_cannot_be_decoded_is_given_back_and_not_failed(
    plain: Env, store_url: str, codec: Toy
) -> None:
    @activity.defn(name="scn.codec.elsewhere", task_queue="scn.codec.elsewhere", retry_policy=ONCE)
    async def elsewhere(text: str) -> str:
        return text

    @workflow.defn(name="scn.codec.asks")
    async def asks(text: str) -> str:
        return await elsewhere(text)

    blind = Toy()
    blind.away = lambda asked: asked == "decode"
    async with (
        Client.connect(store_url, data_converter=DataConverter(payload_codec=codec)) as client,
        Client.connect(store_url, data_converter=DataConverter(payload_codec=blind)) as other,
    ):
        handle = await client.start_workflow(asks(SECRET))

        async def given_back() -> bool:
            rows = await client.store.read_activities(handle.result_run_id or "")
            return any(row.attempt > 1 for row in rows)

        async with (
            plain.worker(asks, client=client),
            plain.worker(elsewhere, client=other, task_queue="scn.codec.elsewhere"),
        ):
            await until("it was claimed and given back", given_back)
        async with (
            plain.worker(asks, client=client),
            plain.worker(elsewhere, client=client, task_queue="scn.codec.elsewhere"),
        ):
            assert await handle.result(timeout=PATIENCE) == SECRET


async def test_a_database_from_before_the_codec_is_read_on(plain: Env, store_url: str, codec: Toy) -> None:
    @workflow.defn(name="scn.codec.older")
    async def older(text: str) -> str:
        return text + await hear.receive()

    handle = await plain.client.start_workflow(older("a"), id="older")
    async with Client.connect(store_url, data_converter=DataConverter(payload_codec=codec)) as client:
        same = client.get_workflow_handle("older", result_type=str)
        await same.signal(hear("b"))
        async with plain.worker(older, client=client):
            assert await same.result(timeout=PATIENCE) == "ab"
    told = await handle.describe()
    assert told.status.name == "COMPLETED"


async def test_describing_needs_no_codec_and_results_say_that_they_do(
    plain: Env, store_url: str, codec: Toy
) -> None:
    @workflow.defn(name="scn.codec.described")
    async def described(text: str) -> str:
        return text

    async with Client.connect(store_url, data_converter=DataConverter(payload_codec=codec)) as client:
        async with plain.worker(described, client=client):
            handle = await client.start_workflow(described(SECRET), memo={"a": SECRET})
            await handle.result()
        codec.away = lambda asked: True
        assert await (await handle.describe()).memo() == {
            "a": "<17 bytes of binary/toy that cannot be read here>"
        }
        with pytest.raises(PayloadCodecError, match="could not decode 1 payloads of run"):
            await handle.result()


async def test_children_are_started_and_heard_of_through_the_codec(env: Env) -> None:
    @workflow.defn(name="scn.codec.child")
    async def child(text: str) -> str:
        said = await hear.receive()
        if said == "fail":
            raise ApplicationError(f"failed {text}", text, type="Asked")
        return text + said

    @workflow.defn(name="scn.codec.parent")
    async def parent(text: str) -> list[str]:
        first = await workflow.start_child_workflow(child(text), id="codec-first")
        second = await workflow.start_child_workflow(child(text), id="codec-second")
        await first.signal(hear("!"))
        await workflow.get_external_workflow_handle("codec-second").signal(hear("fail"))
        found = [await first]
        try:
            await second
        except ChildWorkflowError as error:
            cause: Any = error.cause
            found += [cause.message, *cause.details]
        return found

    async with env.worker(parent, child):
        handle = await env.start(parent(SECRET))
        assert await handle.result(timeout=PATIENCE) == [f"{SECRET}!", f"failed {SECRET}", SECRET]
    for workflow_id in (handle.id, "codec-first", "codec-second"):
        record = await env.client.store.find_run(workflow_id)
        assert record is not None
        assert SECRET.encode() not in await as_stored(env.client.store, record.run_id)


@workflow.defn(name="scn.codec.found")
async def found_by_region(region: str) -> str:
    workflow.upsert_search_attributes([REGION.value_set(region)])
    workflow.upsert_memo({"later": SECRET})
    return await hear.receive()


REGION = SearchAttributeKey.for_keyword("Region")


async def test_search_attributes_stay_readable_and_the_memo_of_a_list_does_not(env: Env, codec: Toy) -> None:
    start = TypedSearchAttributes([SearchAttributePair(REGION, "EU")])
    async with env.worker(found_by_region):
        handle = await env.start(
            found_by_region("US"), id="f", memo={"note": SECRET}, search_attributes=start
        )
        await reached(handle, "Started", "UpsertWorkflowSearchAttributes", "WorkflowPropertiesModified")
        (found,) = [run async for run in env.client.list_workflows("Region = 'US'")]
        assert await found.memo() == {"note": SECRET, "later": SECRET}
        assert found.typed_search_attributes[REGION] == "US"
        bare = beneath(env.client.store)
        types = {"Region": REGION.indexed_value_type}
        (stored,), _ = await bare.list_runs(check_list(parse("Region = 'US'"), types), 10)
        assert b'"Region"' in stored.info
        for plain in (SECRET, base64.b64encode(f'"{SECRET}"'.encode()).decode()):
            assert plain.encode() not in stored.info
        codec.away = lambda asked: True
        (found,) = [run async for run in env.client.list_workflows("Region = 'US'")]
        assert "cannot be read here" in (await found.memo())["note"]
        codec.away = lambda asked: False
        await handle.signal(hear("done"))
        assert await handle.result(timeout=PATIENCE) == "done"
