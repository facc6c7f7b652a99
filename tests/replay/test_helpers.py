"""Chance, time, facts and cancellation as workflow code sees them: the same at every replay, one stream per use."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from durable import workflow
from durable._replay._randomness import Randomness
from durable.exceptions import ApplicationError, NondeterminismError
from durable.history import (
    TimerFired,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
)
from tests.replay.test_instance import CANCEL, CONVERTER, Rig, go, names, signal


def result(rig: Rig, *inputs: Any) -> Any:
    """What the workflow returned in its newest task."""
    (end,) = rig.tell(*inputs) if inputs else rig.start()
    assert isinstance(end, WorkflowExecutionCompleted)
    return CONVERTER.from_payload(end.result, Any, path="result")


@workflow.defn(name="helpers_chance")
async def chance(extra: bool) -> dict[str, Any]:
    if extra:
        workflow.random().random()
        workflow.uuid7()
    await go.receive()
    return {
        "uuid4": str(workflow.uuid4()),
        "uuid7": [str(workflow.uuid7()) for _ in range(3)],
        "own": workflow.new_random().random(),
        "other": workflow.new_random().random(),
        "seed": workflow.random_seed(),
        "random": workflow.random().random(),
    }


def drawn(seed: int = 7, extra: bool = False) -> Any:
    rig = Rig(chance, extra, seed=seed)
    rig.start()
    found = result(rig, signal("go", "on"))
    rig.replay()
    return found


@pytest.mark.temporal("workflow/random_seed", "workflow/uuid")
def test_chance_is_the_runs_own_and_the_same_at_every_replay() -> None:
    once = drawn()
    assert once == drawn(), "the same seed, the same numbers"
    other = drawn(seed=8)
    for key in once:
        assert once[key] != other[key], key
    assert once["seed"] == 7


def test_each_use_has_a_stream_of_its_own() -> None:
    plain, more = drawn(), drawn(extra=True)
    changed = {key for key in plain if plain[key] != more[key]}
    assert changed == {"random", "uuid7"}, "what was drawn elsewhere shifts nothing else"
    assert plain["own"] != plain["other"], "two calls of new_random are two sequences"


@pytest.mark.temporal("workflow/uuid7")
def test_uuid7() -> None:
    """RFC 9562: 48 bits of milliseconds, version 7, variant 10, the rest random."""
    ids = [UUID(text) for text in drawn()["uuid7"]]
    assert len(set(ids)) == 3
    for found in ids:
        assert found.version == 7
        assert found.variant == "specified in RFC 4122"
        assert found.int >> 80 == 1_700_000_000_000, "the time of the task, which stands still"
    made = Randomness(1)
    later = [made.uuid7(now) for now in range(0, 100_000_000, 1_000_000)]
    assert later == sorted(later), "those of later tasks sort behind"
    assert made.uuid7((1 << 48) * 1000 + 5).int >> 80 == 0, "the field is 48 bits, come what may"


class Planned(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Tier:
    name: str


@workflow.defn(name="helpers_facts", failure_exception_types=[Planned])
class Facts:
    @workflow.run
    async def run(self) -> list[Any]:
        assert workflow.instance() is self
        assert workflow.memo_value("tier", type_hint=Tier) == Tier("gold")
        assert workflow.memo_value("tier") == {"name": "gold"}
        assert workflow.memo_value("none", 3) == 3
        assert workflow.memo_value("none", None, type_hint=Tier) is None
        with pytest.raises(KeyError):
            workflow.memo_value("none")
        converter = workflow.payload_converter()
        assert converter.from_payload(converter.to_payload(Tier("x")), Tier) == Tier("x")
        kinds: list[BaseException] = [
            ApplicationError("a"),
            TimeoutError(),
            asyncio.CancelledError(),
            Planned(),
            ValueError(),
            NondeterminismError("n"),
            ExceptionGroup("all", [ApplicationError("a"), Planned()]),
            ExceptionGroup("some", [ApplicationError("a"), ValueError()]),
        ]
        return [workflow.is_failure_exception(kind) for kind in kinds]


def test_facts() -> None:
    rig = Rig(Facts)
    memo = {"tier": CONVERTER.to_payload(Tier("gold"))}
    rig.begin = msgspec.structs.replace(rig.begin, memo=memo)
    assert result(rig) == [True, True, True, True, False, False, True, False]
    rig.replay()


def test_a_function_has_no_instance() -> None:
    @workflow.defn(name="helpers_function")
    async def function() -> None:
        with pytest.raises(RuntimeError, match="'helpers_function' is a function"):
            workflow.instance()

    assert names(Rig(function).start()) == ["Completed"]


@workflow.defn(name="helpers_reason")
async def reasons() -> list[Any]:
    seen: list[Any] = [workflow.cancellation_reason()]
    own = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    own.cancel()
    try:
        await own
    except asyncio.CancelledError:
        seen.append(workflow.cancellation_reason())
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        seen.append(workflow.cancellation_reason())
    await asyncio.sleep(1)
    seen.append(workflow.cancellation_reason())
    return seen


@pytest.mark.parametrize("reason", ["", "not needed"])
@pytest.mark.parametrize("when", ["at the start", "while it waits"])
def test_cancellation_reason(reason: str, when: str) -> None:
    """None never, "" without a reason; a cancel of the code's own making is none."""
    rig = Rig(reasons)
    request = WorkflowExecutionCancelRequested(reason=reason)
    if when == "at the start":

        @workflow.defn(name="helpers_reason_first")
        async def first() -> list[Any]:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return [workflow.cancellation_reason()]
            return []

        rig = Rig(first)
        (end,) = rig.start(request)
        assert isinstance(end, WorkflowExecutionCompleted)
        assert CONVERTER.from_payload(end.result, Any, path="result") == [reason]
    else:
        rig.start()
        rig.tell(request)
        rig.tell(WorkflowExecutionCancelRequested(reason="again"))  # the first one counts
        timer = max(event.data.id for event in rig.log if type(event.data).__name__ == "TimerStarted")
        assert result(rig, TimerFired(id=timer)) == [None, None, reason, reason]
    rig.replay()


@workflow.defn(name="helpers_times")
async def times(what: str) -> str:
    ways: dict[str, Any] = {
        "zero": lambda: workflow.sleep(0),
        "td": lambda: workflow.sleep(timedelta(seconds=1.5), summary="a while"),
        "asyncio zero": lambda: asyncio.sleep(0),
        "asyncio negative": lambda: asyncio.sleep(-5),
        "asyncio nan": lambda: asyncio.sleep(float("nan")),
        "negative": lambda: workflow.sleep(-1),
        "nan": lambda: workflow.sleep(float("nan")),
        "infinite": lambda: workflow.sleep(float("inf")),
        "a century and more": lambda: workflow.sleep(timedelta(days=36_700)),
        "not even a millisecond": lambda: workflow.sleep(0.0004),
        "asyncio a little": lambda: asyncio.sleep(0.0001),
        "until": lambda: workflow.sleep_until(workflow.now() + timedelta(days=30)),
        "until the past": lambda: workflow.sleep_until(workflow.now() - timedelta(days=30)),
        "until naive": lambda: workflow.sleep_until(workflow.now().replace(tzinfo=None)),
        "condition zero": lambda: workflow.wait_condition(lambda: False, timeout=0),
        "condition true": lambda: workflow.wait_condition(lambda: True, timeout=0),
        "condition td": lambda: workflow.wait_condition(
            lambda: False, timeout=timedelta(minutes=1), timeout_summary="a minute"
        ),
        "condition negative": lambda: workflow.wait_condition(lambda: False, timeout=-1),
        "condition none": lambda: workflow.wait_condition(lambda: False),
    }
    try:
        await ways[what]()
    except (ValueError, TimeoutError) as error:
        return f"{type(error).__name__}: {error}"
    return "woke"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("zero", [(0, "")]),
        ("td", [(1_500_000, "a while")]),
        ("not even a millisecond", [(400, "")]),
        ("asyncio a little", [(1000, "")]),
        ("until", [(30 * 86_400_000_000, "")]),
        ("until the past", [(0, "")]),
        ("condition td", [(60_000_000, "a minute")]),
        ("condition none", []),
        ("asyncio zero", "woke"),
        ("asyncio negative", "woke"),
        ("condition true", "woke"),
        ("condition zero", "TimeoutError: the condition did not come true within 0 seconds"),
        ("condition negative", "ValueError: timeout must be at least zero, not -1"),
        ("negative", "ValueError: duration must be at least zero, not -1"),
        ("nan", "ValueError: duration must be finite, not nan"),
        ("infinite", "ValueError: duration must be finite, not inf"),
        ("a century and more", "ValueError: duration must be at most 100 years"),
        ("until naive", "ValueError: instant must carry a time zone"),
        ("asyncio nan", "ValueError: A timer's delay is NaN"),
    ],
)
def test_timer(what: str, expected: Any) -> None:
    """Which waits are timers and which are errors at the caller; a timer of nothing is one for `workflow.sleep` only."""
    if what == "asyncio nan" and sys.version_info >= (3, 13):
        expected = "ValueError: Invalid delay: NaN"
    rig = Rig(times, what)
    commands = rig.start()
    if isinstance(expected, str):
        (end,) = commands
        assert isinstance(end, WorkflowExecutionCompleted)
        assert CONVERTER.from_payload(end.result, str, path="result").startswith(expected)
    else:
        started: list[Any] = [*commands]
        assert [(one.duration, one.summary) for one in started] == expected
    rig.replay()


def test_only_a_request_from_outside_makes_a_workflow_cancelled() -> None:
    """Code that raises `CancelledError` by itself has failed; asked to end, it was cancelled."""

    @workflow.defn(name="helpers_raises")
    async def raises() -> None:
        await go.receive()
        raise asyncio.CancelledError("by itself")

    alone = Rig(raises)
    alone.start()
    assert names(alone.tell(signal("go", "x"))) == ["Failed"]
    asked = Rig(raises)
    asked.start()
    assert names(asked.tell(CANCEL)) == ["Canceled"]
