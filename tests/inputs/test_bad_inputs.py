"""The catalogue of bad inputs, B1 to B14: through starts, messages, activities, results and failures, on both databases."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from durable import ActivityError, ApplicationError, RetryPolicy, WorkflowFailureError, activity, workflow
from durable._internal.backoff import exponential
from durable.exceptions import ConversionError, DurableError, PayloadTooLargeError, RegistrationError
from tests.scenarios.rig import Env, held

ODD_TEXT = "a\x00b\x1b[31m\r\n\u202e\U0001f600\ufffe\x85"
SURROGATE = "a\ud800b"
ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn(name="inputs.returns")
async def returns(what: str) -> Any:
    return made(what)


@activity.defn(name="inputs.raises")
async def raises(what: str) -> None:
    raise errors(what)


@activity.defn(name="inputs.beats")
async def beats(what: str) -> str:
    activity.heartbeat(made(what))
    return "ended"


class Custom(Exception):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} {second}")


class Dumb(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Unreadable:
    def __reduce__(self) -> Any:
        return (eval, ("1/0",))


def made(what: str) -> Any:
    deep: Any = []
    for _ in range(1500):
        deep = [deep]
    cycle: list[Any] = []
    cycle.append(cycle)
    closed = asyncio.sleep(0)
    closed.close()  # so that none of them warns in whatever test the collector finds it
    values: dict[str, Any] = {
        "odd text": ODD_TEXT,
        "surrogate": SURROGATE,
        "nan": [1.0, {"x": math.nan}],
        "infinite": -math.inf,
        "digits": 10**5000,
        "deep": deep,
        "large": "x" * (2 * 1024 * 1024 + 1),
        "cycle": cycle,
        "function": print,
        "object": Unreadable(),
        "keys": {1: "a", "1": "b"},
        "numbers": [1e16, -0.0, 2**63, 2**64, -(2**70), 10**4000],
        "coroutine": closed,
    }
    return values[what]


def errors(what: str) -> BaseException:
    found: dict[str, BaseException] = {
        "odd text": ValueError(ODD_TEXT),
        "surrogate": ValueError(SURROGATE),
        "megabytes": ValueError("x" * 10_000_000),
        "custom": Custom(1, 2),
        "dumb": Dumb(),
        "group": ExceptionGroup("two", [ValueError(SURROGATE), Dumb()]),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "base": BaseException("base"),
        "details": ApplicationError("no", object(), SURROGATE, type=ODD_TEXT),
        "stop": StopIteration(7),
        "closing": GeneratorExit("c"),
    }
    return found[what]


@workflow.defn(name="inputs.runs")
class Runs:
    """Does one thing as it is told, and tells how that ended."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    @workflow.run
    async def run(self, how: str, what: str) -> Any:
        if how == "result":
            return made(what)
        if how == "failure":
            raise ApplicationError(str(errors(what)) if what != "dumb" else "dumb", type="told")
        if how == "child":
            try:
                return await workflow.execute_child_workflow(
                    Runs, args=["result", what], id=f"child of {what}"[:40]
                )
            except DurableError as error:
                return type(error).__name__
        act = {"activity result": returns, "activity failure": raises, "heartbeat": beats}[how]
        try:
            return await act.options(retry_policy=ONCE, start_to_close_timeout=20)(what)
        except ActivityError as error:
            return [type(error.cause).__name__, str(error.cause), getattr(error.cause, "type", None)]

    @workflow.signal
    def tell(self, value: Any) -> None:
        self.got.append(value)


REFUSED = [
    "surrogate",
    "nan",
    "infinite",
    "digits",
    "deep",
    "cycle",
    "function",
    "object",
    "keys",
    "large",
    "coroutine",
]
B_OF = {
    "surrogate": "b2", "nan": "b3", "infinite": "b3", "digits": "b4", "keys": "b5", "deep": "b6", "large": "b7", "cycle": "b8",
    "function": "b8", "object": "b8", "coroutine": "b8",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED, ids=lambda what: f"{B_OF[what]}-{what}")
async def test_b2_to_b8_what_cannot_be_stored_is_refused_at_its_caller(plain: Env, what: str) -> None:
    handle = await plain.start(Runs.run("result", "numbers"), id="it")
    before = await handle.fetch_history()
    calls = {
        "start": lambda: plain.client.start_workflow(Runs, args=["result", made(what)], id="other"),
        "by name": lambda: plain.client.start_workflow("inputs.runs", made(what), id="other"),
        "memo": lambda: plain.client.start_workflow(
            Runs.run("result", "x"), id="other", memo={"m": made(what)}
        ),
        "signal": lambda: handle.signal(Runs.tell(made(what))),
        "signal by name": lambda: handle.signal("tell", made(what)),
        "query": lambda: handle.query("anything", made(what)),
        "update": lambda: handle.execute_update("anything", made(what)),
        "terminate": lambda: handle.terminate(made(what)),
        "activity": lambda: plain.client.start_activity(
            "x", made(what), id="a", task_queue="q", start_to_close_timeout=5
        ),
    }
    for door, call in calls.items():
        if (door, what) == ("memo", "large"):
            continue
        with pytest.raises((ConversionError, TypeError)) as caught:
            await call()
        assert len(str(caught.value)) < 1000, door
    assert (await handle.fetch_history()).events == before.events
    assert await plain.client.store.find_run("other") is None
    assert not await plain.client.store.read_messages([handle.result_run_id])
    await handle.terminate()


@pytest.mark.parametrize("what", REFUSED, ids=lambda what: f"{B_OF[what]}-{what}")
async def test_b2_to_b8_what_an_activity_cannot_return_fails_it_once(plain: Env, what: str) -> None:
    async with plain.worker(Runs, returns, raises, beats):
        handle = await plain.start(Runs.run("activity result", what))
        name, text, _ = await handle.result(timeout=60)
        assert name == "ApplicationError"
        assert "result" in text
        assert len(text) < 1000
        assert await (await plain.start(Runs.run("heartbeat", what))).result(timeout=60) is not None


@pytest.mark.parametrize("what", [*REFUSED[:10]], ids=lambda what: f"{B_OF[what]}-{what}")
async def test_b2_to_b8_what_a_workflow_cannot_return_blocks_it_with_the_reason_and_nobody_else(
    plain: Env, what: str
) -> None:
    async with plain.worker(Runs, returns, raises, beats):
        bad = await plain.start(Runs.run("result", what))
        assert "result of workflow inputs.runs" in await held(bad)
        await bad.terminate()
        good = await plain.start(Runs.run("activity result", "numbers"))
        assert await good.result(timeout=60) == made("numbers")


@pytest.mark.parametrize("what", ["odd text", "numbers"], ids=["b1-odd text", "b5-numbers"])
async def test_b1_and_b5_what_can_be_stored_comes_back_the_same(plain: Env, what: str) -> None:
    value = made(what)
    async with plain.worker(Runs, returns, raises, beats):
        for how in ("result", "activity result", "child"):
            handle = await plain.start(Runs.run(how, what))
            got = await handle.result(timeout=60)
            assert repr(got) == repr(value)
    opened = await plain.start(
        Runs.run("result", what), id="it", memo={"m": value}, static_summary=str(value)
    )
    told = await opened.describe()
    assert repr(await told.memo_value("m")) == repr(value)
    assert await told.static_summary() == str(value)
    await opened.terminate(reason=str(value))
    with pytest.raises(WorkflowFailureError):
        await opened.result(timeout=60)


@pytest.mark.parametrize(
    "what",
    [
        "odd text",
        "surrogate",
        "megabytes",
        "custom",
        "dumb",
        "group",
        "exit",
        "base",
        "details",
        "stop",
        "closing",
    ],
)
async def test_b9_whatever_an_activity_raises_is_recorded(plain: Env, what: str) -> None:
    async with plain.worker(Runs, returns, raises, beats):
        handle = await plain.start(Runs.run("activity failure", what))
        name, text, kind = await handle.result(timeout=60)
        assert name == "ApplicationError"
        assert "\x00" not in text
        assert "\x1b" not in text
        assert len(text) < 20_000
        assert kind is not None
        text.encode()
        again = await plain.start(Runs.run("activity result", "numbers"))
        assert await again.result(timeout=60) is not None


@pytest.mark.parametrize("what", ["odd text", "surrogate", "megabytes", "dumb"])
async def test_b9_whatever_a_workflow_fails_with_is_recorded(plain: Env, what: str) -> None:
    async with plain.worker(Runs, returns, raises, beats):
        handle = await plain.start(Runs.run("failure", what))
        with pytest.raises(WorkflowFailureError) as caught:
            await handle.result(timeout=60)
        assert isinstance(caught.value.cause, ApplicationError)
        assert caught.value.cause.type == "told"
        str(caught.value.cause).encode()


async def test_b10_names_are_kept_apart_byte_by_byte(plain: Env) -> None:
    names = [
        "é",
        "e\u0301",
        "É",
        "../x",
        "%",
        "_",
        "'; DROP TABLE runs; --",
        "\U0001f600",
        "a b",
        "A B",
        "\u202eabc",
        "x" * 255,
    ]
    for name in names:
        await plain.client.start_workflow("inputs.nobody", name, id=name, task_queue=name)
    found = [one.id async for one in plain.client.list_workflows()]
    assert sorted(found) == sorted(names)
    for name in names:
        quoted = name.replace("'", "''")
        assert [one.id async for one in plain.client.list_workflows(f"WorkflowId = '{quoted}'")] == [name]
        assert (await plain.client.get_workflow_handle(name).describe()).task_queue == name
        await plain.client.get_workflow_handle(name).terminate()


@pytest.mark.parametrize(
    "value", [0.5, 0, -1, math.nan, math.inf, 1e308, True, "2", None, 10**400, -(10**400)], ids=repr
)
def test_b13_back_off_coefficients(value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="backoff_coefficient") as caught:
        RetryPolicy(backoff_coefficient=value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("failures", [1, 2, 64, 2000, 2**31])
def test_b13_the_two_thousandth_attempt_waits_no_longer_than_the_longest(failures: int) -> None:
    assert 0 < exponential(1_000_000, 1e6, 100_000_000, failures) <= 100_000_000


@workflow.defn(name="inputs.sleeps")
async def sleeps(kind: str) -> str:
    wrong: Any = {
        "longest": timedelta.max,
        "nan": math.nan,
        "text": "5",
        "century": timedelta(days=36_700),
        "bool": True,
    }
    try:
        await workflow.sleep(wrong[kind])
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "slept"


@pytest.mark.parametrize("kind", ["longest", "nan", "text", "century", "bool"])
async def test_b14_a_sleep_beyond_the_horizon_is_refused_in_the_code(plain: Env, kind: str) -> None:
    said = await plain.run(sleeps(kind), sleeps)
    assert said.startswith(("ValueError", "TypeError"))


def test_b15_definitions_that_cannot_work_are_refused_when_they_are_made() -> None:
    def plain_function() -> None: ...

    async def generator() -> Any:
        yield 1

    for wrong in (plain_function, generator, 7, None, lambda: 1):
        with pytest.raises((RegistrationError, TypeError)) as caught:
            workflow.defn(name="inputs.wrong")(wrong)  # type: ignore[call-overload]
        assert len(str(caught.value)) < 500


@dataclass
class Inner:
    count: int | None


@dataclass
class Outer:
    inner: list[Inner | None]


@workflow.defn(name="inputs.typed")
async def typed(value: Outer) -> int:
    return len(value.inner)


@pytest.mark.parametrize(
    "value",
    [{"inner": [{"count": "x"}]}, {"inner": None}, {}, [], "x", None, {"inner": [[]]}],
    ids=repr,
)
async def test_b15_an_argument_of_another_type_names_the_place(plain: Env, value: Any) -> None:
    with pytest.raises(ConversionError) as caught:
        await plain.client.start_workflow(typed, value, id="it")
    assert "inputs.typed" in str(caught.value) or "value" in str(caught.value)
    assert await plain.client.store.find_run("it") is None


async def test_b7_the_limit_is_told_with_size_and_place(plain: Env) -> None:
    with pytest.raises(PayloadTooLargeError) as caught:
        await plain.client.start_workflow(Runs, args=["result", "x" * 3_000_000], id="it")
    assert "3,000,002" in str(caught.value) or "3000002" in str(caught.value)
    assert "2,097,152" in str(caught.value) or "2097152" in str(caught.value)


async def test_b9_a_run_tells_itself_something(plain: Env) -> None:
    """A signal to oneself, a loop of them, is a message like any other."""
    async with plain.worker(SelfTelling):
        handle = await plain.start(SelfTelling.run())
        assert await handle.result(timeout=60) == [0, 1, 2]


@workflow.defn(name="inputs.self")
class SelfTelling:
    def __init__(self) -> None:
        self.got: list[int] = []

    @workflow.run
    async def run(self) -> list[int]:
        me = workflow.get_external_workflow_handle(workflow.info().workflow_id)
        for number in range(3):
            await me.signal("tell", number)
        await workflow.wait_condition(lambda: len(self.got) == 3)
        return self.got

    @workflow.signal
    def tell(self, number: int) -> None:
        self.got.append(number)
