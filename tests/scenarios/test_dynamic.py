"""Dynamic handlers that take the arguments of a message as they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from durable import activity, workflow
from durable.common import RawValue
from durable.converter import default
from durable.exceptions import ConversionError
from tests.scenarios.rig import PATIENCE, Env, event


@dataclass
class Point:
    x: int
    y: int


def read(raw: RawValue, kind: Any) -> Any:
    return workflow.payload_converter().from_payload(raw.payload, kind)


@workflow.defn(name="dyn.raw")
class Raw:
    def __init__(self) -> None:
        self.points: list[Any] = []

    @workflow.run
    async def run(self, wanted: int) -> list[Any]:
        await workflow.wait_condition(lambda: len(self.points) >= wanted)
        return self.points

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.points.append([name, *[read(one, Point).x for one in args]])

    @workflow.query(dynamic=True)
    def on_query(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return [name, *[read(one, Point).y for one in args]]

    @workflow.update(dynamic=True)
    async def on_update(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        self.points.append(name)
        return [name, *[read(one, Point).x + read(one, Point).y for one in args]]

    @on_update.validator
    def check(self, name: str, args: Sequence[RawValue]) -> None:
        assert all(isinstance(one, RawValue) for one in args)


async def test_raw_arguments_of_every_kind_of_message(env: Env) -> None:
    async with env.worker(Raw):
        handle = await env.start(Raw.run(2))
        await handle.signal("moved", args=[Point(1, 2), Point(3, 4)])
        assert await handle.query("where", args=[Point(5, 6)]) == ["where", 6]
        assert await handle.query("nothing") == ["nothing"]
        assert await handle.execute_update("sum", args=[Point(7, 8), Point(1, 1)]) == ["sum", 15, 2]
        assert await handle.result(timeout=PATIENCE) == [["moved", 1, 3], "sum"]


@workflow.defn(name="dyn.set_late")
async def set_late() -> list[Any]:
    got: list[Any] = []

    def on_any(name: str, args: Sequence[RawValue]) -> None:
        got.append([name, type(args[0]).__name__])

    workflow.set_dynamic_signal_handler(on_any)
    await workflow.wait_condition(lambda: bool(got))
    return got


async def test_a_handler_that_is_set_takes_raw_values_too(env: Env) -> None:
    handle = await env.start(set_late())
    await handle.signal("early", Point(1, 2))
    async with env.worker(set_late):
        assert await handle.result(timeout=PATIENCE) == [["early", "RawValue"]]


@activity.defn(name="dyn.echo")
async def echo(point: Point) -> int:
    return point.x


@workflow.defn(name="dyn.forwards")
class Forwards:
    @workflow.run
    async def run(self) -> Any:
        self.done: Any = None
        await workflow.wait_condition(lambda: self.done is not None)
        return self.done

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.done = await workflow.execute_activity(name, args=list(args))


async def test_a_raw_value_is_passed_on_as_it_is(env: Env) -> None:
    async with env.worker(Forwards, echo):
        handle = await env.start(Forwards.run())
        await handle.signal("dyn.echo", Point(9, 1))
        assert await handle.result(timeout=PATIENCE) == 9
    signalled = await event(handle, "Signaled")
    assert (await event(handle, "ActivityScheduled")).input == signalled.input


def test_what_a_raw_value_holds_is_a_payload() -> None:
    converter = default().payload_converter
    payload = converter.to_payload(Point(1, 2))
    assert converter.to_payload(RawValue(payload)) is payload
    assert converter.from_payloads([payload], [RawValue]) == [RawValue(payload)]
    assert converter.from_payload(payload, RawValue) == RawValue(payload)
    with pytest.raises(ConversionError, match="a RawValue holds a Payload"):
        converter.to_payload(RawValue(b"{}"))
