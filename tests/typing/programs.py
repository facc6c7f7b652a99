# pyright: strict
"""Programs as users write them. Checkers read this file; nothing runs it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

from durable import (
    Activity,
    ApplicationError,
    Client,
    Query,
    RetryPolicy,
    Signal,
    Update,
    Worker,
    Workflow,
    WorkflowIDConflictPolicy,
    activity,
    workflow,
)
from durable.client import (
    ActivityHandle,
    ActivityStart,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
)
from durable.common import QueryRejectCondition
from durable.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    Payload,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    value_to_type,
)


@dataclass
class Doc:
    id: str


@dataclass
class Decision:
    ok: bool
    by: str


@dataclass
class Trip:
    who: str
    cents: int


@dataclass
class Booking:
    id: str


@dataclass
class Thumb:
    url: str


@dataclass
class Customer:
    id: str


@dataclass
class ToolCall:
    name: str


@dataclass
class Reply:
    text: str
    calls: list[ToolCall]


# ---- 1: retries


@activity.defn(retry_policy=RetryPolicy(maximum_attempts=5))
async def greet(greeting: str, name: str) -> str:
    return f"{greeting}, {name}!"


@workflow.defn
async def hello(name: str) -> str:
    return await greet("Hello", name)


async def main() -> None:
    async with Client.connect("sqlite:///app.db") as client, Worker(client):
        assert_type(await client.execute_workflow(hello("Ada"), id="hello-1"), str)


# ---- 2: a person decides, or three days pass


@activity.defn
async def ask_approver(doc: Doc) -> None: ...


decide = Signal("decide", Decision)


@Query
def stage() -> str: ...


@workflow.defn
async def publish(doc: Doc) -> str:
    workflow.set_handler(stage, lambda: "waiting")
    assert_type(workflow.memo_value("tier", type_hint=str), str)
    assert_type(workflow.memo_value("tier", None, type_hint=str), str | None)
    assert_type(workflow.cancellation_reason(), str | None)
    assert_type(workflow.uuid7(), UUID)
    await ask_approver(doc)
    try:
        decision = await decide.receive(timeout=timedelta(days=3))
    except TimeoutError:
        return "expired"
    assert_type(decision, Decision)
    return "approved" if decision.ok else "rejected"


async def approve(client: Client) -> None:
    handle = client.get_workflow_handle_for(publish, "doc-7")
    assert_type(handle, WorkflowHandle[None, str])
    await handle.signal(decide(Decision(True, "ada")))
    answer: str = await handle.query(stage())
    assert answer


@workflow.defn(task_queue="docs", run_timeout=timedelta(days=4))
class Publish:
    def __init__(self) -> None:
        self.decision: Decision | None = None

    @workflow.run
    async def run(self, doc: Doc, pages: int = 1) -> str:
        await ask_approver(doc)
        await workflow.wait_condition(lambda: self.decision is not None, timeout=timedelta(days=3))
        return self.status()

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        self.decision = decision

    @workflow.signal(name="take-back")
    async def take_back(self) -> None:
        self.decision = None

    @workflow.query
    def status(self) -> str:
        return "approved" if self.decision and self.decision.ok else "rejected"

    @workflow.update
    async def rename(self, new: str) -> int:
        return len(new)

    @rename.validator
    def check(self, new: str) -> None: ...


async def approve_class(client: Client) -> None:
    handle = await client.start_workflow(Publish.run(Doc("7"), pages=3), id="doc-7")
    assert_type(handle, WorkflowHandle[Publish, str])
    assert_type(await handle.result(), str)
    await handle.signal(Publish.decide(Decision(True, "ada")))
    await handle.signal(Publish.take_back())
    await handle.signal(Publish.decide, Decision(True, "ada"))
    await handle.signal("decide", Decision(True, "ada"))
    assert_type(await handle.query(Publish.status()), str)
    assert_type(await handle.query(Publish.status(), rpc_timeout=timedelta(seconds=1)), str)
    assert_type(await handle.query(Publish.status, reject_condition=QueryRejectCondition.NOT_OPEN), str)
    assert_type(Publish.rename("x"), workflow.UpdateCall[Publish, int])
    assert_type(await handle.execute_update(Publish.rename("x")), int)
    assert_type(await handle.execute_update(Publish.rename, "x", id="u-1"), int)
    started = await handle.start_update(Publish.rename("x"), wait_for_stage=WorkflowUpdateStage.ACCEPTED)
    assert_type(started, WorkflowUpdateHandle[int])
    assert_type(await started.result(), int)
    assert_type(handle.get_update_handle_for(Publish.rename, "u-1"), WorkflowUpdateHandle[int])
    operation = WithStartWorkflowOperation(
        Publish.run(Doc("7"), pages=3), id="doc-7", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    assert_type(operation, WithStartWorkflowOperation[Publish, str])
    assert_type(
        await client.execute_update_with_start_workflow(
            Publish.rename("x"), start_workflow_operation=operation
        ),
        int,
    )
    assert_type(await (await operation.workflow_handle()).result(), str)
    await client.start_workflow(
        Publish.run(Doc("7"), pages=3), id="doc-7", start_signal=Publish.decide(Decision(True, "ada"))
    )


@Update
def set_price(cents: int) -> str: ...


@workflow.defn
async def priced() -> int:
    price = 0

    async def handle(cents: int) -> str:
        nonlocal price
        price = cents
        found = workflow.current_update_info()
        return "" if found is None else found.id

    def positive(cents: int) -> None:
        if cents <= 0:
            raise ApplicationError("not a price")

    workflow.set_handler(set_price, handle, validator=positive)
    await workflow.wait_condition(workflow.all_handlers_finished)
    return price


async def price(client: Client) -> None:
    handle = client.get_workflow_handle_for(priced, "p")
    assert_type(await handle.execute_update(set_price(3)), str)
    assert_type(await handle.execute_update(set_price, 3), str)
    assert_type(handle.get_update_handle_for(set_price, "u"), WorkflowUpdateHandle[str])
    assert_type(await client.start_workflow(Publish.run, Doc("7"), id="p"), WorkflowHandle[Publish, str])
    assert_type(await client.start_workflow(Publish.run, Doc("7"), 2, id="p"), WorkflowHandle[Publish, str])
    assert_type(await client.start_workflow(hello, "Ada", id="p"), WorkflowHandle[None, str])
    assert_type(client.get_workflow_handle_for(Publish.run, "p"), WorkflowHandle[Publish, str])


# ---- 3: fan out, ten at a time


@activity.defn
def resize(url: str) -> Thumb: ...


@workflow.defn
async def gallery(urls: list[str]) -> list[Thumb]:
    return await workflow.map(resize, urls, concurrency=10)


# ---- 4: saga


@activity.defn
async def book_flight(trip: Trip) -> Booking: ...
@activity.defn
async def cancel_flight(booking: Booking) -> None: ...
@activity.defn
async def book_hotel(trip: Trip) -> Booking: ...
@activity.defn
async def cancel_hotel(booking: Booking) -> None: ...
@activity.defn(start_to_close_timeout=10)
async def charge(trip: Trip, cents: int = 0) -> str: ...


async def alone(client: Client, trip: Trip) -> None:
    assert_type(await client.start_activity(charge, trip, 5, id="a"), ActivityHandle[str])
    handle = assert_type(
        await client.start_activity(charge(trip), id="a", start_delay=5), ActivityHandle[str]
    )
    assert_type(await handle.result(), str)
    assert_type(await client.execute_activity(resize, "x", id="a"), Thumb)
    assert_type(await client.execute_activity(charge, args=[trip, 5], id="a"), str)
    assert_type(await client.execute_activity("charge", trip, id="a", result_type=str), str)
    starts = [ActivityStart(charge, trip, id="a"), ActivityStart("resize", id="b")]
    assert_type(await client.start_activities(starts), list[ActivityHandle[Any]])


@workflow.defn
async def book_trip(trip: Trip) -> str:
    async with workflow.saga() as saga:
        flight = await book_flight(trip)
        saga.compensate(cancel_flight, flight)
        hotel = await book_hotel(trip)
        saga.compensate(cancel_hotel(hotel))
        return await charge(trip)


# ---- 5: subscription (it continues as new once that is there)

cancel = Signal("cancel", str)


@activity.defn(schedule_to_close_timeout=timedelta(days=3), retry_policy=RetryPolicy(maximum_interval=3600))
async def bill(customer: Customer) -> str: ...


@workflow.defn
async def subscription(customer: Customer) -> str:
    for _ in range(12):
        await bill(customer)
        try:
            return await cancel.receive(timeout=timedelta(days=30))
        except TimeoutError:
            pass
    if customer.id == "temporal":
        workflow.continue_as_new(customer, workflow=subscription, task_queue="next")
    if customer.id == "call":
        workflow.continue_as_new(subscription(customer), run_timeout=timedelta(days=400))
    if customer.id == "several":
        workflow.continue_as_new(args=[customer], workflow="subscription", retry_policy=RetryPolicy())
    assert_type(workflow.info().is_continue_as_new_suggested(), bool)
    workflow.continue_as_new(customer)


# ---- 6: agent loop with tools


@activity.defn
async def call_llm(messages: list[str]) -> Reply: ...
@activity.defn
async def run_tool(call: ToolCall) -> str: ...


@workflow.defn
async def agent(prompt: str) -> str:
    messages = [prompt]
    for _ in range(20):
        reply = await call_llm(messages)
        messages.append(reply.text)
        if not reply.calls:
            return reply.text
        messages += await asyncio.gather(*[run_tool(call) for call in reply.calls])
    raise ApplicationError("too many turns")


# ---- what is inferred


class Inventory:
    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    @activity.defn
    async def reserve(self, sku: str, n: int) -> str: ...

    @activity.method(heartbeat_timeout=5)
    def release(self, sku: str) -> bool: ...


maybe = Signal[int | None]("maybe")
go = Signal[None]("go")


@workflow.defn(name="everything", failure_exception_types=[KeyError])
async def everything(trip: Trip, note: str = "") -> str:
    call = assert_type(charge(trip), activity.ActivityCall[str])
    assert_type(await charge.options(task_queue="gpu")(trip, cents=5), str)
    started = assert_type(charge.start(trip), asyncio.Future[str])
    await asyncio.gather(call, started)
    assert_type(await resize("x"), Thumb)
    assert_type(await asyncio.gather(charge(trip), resize("a")), tuple[str, Thumb])
    assert_type(await Inventory.reserve("sku", 3), str)
    assert_type(await Inventory.release("sku"), bool)
    assert_type(await workflow.map(resize, ["a"], return_exceptions=True), list[Thumb | BaseException])
    assert_type(await workflow.execute_activity(charge, trip, 5, start_to_close_timeout=1), str)
    assert_type(await workflow.execute_activity(charge, trip), str)
    assert_type(await workflow.execute_activity(charge(trip), task_queue="q"), str)
    assert_type(await workflow.execute_activity(charge, args=[trip, 5]), str)
    assert_type(await workflow.execute_activity("charge", trip, result_type=str), str)
    assert_type(await workflow.execute_activity_method(Inventory.reserve, "sku", 3), str)
    scheduled = assert_type(workflow.start_activity(charge, trip), asyncio.Future[str])
    await scheduled
    handle: workflow.ActivityHandle[str] = workflow.start_activity(charge, trip)
    assert_type(await handle, str)
    assert_type(await maybe.receive(), int | None)
    async for value in maybe:
        assert_type(value, int | None)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(charge(trip))
    assert_type(task.result(), str)
    done, pending = await workflow.wait([charge(trip)])
    assert_type(done, list[asyncio.Future[str]])
    assert_type(pending, list[asyncio.Future[str]])
    for result in workflow.as_completed([charge(trip)]):
        assert_type(await result, str)
    workflow.set_handler(maybe, lambda number: None)
    workflow.set_handler(go, lambda: None)
    return note


@workflow.defn
async def parent(trip: Trip) -> str:
    assert_type(await everything(trip, note="n"), str)
    assert_type(
        await everything.options(id="e", parent_close_policy=workflow.ParentClosePolicy.ABANDON)(trip), str
    )
    child = assert_type(await everything.start(trip), workflow.ChildWorkflowHandle[None, str])
    await child.signal(go())
    assert_type(await child, str)
    assert_type(await workflow.execute_child_workflow(everything, trip, "n", id="e"), str)
    assert_type(await workflow.execute_child_workflow(everything(trip), memo={"a": 1}), str)
    assert_type(await workflow.execute_child_workflow(everything, args=[trip]), str)
    assert_type(await workflow.execute_child_workflow("everything", trip, result_type=str), str)
    publishing = assert_type(
        await workflow.start_child_workflow(Publish.run, Doc("7"), 3, run_timeout=5),
        workflow.ChildWorkflowHandle[Publish, str],
    )
    await publishing.signal(Publish.decide(Decision(True, "ada")))
    await publishing.signal(Publish.decide, Decision(True, "ada"))
    assert_type(await asyncio.gather(publishing, everything(trip)), tuple[str, str])
    named = assert_type(
        await workflow.start_child_workflow("everything", trip, result_type=str),
        workflow.ChildWorkflowHandle[Any, str],
    )
    assert_type(await named, str)
    external = assert_type(
        workflow.get_external_workflow_handle_for(Publish.run, "p"), workflow.ExternalWorkflowHandle[Publish]
    )
    await external.signal(Publish.decide(Decision(True, "ada")))
    await workflow.get_external_workflow_handle("p", run_id="r").signal("decide", Decision(True, "ada"))
    assert_type(await external.cancel("enough"), None)
    info = workflow.info()
    return (info.parent.workflow_id if info.parent else "") + (info.root.run_id if info.root else "")


assert_type(go(), workflow.SignalCall[Any])


def any_activity(some: Activity[..., Any]) -> Workflow[Any, ..., Any]:
    workflows: list[Workflow[Any, ..., Any]] = [everything, Publish.run]
    return workflows[len(some.name) % 2]


# ---- values: converters and codecs of one's own


class Upside(PayloadCodec, WithSerializationContext):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(payload.data[::-1], "upside-down", payload.metadata) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(payload.data[::-1], metadata=payload.metadata) for payload in payloads]

    def with_context(self, context: SerializationContext) -> Upside:
        return self


class Trips(EncodingPayloadConverter):
    @property
    def encoding(self) -> str:
        return "text/trip"

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(value.who.encode(), self.encoding) if isinstance(value, Trip) else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Trip:
        return Trip(payload.data.decode(), 0)


class TripsConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Trips(), *DefaultPayloadConverter.default_encoding_payload_converters)


async def converted() -> None:
    converter = DataConverter(
        payload_converter_class=TripsConverter,
        payload_codec=Upside(),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    replaced = assert_type(dataclasses.replace(DataConverter.default, payload_codec=Upside()), DataConverter)
    assert_type(replaced.payload_codec, PayloadCodec | None)
    assert_type(await converter.encode([Trip("ada", 1)]), list[Payload])
    assert_type(value_to_type(Trip, {"who": "ada", "cents": 1}), Trip)
    async with Client.connect("sqlite:///app.db", data_converter=converter) as client, Worker(client):
        assert_type(client.data_converter, DataConverter)
