"""B15: every parameter of every public method of clients and handles, given values of all wrong kinds.

Each call must be taken, or be refused at once by a `TypeError`, a `ValueError` or an error of this library whose text is short.
Nothing else may come out: no error of a driver, no `AttributeError` from within, nothing that takes the whole value into a text.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal, NewType, TypeVar

import pytest

from durable import Client, activity, workflow
from durable.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec, WorkflowUpdateStage
from durable.client._activity_starts import ActivityStartOptions
from durable.client._start_options import StartOptions, TemporalStartOptions
from durable.common import SearchAttributeKey
from durable.exceptions import DurableError


@workflow.defn(name="inputs.waits")
class Waits:
    @workflow.run
    async def run(self, value: Any = None) -> Any:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def told(self, value: Any = None) -> None: ...

    @workflow.update
    def asked(self, value: Any = None) -> Any: ...


@activity.defn(name="inputs.does")
async def does(value: Any = None) -> Any:
    return value


class Hostile:
    """A value that answers nothing."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no equality")


WRONG: dict[str, Any] = {
    "empty": "",
    "long": "x" * 300,
    "a megabyte": "x" * 1_000_000,
    "nul": "a\0b",
    "line": "a\nb",
    "surrogate": "\ud800",
    "number": 7,
    "negative": -1,
    "huge": 10**400,
    "float": 1.5,
    "nan": math.nan,
    "infinite": math.inf,
    "bool": True,
    "bytes": b"x",
    "empty list": [],
    "list": ["a"],
    "dict": {},
    "object": object(),
    "hostile": Hostile(),
    "function": lambda: 1,
    "class": int,
    "longest": timedelta.max,
    "naive": datetime(2020, 1, 1),  # noqa: DTZ001
    "none": None,
}
ESCAPES = "\x1b[31m"
LIMIT = 0.05
"""Seconds after which a call that was taken, and waits for something, is left."""

LONGEST_TEXT = 900

Call = Callable[..., Any]


async def outcome(call: Callable[[], Any]) -> str:
    """How a call ends: "" if it was taken or refused as it should be, else what was wrong about it."""
    try:
        async with asyncio.timeout(LIMIT):
            answer = call()
            if inspect.isawaitable(answer):
                answer = await answer
            if isinstance(answer, AsyncIterator):
                async for _ in answer:
                    break
    except (TypeError, ValueError, DurableError) as error:
        ours = isinstance(error, DurableError) or type(error) in (TypeError, ValueError)
        text = str(error)
        if not ours or "hostile" in type(error).__name__:
            return f"{type(error).__name__}: {text[:100]}"
        if len(text) > LONGEST_TEXT:
            return f"a text of {len(text)} characters: {text[:100]}"
        if "\x1b" in text:
            return f"an escape sequence in {text[:100]!r}"
    except TimeoutError:
        pass  # taken; or the builtin one of `result(timeout=)`
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def doors(owner: Any, *without: str) -> Iterator[tuple[str, Call, inspect.Signature]]:
    for name in dir(type(owner)):
        method = getattr(owner, name)
        if not name.startswith("_") and callable(method) and name not in without:
            yield f"{type(owner).__name__}.{name}", method, inspect.signature(method)


def right(client: Client) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Calls that are in order but for the one value that is exchanged."""
    schedule = Schedule(action=ScheduleActionStartWorkflow("inputs.waits", id="x"), spec=ScheduleSpec())
    return {
        "Client.start_workflow": (("inputs.waits",), {}),
        "Client.start_activity": (
            ("inputs.does",),
            {"id": "a", "start_to_close_timeout": 5, "task_queue": "q"},
        ),
        "Client.correlated": ((SearchAttributeKey.for_keyword("Key"), "value"), {}),
        "Client.create_schedule": (("another", schedule), {}),
        "Client.get_workflow_handle": (("it",), {}),
        "Client.get_workflow_handle_for": ((Waits, "it"), {}),
        "Client.get_schedule_handle": (("it",), {}),
        "Client.get_activity_handle": (("it",), {}),
        "Client.get_worker_deployment": (("it",), {}),
        "Client.describe_circuit_breaker": (("key",), {}),
        "Client.describe_concurrency": (("key",), {}),
        "Client.set_circuit_breaker": (("key", None), {}),
        "Client.set_concurrency_limit": (("key", 3), {}),
        "Client.set_task_queue_rate": (("queue", 3), {}),
        "Client.task_queue_rate": (("queue",), {}),
        "Client.start_activities": (([],), {}),
        "Client.get_async_activity_handle": ((), {"workflow_id": "w", "activity_id": "a"}),
        **{
            f"Client.{one}_workflows": (("WorkflowId = 'nobody'",), {"dry_run": True})
            for one in ("cancel", "terminate", "delete", "pause", "unpause", "unblock")
        },
        "Client.signal_workflows": (("WorkflowId = 'nobody'", "told"), {"dry_run": True}),
        "Client.reset_workflows": (("WorkflowId = 'nobody'",), {"to": "first_task", "dry_run": True}),
        "WorkflowHandle.signal": (("told",), {}),
        "WorkflowHandle.query": (("answer",), {"rpc_timeout": 0.01}),
        "WorkflowHandle.execute_update": (("asked",), {"rpc_timeout": 0.01}),
        "WorkflowHandle.start_update": (("asked",), {"wait_for_stage": WorkflowUpdateStage.ADMITTED}),
        "WorkflowHandle.get_update_handle": (("u",), {}),
        "WorkflowHandle.get_update_handle_for": ((Waits.asked, "x"), {}),
        "WorkflowHandle.result": ((), {"timeout": 0.001}),
        "WorkflowHandle.update_options": ((), {"versioning_override": None}),
        "WorkflowHandle.reset": ((), {"to": "first_task"}),
        "ActivityHandle.result": ((), {"timeout": 0.001}),
        "ScheduleHandle.update": ((lambda told: None,), {}),
        "CorrelatedWorkflows.signal": (("told",), {}),
        "AsyncActivityHandle.fail": ((ValueError("x"),), {}),
        **{
            f"WorkflowHandle.{one}": ((), {"id": "1"})
            for one in ("pause_activity", "unpause_activity", "reset_activity", "update_activity_options")
        },
    }


NOT_CALLED = (
    *("aclose", "connect"),
    *(
        "execute_workflow",
        "execute_activity",
        "execute_activity_method",
        "start_activity_method",
    ),  # as start_...
    *("start_update_with_start_workflow", "execute_update_with_start_workflow"),
)
OPTIONS = {
    "Client.start_workflow": [*StartOptions.__annotations__, *TemporalStartOptions.__annotations__],
    "Client.start_activity": [*ActivityStartOptions.__annotations__],
}
AGAIN = ("terminate", "delete", "cancel")
"""What ends the object is asked last, so that the others meet one that is open."""


Called = Callable[[Any, str], Any]
"""Calls a method with a value of one parameter; the string names what a start of it is to be called."""


async def every_parameter(client: Client) -> AsyncIterator[tuple[str, str, Called]]:
    """Yield each parameter of each public method of a client and of its handles, with the method's name."""
    schedule = Schedule(action=ScheduleActionStartWorkflow("inputs.waits", id="x"), spec=ScheduleSpec())
    owners: list[Any] = [
        client,
        await client.start_workflow(Waits.run(), id="it"),
        await client.create_schedule("it", schedule),
        await client.start_activity(does(), id="act", start_to_close_timeout=5),
        client.get_async_activity_handle(workflow_id="it", activity_id="1"),
        client.correlated(SearchAttributeKey.for_keyword("Key"), "value"),
    ]
    known = right(client)
    found = [door for owner in owners for door in doors(owner, *NOT_CALLED)]
    found.sort(key=lambda door: door[0].rpartition(".")[2] in AGAIN)
    for name, method, signature in found:
        args, options = known.get(name, ((), {}))
        kinds = signature.parameters.values()
        plain = [one for one in kinds if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
        wanted: list[tuple[str, int | None]] = [
            (one.name, place if place < len(args) else None)
            for place, one in enumerate(plain)
            if place < len(args) or one.kind is not one.POSITIONAL_ONLY
        ]
        wanted += [(option, None) for option in dict.fromkeys(OPTIONS.get(name, ()))]
        for parameter, place in wanted:
            yield name, parameter, _call(name, method, args, options, parameter, place)


def _call(
    name: str, method: Callable[..., Any], args: Any, options: Any, parameter: str, place: int | None
) -> Called:
    def call(value: Any, id: str) -> Any:
        given, named = list(args), dict(options)
        if place is not None:
            given[place] = value
        else:
            if name in OPTIONS and parameter != "id":
                named["id"] = id
            named[parameter] = value
        return method(*given, **named)

    return call


async def test_b15_every_option_of_every_method_refuses_what_it_cannot_take() -> None:
    faults: list[str] = []
    calls = 0
    async with Client.connect("sqlite://:memory:") as client:
        async for name, parameter, call in every_parameter(client):
            for label, value in WRONG.items():
                calls += 1
                if fault := await outcome(partial(call, value, f"{parameter} {label}")):
                    faults.append(f"{name}({parameter}=<{label}>): {fault}")
    assert calls > 2000
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "wrong",
    ["Order", 5, [int], {}, object(), lambda: 1],
    ids=["text", "number", "list", "dict", "object", "function"],
)
async def test_b15_what_is_no_type_is_refused_where_it_is_said(wrong: Any) -> None:
    async with Client.connect("sqlite://:memory:") as client:
        handle = await client.start_workflow(Waits.run(), id="it")
        calls: dict[str, Callable[[], Any]] = {
            "start": lambda: client.start_workflow("inputs.waits", id="x", result_type=wrong),
            "start activity": lambda: client.start_activity("a", id="x", task_queue="q", result_type=wrong),
            "handle": lambda: client.get_workflow_handle("it", result_type=wrong),
            "activity handle": lambda: client.get_activity_handle("it", result_type=wrong),
            "query": lambda: handle.query("q", result_type=wrong),
            "update": lambda: handle.execute_update("u", result_type=wrong),
            "started update": lambda: handle.start_update(
                "u", wait_for_stage=WorkflowUpdateStage.ADMITTED, result_type=wrong
            ),
            "update handle": lambda: handle.get_update_handle("u", result_type=wrong),
        }
        for name, call in calls.items():
            with pytest.raises(TypeError, match="result_type must be a type, not"):
                print(name, await call())
        assert [run.id async for run in client.list_workflows()] == ["it"]
        for right_one in (
            None,
            Any,
            int,
            list[int],
            int | str,
            TypeVar("T"),
            NewType("N", int),
            Literal["a"],
        ):
            client.get_workflow_handle("it", result_type=right_one)


async def test_b15_a_batch_comes_to_its_end() -> None:
    async with Client.connect("sqlite://:memory:") as client:
        for wrong in (1e-300, 0, -1, math.inf, math.nan, 0.0009):
            with pytest.raises(ValueError, match=r"per_second must be at least 0\.001, not"):
                await client.cancel_workflows("WorkflowId = 'nobody'", per_second=wrong)
        assert (await client.cancel_workflows("WorkflowId = 'nobody'", per_second=0.001)).total == 0


@pytest.mark.parametrize("value", ["no", 0, 1, None, [], Hostile()], ids=lambda value: type(value).__name__)
async def test_b15_switches_are_true_or_false_and_nothing_else(value: Any) -> None:
    """A text from a configuration file, "no" or "false", is true in Python; nothing may be destroyed over that."""
    async with Client.connect("sqlite://:memory:") as client:
        handle = await client.start_workflow(Waits.run(), id="it")
        act = await client.start_activity(does(), id="act", start_to_close_timeout=5)
        calls: dict[str, Callable[[], Any]] = {
            "dry_run": lambda: client.terminate_workflows("WorkflowId = 'it'", dry_run=value),
            "follow_runs": lambda: handle.result(follow_runs=value, timeout=0.01),
            "exclude_signals": lambda: handle.reset(to="first_task", exclude_signals=value),
            "exclude_updates": lambda: handle.reset(to="first_task", exclude_updates=value),
            "reset_attempts": lambda: act.unpause(reset_attempts=value),
            "reset_heartbeats": lambda: act.unpause(reset_heartbeats=value),
            "keep_paused": lambda: act.reset(keep_paused=value),
            "restore_original_options": lambda: act.reset(restore_original_options=value),
            "restore_original": lambda: act.update_options(restore_original=value),
            "trigger_immediately": lambda: client.create_schedule(
                "it",
                Schedule(action=ScheduleActionStartWorkflow("inputs.waits", id="x"), spec=ScheduleSpec()),
                trigger_immediately=value,
            ),
        }
        for name, call in calls.items():
            with pytest.raises(TypeError, match=f"{name} must be True or False"):
                await call()
        assert (await handle.describe()).status is not None
        assert not [one async for one in client.operator_log()]
