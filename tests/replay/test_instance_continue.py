"""Continuing as new, and what the runs before left, as the code sees them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from durable import RetryPolicy, Signal, activity, workflow
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.exceptions import ApplicationError, ConversionError, NotInWorkflowError, WorkflowQueryFailedError
from durable.history import (
    ActivityTaskScheduled,
    ApplicationFailure,
    Failure,
    Payload,
    RetryPolicyData,
    WorkflowExecutionContinuedAsNew,
    encode_data,
)
from tests.replay.test_instance import BEGIN, SECOND, Rig, done, payloads, signal

go = Signal("go", str)


@activity.defn(name="cont.step")
async def step(x: int) -> int:
    return x


@workflow.defn(name="cont.counts", task_queue="own")
async def counts(n: int, how: str = "plain") -> int:
    match how:
        case "plain":
            workflow.continue_as_new(n + 1)
        case "args":
            workflow.continue_as_new(args=[n + 1, "args"])
        case "call":
            workflow.continue_as_new(counts(n + 1, "call"))
        case "options":
            workflow.continue_as_new(counts.options(task_queue="fast", run_timeout=5)(n + 1), task_timeout=2)
        case "other":
            workflow.continue_as_new(Other.run(text="x"))
        case "temporal":
            workflow.continue_as_new("x", workflow=Other.run)
        case "class":
            workflow.continue_as_new("x", workflow=Other)  # type: ignore[call-overload]
        case "named":
            workflow.continue_as_new(1, 2, 3, workflow="unheard of")
        case "everything":
            workflow.continue_as_new(
                n,
                task_queue="q2",
                run_timeout=1,
                task_timeout=2,
                backoff_start_interval=3,
                retry_policy=RetryPolicy(maximum_attempts=4),
                memo={"k": 1},
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(SearchAttributeKey.for_int("n"), 5)]
                ),
            )
        case _:
            raise ApplicationError(how)


@workflow.defn(name="cont.other", task_queue="elsewhere")
class Other:
    @workflow.run
    async def run(self, text: str) -> str:
        return text


def continued(made: Rig) -> WorkflowExecutionContinuedAsNew:
    *_, last = made.start()
    assert isinstance(last, WorkflowExecutionContinuedAsNew)
    assert made.replay() is None
    return last


@pytest.mark.parametrize(
    ("how", "name", "queue", "args"),
    [
        ("plain", "cont.counts", "", [2]),
        ("args", "cont.counts", "", [2, "args"]),
        ("call", "cont.counts", "", [2, "call"]),
        ("other", "cont.other", "elsewhere", ["x"]),
        ("temporal", "cont.other", "elsewhere", ["x"]),
        ("class", "cont.other", "elsewhere", ["x"]),
        ("named", "unheard of", "", [1, 2, 3]),
    ],
)
def test_ways_to_say_it(how: str, name: str, queue: str, args: list[Any]) -> None:
    command = continued(Rig(counts, 1, how))
    assert (command.workflow_type, command.task_queue) == (name, queue)
    filled = args if name != "cont.counts" or len(args) == 2 else [*args, "plain"]
    assert command.input in (payloads(*args), payloads(*filled))


def test_options_of_a_call_count_where_they_differ_from_the_definition() -> None:
    command = continued(Rig(counts, 1, "options"))
    assert (command.task_queue, command.run_timeout, command.task_timeout) == (
        "fast",
        5 * SECOND,
        2 * SECOND,
    )


def test_everything_that_can_be_said() -> None:
    command = continued(Rig(counts, 1, "everything"))
    assert (command.task_queue, command.run_timeout, command.task_timeout, command.backoff) == (
        "q2",
        SECOND,
        2 * SECOND,
        3 * SECOND,
    )
    assert command.retry_policy == RetryPolicyData(maximum_attempts=4)
    assert command.memo == {"k": payloads(1)[0]}
    assert command.search_attributes is not None
    assert set(command.search_attributes) == {"n"}


BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((1, 2, 3), {}, TypeError, "argument"),
    (("text",), {}, ConversionError, "cont.guarded input"),
    ((object(),), {}, ConversionError, "cont.guarded input"),
    ((1,), {"args": [1]}, TypeError, "not both"),
    ((), {"args": "text"}, TypeError, "args must be a list"),
    ((1,), {"run_timeout": -1}, ValueError, "run_timeout"),
    ((1,), {"run_timeout": 0}, ValueError, "run_timeout"),
    ((1,), {"task_queue": ""}, ValueError, "task_queue"),
    ((1,), {"retry_policy": 3}, TypeError, "retry_policy must be a RetryPolicy"),
    ((1,), {"memo": [1]}, TypeError, "memo must be a mapping"),
    ((1,), {"search_attributes": {"a": 1}}, TypeError, "search_attributes"),
    ((1,), {"backoff": 3}, TypeError, "no option 'backoff'"),
    ((1,), {"workflow": step}, Exception, "activity"),
    ((1,), {"workflow": lambda: None}, Exception, "workflow"),
    ((1,), {"workflow": ""}, ValueError, "workflow"),
]

said: list[Any] = [(), {}]
raised: list[Exception] = []


@workflow.defn(name="cont.guarded")
async def guarded(n: int) -> str:
    arguments, options = said
    untyped: Any = workflow.continue_as_new
    try:
        untyped(*arguments, **options)
    except Exception as error:
        raised.append(error)
        return "refused"
    return "went on"


@pytest.mark.parametrize(("arguments", "options", "kind", "text"), BAD)
def test_what_cannot_be_said_is_refused_at_the_call(
    arguments: tuple[Any, ...], options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    said[:] = arguments, options
    raised.clear()
    Rig(guarded, 1).start()
    (error,) = raised
    assert isinstance(error, kind)
    assert text in str(error)


def test_it_belongs_into_workflow_code() -> None:
    with pytest.raises(NotInWorkflowError, match="continue_as_new"):
        workflow.continue_as_new(1)


@workflow.defn(name="cont.through")
async def through(how: str) -> str:
    if how == "except Exception":
        try:
            workflow.continue_as_new("done")
        except Exception:
            return "swallowed"
    if how == "group":
        async with asyncio.TaskGroup():
            workflow.continue_as_new("done")
    if how == "task":
        async with asyncio.TaskGroup() as group:
            group.create_task(leave())
            await asyncio.sleep(60)
    if how == "saga":
        async with workflow.saga() as saga:
            saga.compensate(step, 1)
            workflow.continue_as_new("done")
    if how == "handler":
        workflow.set_handler(go, leave_by)
        await asyncio.sleep(60)
    if how == "finally":
        try:
            workflow.continue_as_new("done")
        finally:
            await step(1)
    return "nothing"


async def leave() -> None:
    workflow.continue_as_new("done")


async def leave_by(word: str) -> None:
    workflow.continue_as_new(word)


@pytest.mark.parametrize("how", ["except Exception", "group", "task", "saga"])
def test_it_leaves_the_workflow_through_what_handles_errors(how: str) -> None:
    made = Rig(through, how)
    commands = made.start()
    assert [type(one).__name__ for one in commands[-1:]] == ["WorkflowExecutionContinuedAsNew"]
    assert not [one for one in commands if isinstance(one, ActivityTaskScheduled)], "nothing is undone"
    assert made.replay() is None


def test_it_may_leave_a_handler() -> None:
    made = Rig(through, "handler")
    made.start()
    (command,) = made.tell(signal("go", "by signal"))
    assert isinstance(command, WorkflowExecutionContinuedAsNew)
    assert command.input == payloads("by signal")


def test_what_is_awaited_on_the_way_out_is_done_before() -> None:
    made = Rig(through, "finally")
    made.start()
    (command,) = made.tell(done(1))
    assert isinstance(command, WorkflowExecutionContinuedAsNew)


def test_a_query_cannot_continue() -> None:
    @workflow.defn(name="cont.asked")
    class Asked:
        @workflow.run
        async def run(self) -> None:
            await asyncio.sleep(60)

        @workflow.query
        def leave(self) -> None:
            workflow.continue_as_new()

    made = Rig(Asked)
    made.start()
    with pytest.raises(WorkflowQueryFailedError, match="continue as new"):
        made.query("leave")


# ---------------------------------------------------------------- signals that nobody took


@workflow.defn(name="cont.takes")
async def takes(n: int) -> None:
    for _ in range(n):
        await go.receive()
    workflow.continue_as_new(n)


@pytest.mark.parametrize(("wanted", "left"), [(0, ["a", "b", "c"]), (1, ["b", "c"]), (3, [])])
def test_the_rest_is_untaken(wanted: int, left: list[str]) -> None:
    made = Rig(takes, wanted)
    made.start(*(signal("go", word) for word in "abc"))
    assert [one.input for one in made.code.untaken] == [payloads(word) for word in left]


# ---------------------------------------------------------------- what is known about the chain


@workflow.defn(name="cont.looks")
async def looks() -> list[Any]:
    failure = workflow.get_last_failure()
    return [
        workflow.has_last_completion_result(),
        workflow.get_last_completion_result(int),
        workflow.has_last_failure(),
        None if failure is None else str(failure),
    ]


@pytest.mark.parametrize(
    ("result", "failure", "seen"),
    [
        (None, None, [False, None, False, None]),
        (Payload(b"5"), None, [True, 5, False, None]),
        (
            Payload(b"5"),
            Failure("boom", info=ApplicationFailure("E")),
            [True, 5, True, "E: boom"],
        ),
    ],
)
def test_what_the_runs_before_left(result: Any, failure: Any, seen: list[Any]) -> None:
    made = Rig(looks)
    made.begin = type(made.begin)(
        workflow_id="w", workflow_type="cont.looks", last_result=result, last_failure=failure
    )
    (command,) = made.start()
    assert command.result == payloads(seen)[0]  # type: ignore[attr-defined]


@workflow.defn(name="cont.info")
async def informed() -> list[Any]:
    about = workflow.info()
    return [
        about.continued_run_id,
        about.cron_schedule,
        about.first_execution_run_id,
        about.attempt,
        about.priority.priority_key,
        about.start_time == workflow.now(),
        (about.start_time - about.workflow_start_time).total_seconds(),
    ]


def test_info_tells_the_chain() -> None:
    made = Rig(informed)
    assert made.start()[-1].result == payloads([None, None, "run-1", 1, 3, True, 0.0])[0]  # type: ignore[attr-defined]
    made = Rig(informed)
    made.begin = type(made.begin)(
        workflow_id="w",
        workflow_type="cont.info",
        continued_run_id="r-0",
        first_run_id="r-first",
        cron_schedule="@daily",
        attempt=2,
        priority=1,
        delay=5 * SECOND,
    )
    assert made.start()[-1].result == payloads(["r-0", "@daily", "r-first", 2, 1, True, 5.0])[0]  # type: ignore[attr-defined]


def test_timers_of_a_delayed_run_count_from_its_beginning() -> None:
    @workflow.defn(name="cont.delayed")
    async def delayed() -> float:
        return workflow.time()

    made = Rig(delayed)
    made.begin = type(made.begin)(workflow_id="w", workflow_type="cont.delayed", delay=60 * SECOND)
    assert made.start()[-1].result == payloads(BEGIN / SECOND + 60)[0]  # type: ignore[attr-defined]


@workflow.defn(name="cont.measures")
async def measures() -> list[tuple[int, int, bool]]:
    seen: list[tuple[int, int, bool]] = []
    for x in range(3):
        await step(x)
        about = workflow.info()
        seen.append(
            (
                about.get_current_history_length(),
                about.get_current_history_size(),
                about.is_continue_as_new_suggested(),
            )
        )
    return seen


def test_the_length_of_the_history_is_that_up_to_the_tasks_last_input_at_a_replay_too() -> None:
    made = Rig(measures)
    made.start()
    for id in (1, 2, 3):
        made.tell(done(id))
    made.log.pop()  # so that its last task is live again
    sizes = [sum(len(encode_data(one.data)) for one in made.log[:end]) for end in (3, 5, 7)]
    again = made.replay()
    assert again is not None
    assert again[-1].result == payloads([[3, sizes[0], False], [5, sizes[1], False], [7, sizes[2], False]])[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("length", "size", "suggested"),
    [(4095, 0, False), (4096, 0, True), (1, 4 * 1024 * 1024 - 1, False), (1, 4 * 1024 * 1024, True)],
)
def test_when_it_is_time_to_continue(length: int, size: int, suggested: bool) -> None:
    made = Rig(informed)
    made.start()
    about = replace(made.code.info(), history=lambda: (length, size))
    assert about.is_continue_as_new_suggested() is suggested
