"""Children and other workflows, as one run's code sees them: each cancellation type, in each order of events."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from durable import ApplicationError, Signal, workflow
from durable._internal.ids import child_run_id
from durable._replay._instance import Instance
from durable.exceptions import (
    ChildWorkflowError,
    NondeterminismError,
    WorkflowAlreadyStartedError,
    WorkflowQueryFailedError,
)
from durable.history import (
    ActivityTaskCompleted,
    ApplicationFailure,
    ChildWorkflowExecutionCanceled,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionFailed,
    ChildWorkflowExecutionStarted,
    ChildWorkflowExecutionTerminated,
    ChildWorkflowExecutionTimedOut,
    ExternalWorkflowExecutionCancelRequested,
    ExternalWorkflowExecutionSignaled,
    Failure,
    Input,
    RequestCancelExternalWorkflowExecutionFailed,
    RequestCancelExternalWorkflowExecutionInitiated,
    SignalExternalWorkflowExecutionFailed,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionFailed,
    StartChildWorkflowExecutionInitiated,
    TimerFired,
    WorkflowExecutionCompleted,
)
from durable.workflow import ChildWorkflowCancellationType as Type
from tests.replay.test_instance import CANCEL, CONVERTER, Rig, names, payloads, result, signal

go = Signal("go", str)
ASK, CHILD, DONE = "RequestCancelExternalInitiated", "StartChildInitiated", "Completed"


@pytest.fixture(autouse=True)
def _put_away() -> Any:
    yield
    while Rig.alive:
        one: Instance = Rig.alive.pop()
        one.evict()


def there(id: int = 1) -> ChildWorkflowExecutionStarted:
    return ChildWorkflowExecutionStarted(id=id, run_id=child_run_id("run-1", id))


def returned(value: Any, id: int = 1) -> ChildWorkflowExecutionCompleted:
    return ChildWorkflowExecutionCompleted(id=id, result=payloads(value)[0])


@workflow.defn(name="inc.kid")
async def kid(x: int) -> int:
    return x


@workflow.defn(name="inc.awaits")
async def awaits(kind: str) -> str:
    """What the await of a child ends with."""
    try:
        return f"result {await workflow.execute_child_workflow(kid, 1, id='c', cancellation_type=Type[kind])}"
    except ChildWorkflowError as error:
        return f"{type(error.cause).__name__} {error.cause}"
    except WorkflowAlreadyStartedError as error:
        return f"taken {error.workflow_id}"
    except asyncio.CancelledError:
        return "cancelled"


@workflow.defn(name="inc.starts")
async def starts(kind: str) -> str:
    """What the await of a child's start ends with, and then that of the child."""
    try:
        child = await workflow.start_child_workflow(kid, 1, id="c", cancellation_type=Type[kind])
    except WorkflowAlreadyStartedError:
        return "taken"
    except asyncio.CancelledError:
        return "cancelled"
    await go.receive()
    return f"result {await child}"


ALL = [kind.name for kind in Type]
WAITS = ["WAIT_CANCELLATION_COMPLETED", "WAIT_CANCELLATION_REQUESTED"]


# ---------------------------------------------------------------- outcomes


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (returned(7), "result 7"),
        (
            ChildWorkflowExecutionFailed(id=1, failure=Failure("boom", info=ApplicationFailure("E"))),
            "ApplicationError E: boom",
        ),
        (ChildWorkflowExecutionTerminated(id=1, reason="by hand"), "TerminatedError by hand"),
        (ChildWorkflowExecutionTimedOut(id=1), "TimeoutError workflow timed out"),
        (ChildWorkflowExecutionCanceled(id=1), "CancelledError workflow was cancelled"),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_how_a_child_ends(answer: Input, says: str, together: bool) -> None:
    rig = Rig(awaits, "TRY_CANCEL")
    (asked,) = rig.start()
    assert isinstance(asked, StartChildWorkflowExecutionInitiated)
    assert (asked.workflow_id, asked.run_id) == ("c", child_run_id("run-1", 1))
    assert (asked.task_queue, asked.cancellation_type, asked.parent_close_policy) == (
        "q",
        "try_cancel",
        "terminate",
    )
    if together:
        commands = rig.tell(there(), answer)
    else:
        assert rig.tell(there()) == []
        commands = rig.tell(answer)
    assert result(commands) == says
    assert rig.replay() is None


@pytest.mark.parametrize("flow", [awaits, starts])
def test_a_child_that_cannot_be_started(flow: Any) -> None:
    rig = Rig(flow, "TRY_CANCEL")
    rig.start()
    assert result(rig.tell(StartChildWorkflowExecutionFailed(id=1))) in ("taken", "taken c")
    assert not rig.notes
    assert rig.replay() is None


def test_a_handle_is_there_before_its_result_in_each_order() -> None:
    for inputs in (
        [[there()], [signal("go", "x")], [returned(7)]],
        [[there(), returned(7)], [signal("go", "x")]],
    ):
        rig = Rig(starts, "TRY_CANCEL")
        rig.start()
        for task in inputs:
            commands = rig.tell(*task)
        assert result(commands) == "result 7"
        assert rig.replay() is None


# ---------------------------------------------------------------- cancels


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("started", [True, False], ids=["started", "unstarted"])
def test_what_a_cancel_asks_for(kind: str, started: bool) -> None:
    rig = Rig(awaits, kind)
    rig.start()
    if started:
        rig.tell(there())
    commands = rig.tell(CANCEL)
    if kind == "ABANDON":
        assert names(commands) == [DONE]
        assert result(commands) == "cancelled"
        return
    asked = commands[0]
    assert isinstance(asked, RequestCancelExternalWorkflowExecutionInitiated)
    assert (asked.workflow_id, asked.run_id, asked.first_run_id) == ("c", "", child_run_id("run-1", 1))
    assert (asked.id, asked.child) == (2, 1)
    assert names(commands) == ([ASK] if kind in WAITS else [ASK, DONE])
    if kind not in WAITS:
        return
    if not started:
        assert rig.tell(there()) == []
    commands = rig.tell(ExternalWorkflowExecutionCancelRequested(id=2))
    if kind == "WAIT_CANCELLATION_COMPLETED":
        assert commands == []
        commands = rig.tell(ChildWorkflowExecutionCanceled(id=1))
    assert result(commands) == "cancelled"
    assert rig.replay() is None


@pytest.mark.parametrize("answer_first", [True, False])
@pytest.mark.parametrize("kind", WAITS)
def test_a_child_that_ends_before_the_request_reaches_it(kind: str, answer_first: bool) -> None:
    """Its news is in the inbox before that of the request; and in no other order is anything lost."""
    rig = Rig(awaits, kind)
    rig.start()
    rig.tell(there())
    assert names(rig.tell(CANCEL)) == [ASK]
    end, answer = returned(7), RequestCancelExternalWorkflowExecutionFailed(id=2)
    commands = [*rig.tell(answer), *rig.tell(end)] if answer_first else rig.tell(end)
    waited = kind == "WAIT_CANCELLATION_COMPLETED" or not answer_first
    assert result(commands) == ("result 7" if waited else "cancelled")


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_cancel_beside_the_end(cancel_first: bool) -> None:
    """In the log the result is first: it wins, and the cancel meets nothing that it could end."""
    rig = Rig(awaits, "TRY_CANCEL")
    rig.start()
    inputs = [CANCEL, returned(7)] if cancel_first else [returned(7), CANCEL]
    commands = rig.tell(there(), *inputs)
    assert names(commands) == [DONE]
    assert rig.replay() is None


@pytest.mark.parametrize("kind", ALL)
def test_the_cancel_of_a_start(kind: str) -> None:
    rig = Rig(starts, kind)
    rig.start()
    commands = rig.tell(CANCEL)
    if kind not in WAITS:
        assert names(commands) == ([DONE] if kind == "ABANDON" else [ASK, DONE])
        assert result(commands) == "cancelled"
        return
    assert names(commands) == [ASK]
    assert rig.tell(there()) == []
    commands = rig.tell(ExternalWorkflowExecutionCancelRequested(id=2))
    if kind == "WAIT_CANCELLATION_COMPLETED":
        assert commands == []
        commands = rig.tell(returned(7))
    assert result(commands) == "cancelled"
    assert not rig.notes
    assert rig.replay() is None


@pytest.mark.parametrize("kind", ALL)
def test_anyio_repeats_its_cancel_and_the_child_is_asked_once(kind: str) -> None:
    @workflow.defn(name="inc.scoped")
    async def scoped() -> str:
        with anyio.move_on_after(1):
            await workflow.execute_child_workflow(kid, 1, cancellation_type=Type[kind])
        return "left"

    rig = Rig(scoped)
    assert names(rig.start()) == ["TimerStarted", CHILD]
    rig.tell(there(2))
    commands = rig.tell(TimerFired(id=1), after=1)
    asked = [] if kind == "ABANDON" else [ASK]
    assert names(commands) == (asked if kind in WAITS else [*asked, DONE])
    if kind in WAITS:
        commands = rig.tell(
            ExternalWorkflowExecutionCancelRequested(id=3), ChildWorkflowExecutionCanceled(id=2)
        )
        assert result(commands) == "left"
    assert rig.replay() is None


def test_what_is_taken_back_in_its_own_task_never_was() -> None:
    @workflow.defn(name="inc.elided")
    async def elided() -> str:
        other = workflow.get_external_workflow_handle("o")
        tasks = [
            asyncio.ensure_future(kid(1)),
            asyncio.ensure_future(workflow.start_child_workflow(kid, 2)),
            asyncio.ensure_future(other.signal("s")),
            asyncio.ensure_future(other.cancel()),
        ]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return " ".join(type(one).__name__ for one in found)

    rig = Rig(elided)
    commands = rig.start()
    assert names(commands) == [DONE]
    assert result(commands) == " ".join(["CancelledError"] * 4)
    assert rig.replay() is None


# ---------------------------------------------------------------- chance, queries and differences


def test_ids_of_children_come_from_a_stream_of_their_own() -> None:
    def flow(children: int) -> Any:
        @workflow.defn(name=f"inc.ids.{children}")
        async def ids() -> list[str]:
            found = [asyncio.ensure_future(kid(n)) for n in range(children)]
            await asyncio.sleep(0)
            del found
            return [str(workflow.uuid4()), str(workflow.random().random())]

        return ids

    drawn: list[Any] = []
    asked: list[list[str]] = []
    for children in (0, 1, 2):
        commands = Rig(flow(children)).start()
        drawn.append(result(commands[-1:]))
        asked.append(
            [one.workflow_id for one in commands if isinstance(one, StartChildWorkflowExecutionInitiated)]
        )
    assert drawn[0] == drawn[1] == drawn[2]
    assert asked[2][:1] == asked[1]
    assert len(set(asked[2])) == 2


def test_a_query_starts_and_sends_nothing() -> None:
    @workflow.defn(name="inc.queried")
    class Queried:
        @workflow.run
        async def run(self) -> None:
            await kid(1)

        @workflow.query
        def start(self) -> str:
            kid(1).send(None)
            return "no"

    rig = Rig(Queried)
    rig.start()
    with pytest.raises(WorkflowQueryFailedError, match="must not change"):
        rig.query("start")


def test_other_children_do_not_replay() -> None:
    rig = Rig(awaits, "TRY_CANCEL")
    rig.start()
    rig.tell(there())
    rig.tell(returned(1))

    @workflow.defn(name="inc.awaits_")
    async def other_id(kind: str) -> str:
        return str(await workflow.execute_child_workflow(kid, 1, id="d"))

    @workflow.defn(name="inc.awaits__")
    async def other_type(kind: str) -> str:
        return str(await workflow.execute_child_workflow("inc.other", 1, id="c"))

    for mutant, says in ((other_id, "inc.kid d"), (other_type, "inc.other c")):
        with pytest.raises(NondeterminismError) as told:
            rig.replay(mutant)
        assert "StartChildWorkflowExecutionInitiated inc.kid c" in str(told.value)
        assert says in str(told.value)


def test_other_arguments_are_told() -> None:
    rig = Rig(awaits, "TRY_CANCEL")
    rig.start()
    rig.tell(there(), returned(1))

    @workflow.defn(name="inc.changed")
    async def changed(kind: str) -> str:
        return f"result {await workflow.execute_child_workflow(kid, 2, id='c')}"

    told: list[str] = []
    rig.replay(changed, strict=False, warn=told.append)
    assert told == ["event 2: child workflow 'inc.kid' is called with other arguments than were recorded"]


@pytest.mark.parametrize(
    "answer", [ActivityTaskCompleted(id=1), ExternalWorkflowExecutionSignaled(id=1), returned(1, id=9)]
)
def test_an_answer_of_another_kind_is_told(answer: Input) -> None:
    rig = Rig(awaits, "TRY_CANCEL")
    rig.start()
    with pytest.raises(NondeterminismError):
        rig.tell(answer)


# ---------------------------------------------------------------- messages to others


@workflow.defn(name="inc.tells")
async def tells(what: str) -> str:
    other = workflow.get_external_workflow_handle("o", run_id="r")
    try:
        await (other.signal(go("x")) if what == "signal" else other.cancel("enough"))
    except ApplicationError as error:
        return f"{error.type}: {error.message}"
    except asyncio.CancelledError:
        return "cancelled"
    return "told"


@pytest.mark.parametrize("what", ["signal", "cancel"])
def test_messages_to_others(what: str) -> None:
    done, failed = (
        (ExternalWorkflowExecutionSignaled(id=1), SignalExternalWorkflowExecutionFailed(id=1))
        if what == "signal"
        else (
            ExternalWorkflowExecutionCancelRequested(id=1),
            RequestCancelExternalWorkflowExecutionFailed(id=1),
        )
    )
    for answer, says in (
        (done, "told"),
        (
            failed,
            f"ExternalWorkflowExecutionNotFound: unable to {what} external workflow 'o': it was not found, or is closed",
        ),
    ):
        rig = Rig(tells, what)
        (asked,) = rig.start()
        if isinstance(asked, SignalExternalWorkflowExecutionInitiated):
            assert (asked.workflow_id, asked.run_id, asked.name) == ("o", "r", "go")
            assert CONVERTER.from_payloads(asked.input) == ["x"]
        else:
            assert isinstance(asked, RequestCancelExternalWorkflowExecutionInitiated)
            assert (asked.workflow_id, asked.run_id, asked.reason, asked.child) == ("o", "r", "enough", 0)
        assert result(rig.tell(answer)) == says
        assert rig.replay() is None


def test_a_message_that_is_no_longer_awaited_is_answered_to_nobody() -> None:
    @workflow.defn(name="inc.leaves")
    async def leaves() -> str:
        try:
            await workflow.get_external_workflow_handle("o").signal("s")
        except asyncio.CancelledError:
            return await go.receive()
        return "no"

    rig = Rig(leaves)
    rig.start()
    assert rig.tell(CANCEL) == []
    assert rig.tell(SignalExternalWorkflowExecutionFailed(id=1)) == []
    commands = rig.tell(signal("go", "on"))
    assert isinstance(commands[-1], WorkflowExecutionCompleted)
    assert result(commands) == "on"
    assert rig.replay() is None


# ---------------------------------------------------------------- a cancel beside the news of the start


@workflow.defn(name="inc.starts_late")
async def starts_late(kind: str) -> str:
    """What the await of a start ends with that is cancelled by a signal."""

    async def start() -> str:
        try:
            handle = await workflow.start_child_workflow(kid, 1, id="c", cancellation_type=Type[kind])
        except asyncio.CancelledError:
            return "cancelled"
        try:
            return f"result {await handle}"
        except asyncio.CancelledError:
            return "cancelled later"

    task = asyncio.create_task(start())

    async def cancel() -> None:
        await go.receive()
        task.cancel()

    canceller = asyncio.create_task(cancel())
    said = await task
    canceller.cancel()
    return said


@pytest.mark.parametrize("order", ["cancel first", "start first"])
@pytest.mark.parametrize("kind", [kind.name for kind in Type])
def test_a_start_cancelled_in_the_task_that_brings_it(kind: str, order: str) -> None:
    """Whichever comes first: the child is asked to end, once, unless it is abandoned."""
    rig = Rig(starts_late, kind)
    assert names(rig.start()) == [CHILD]
    both: list[Input] = [signal("go", "x"), there()]
    commands = rig.tell(*(both if order == "cancel first" else reversed(both)))
    asked = [one for one in names(commands) if one == ASK]
    assert asked == ([] if kind == "ABANDON" else [ASK])
    if kind in ("ABANDON", "TRY_CANCEL"):
        assert result(commands) in ("cancelled", "cancelled later")
    else:
        assert names(commands) == [ASK]
        id = commands[0].id
        commands = rig.tell(ExternalWorkflowExecutionCancelRequested(id=id))
        if kind == "WAIT_CANCELLATION_COMPLETED":
            assert commands == []
            commands = rig.tell(ChildWorkflowExecutionCanceled(id=1))
        assert result(commands) in ("cancelled", "cancelled later")
    assert rig.replay() is None


def test_a_start_cancelled_in_the_task_that_brings_the_end_of_its_child_too() -> None:
    rig = Rig(starts_late, "WAIT_CANCELLATION_COMPLETED")
    rig.start()
    assert result(rig.tell(signal("go", "x"), there(), returned(1))) == "cancelled"
    assert rig.replay() is None


def test_a_start_that_failed_and_is_cancelled_in_one_task() -> None:
    rig = Rig(starts_late, "TRY_CANCEL")
    rig.start()
    assert result(rig.tell(signal("go", "x"), StartChildWorkflowExecutionFailed(id=1))) == "cancelled"


# ---------------------------------------------------------------- messages to a child that is not there yet


@workflow.defn(name="inc.tells_kid")
async def tells_kid(what: str) -> str:
    child = asyncio.create_task(workflow.execute_child_workflow(kid, 1, id="c"))
    await asyncio.sleep(0)
    other = workflow.get_external_workflow_handle("c")
    telling = asyncio.create_task(other.signal("go", "x") if what != "cancel" else other.cancel())
    await asyncio.sleep(0)
    if what == "withdrawn":
        child.cancel()
        await asyncio.wait([child])
    elif what == "forgotten":
        telling.cancel()
    try:
        await telling
    except ApplicationError as error:
        return f"not told: {error.type}"
    except asyncio.CancelledError:
        return "forgotten"
    return "told"


@pytest.mark.parametrize("what", ["signal", "cancel"])
@pytest.mark.parametrize("started", [True, False])
def test_a_message_to_a_child_of_the_same_task_waits_for_it(what: str, started: bool) -> None:
    rig = Rig(tells_kid, what)
    assert names(rig.start()) == [CHILD]
    # Whoever has the id when the child could not be started is meant then.
    (sent,) = rig.tell(there() if started else StartChildWorkflowExecutionFailed(id=1))
    kinds = {
        "signal": SignalExternalWorkflowExecutionInitiated,
        "cancel": RequestCancelExternalWorkflowExecutionInitiated,
    }
    assert isinstance(sent, kinds[what])
    done = ExternalWorkflowExecutionSignaled if what == "signal" else ExternalWorkflowExecutionCancelRequested
    assert result(rig.tell(done(id=sent.id))) == "told"
    assert rig.replay() is None


def test_a_message_to_a_child_that_was_withdrawn_goes_out_at_once() -> None:
    rig = Rig(tells_kid, "withdrawn")
    (sent,) = rig.start()
    assert isinstance(sent, SignalExternalWorkflowExecutionInitiated)
    assert "not told" in result(rig.tell(SignalExternalWorkflowExecutionFailed(id=sent.id)))
    assert rig.replay() is None


def test_a_message_that_is_cancelled_while_it_waits_is_never_sent() -> None:
    rig = Rig(tells_kid, "forgotten")
    assert names(rig.start()) == [CHILD, DONE]
    assert rig.replay() is None
