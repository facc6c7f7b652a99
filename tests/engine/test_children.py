"""Children and messages to others, as the engine writes them: once, with the task that asked, and answered in the log."""

from __future__ import annotations

from typing import Any

import pytest

from durable._engine._children import news_for_parent
from durable._engine._effects import Urgency
from durable._engine._messages import message
from durable._engine._start import start
from durable._engine._state import RunState
from durable._engine.hints import ANY_KEY
from durable._engine.records import Hold, Message, Transition, Verdict
from durable._internal.ids import child_run_id
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.exceptions import HistoryCorruptError
from durable.history import (
    ApplicationFailure,
    ChildWorkflowExecutionCompleted,
    ChildWorkflowExecutionStarted,
    Event,
    EventData,
    ExternalWorkflowExecutionSignaled,
    Failure,
    Input,
    ParentLink,
    Payload,
    RequestCancelExternalWorkflowExecutionInitiated,
    RetryPolicyData,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    WorkflowExecutionTimedOut,
    decode_data,
)
from tests.engine.model import RUN, World
from tests.engine.test_run import END, ONE, kinds, proposed, step, world

CHILD = StartChildWorkflowExecutionInitiated(
    id=1,
    workflow_id="c",
    run_id=child_run_id(RUN, 1),
    workflow_type="t",
    task_queue="q",
    input=(Payload(b"1"),),
    retry_policy=RetryPolicyData(maximum_attempts=3),
    cron_schedule="@daily",
    memo={"m": Payload(b"2")},
    search_attributes={"s": Payload(b"3")},
    run_timeout=5,
    priority=2,
)
ABANDONED = StartChildWorkflowExecutionInitiated(
    id=2, workflow_id="a", run_id=child_run_id(RUN, 2), workflow_type="t", parent_close_policy="abandon"
)
ASKED_TO_END = StartChildWorkflowExecutionInitiated(
    id=3,
    workflow_id="r",
    run_id=child_run_id(RUN, 3),
    workflow_type="t",
    parent_close_policy="request_cancel",
)
SIGNAL = SignalExternalWorkflowExecutionInitiated(id=4, workflow_id="o", name="go", input=(Payload(b"4"),))
CANCEL = RequestCancelExternalWorkflowExecutionInitiated(
    id=5, workflow_id="c", first_run_id=child_run_id(RUN, 1), reason="enough", child=1
)


def transition_of(made: World) -> Transition:
    found = made.propose()
    assert found is not None
    return found


def ended(made: World, id: int = 1) -> None:
    """The child's own last transition, which brings the news to its parent."""
    child = start_of(id)
    news = news_for_parent(child, WorkflowExecutionCompleted(result=Payload(b"5")))
    assert news is not None
    made.store.send(news)
    made.receive()


def start_of(id: int) -> WorkflowExecutionStarted:
    return WorkflowExecutionStarted(workflow_id="c", parent=ParentLink("w", RUN, id))


# ---------------------------------------------------------------- what is written


def test_a_child_is_written_at_once_with_its_parents_task() -> None:
    made = world([CHILD], [], [END])
    assert made.run is not None
    assert made.run.urgency(made.store.now) is Urgency.NOW
    found = transition_of(made)
    assert kinds(found.events) == ["StartChildInitiated"]
    (child,) = found.starts
    started = decode_data(1, child.run.started)
    assert isinstance(started, WorkflowExecutionStarted)
    assert started.parent == ParentLink("w", RUN, 1)
    assert (started.root_workflow_id, started.root_run_id) == ("w", RUN)
    assert started.first_run_id == CHILD.run_id
    for name in (
        "input",
        "retry_policy",
        "cron_schedule",
        "memo",
        "search_attributes",
        "run_timeout",
        "priority",
    ):
        assert getattr(started, name) == getattr(CHILD, name), name
    run = child.run
    assert (run.run_id, run.workflow_id, run.task_queue, run.run_timeout) == (CHILD.run_id, "c", "q", 5)
    assert (run.parent_run_id, run.parent_close_policy) == (RUN, ParentClosePolicy.TERMINATE)
    assert (run.first_run_id, run.owner, run.conflict) == ("", None, WorkflowIDConflictPolicy.FAIL)
    assert made.commit() is Verdict.WRITTEN
    made.receive()
    assert step(made) == ["ChildStarted"]
    ended(made)
    assert step(made) == ["ChildCompleted"]
    assert step(made) == ["Completed"]


def test_a_child_hands_the_root_on() -> None:
    made = world([CHILD])
    assert made.run is not None
    made.run.state.started = WorkflowExecutionStarted(
        workflow_id="w", root_workflow_id="top", root_run_id="r"
    )
    started = decode_data(1, transition_of(made).starts[0].run.started)
    assert isinstance(started, WorkflowExecutionStarted)
    assert (started.root_workflow_id, started.root_run_id) == ("top", "r")


def test_what_is_derived_is_the_same_each_time_and_differs_by_child() -> None:
    ids = [child_run_id(run, id) for run in ("a", "b") for id in (1, 2, 1)]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 4
    assert all(one[14] == "8" and len(one) == 36 for one in ids)

    def seeds() -> list[int]:
        made = world([CHILD, ABANDONED])
        started = [decode_data(1, one.run.started) for one in transition_of(made).starts]
        return [one.seed for one in started if isinstance(one, WorkflowExecutionStarted)]

    assert seeds() == seeds()
    assert len(set(seeds())) == 2


def test_messages_to_others_have_ids_of_their_own_there_and_here() -> None:
    made = world([SIGNAL, CANCEL])
    signal, cancel = transition_of(made).sends
    assert (signal.workflow_id, signal.run_id, signal.first_run_id) == ("o", None, None)
    assert (cancel.workflow_id, cancel.run_id, cancel.first_run_id) == ("c", None, CANCEL.first_run_id)
    assert [one.message_id for one in (signal, cancel)] == [f"external:{RUN}:4", f"external:{RUN}:5"]
    assert [one.reply.message_id for one in (signal, cancel)] == ["external:4", "external:5"]
    sent = decode_data(signal.type, signal.data)
    assert isinstance(sent, WorkflowExecutionSignaled)
    assert (sent.message, sent.name, sent.input, sent.identity) == (
        f"external:{RUN}:4",
        "go",
        SIGNAL.input,
        "workflow w",
    )
    asked = decode_data(cancel.type, cancel.data)
    assert isinstance(asked, WorkflowExecutionCancelRequested)
    assert (asked.message, asked.reason) == (f"external:{RUN}:5", "enough")


def test_they_are_answered_in_the_log() -> None:
    made = world([SIGNAL, CANCEL], [END])
    assert step(made) == ["SignalExternalInitiated", "RequestCancelExternalInitiated"]
    assert made.run is not None
    assert set(made.run.state.external) == {4, 5}
    made.receive()
    assert step(made) == ["ExternalSignaled", "ExternalCancelRequested"]
    assert not made.run.state.external


# ---------------------------------------------------------------- closing


def test_the_last_task_starts_only_what_outlives_it() -> None:
    made = world([CHILD, ABANDONED, SIGNAL, END])
    found = transition_of(made)
    assert kinds(found.events) == [
        "StartChildInitiated",
        "StartChildInitiated",
        "SignalExternalInitiated",
        "Completed",
    ]
    assert [one.run.workflow_id for one in found.starts] == ["a"]
    assert found.starts[0].run.parent_close_policy is None
    assert [one.workflow_id for one in found.sends] == ["o"]


def test_a_refused_close_releases_no_child() -> None:
    made = world([ABANDONED, END], [ABANDONED, END])
    made.signal()
    assert len(transition_of(made).starts) == 1
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert not made.in_flight.starts
    assert made.commit() is Verdict.WRITTEN
    assert len(transition_of(made).starts) == 1


def test_a_close_refused_over_a_cancel_still_starts_its_child() -> None:
    made = world([ABANDONED, END])
    transition_of(made)
    made.cancel()
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert kinds(made.in_flight.events) == ["StartChildInitiated", "CancelRequested", "Completed"]
    assert len(made.in_flight.starts) == 1


def test_a_release_carries_what_the_last_task_asked_for() -> None:
    made = world([CHILD, SIGNAL])
    assert made.run is not None
    found = made.run.release()
    assert (len(found.starts), len(found.sends)) == (1, 1)
    made = world([CHILD, ABANDONED, END])
    assert made.run is not None
    found = made.run.release(hold=Hold.BLOCKED, reason="r", wake_in=1)
    assert (found.events, found.starts) == ((), ())


def test_who_is_told_of_a_close() -> None:
    made = world([CHILD, ASKED_TO_END, SIGNAL], [CANCEL], [END])
    assert made.run is not None
    transition_of(made)
    made.in_flight = None
    written = made.run.written(made.store.now)
    assert (written.told, written.replied, written.condemned) == ([ANY_KEY], True, False)
    state = made.run.state
    state.children[1].started = state.children[3].started = True
    made.run.commands([END], local=lambda one: False)
    found = made.run.propose(made.store.now)
    assert found is not None
    assert not found.messages
    written = made.run.written(made.store.now)
    assert (written.told, written.condemned) == ([ASKED_TO_END.run_id], True)


def test_the_close_of_a_child_tells_its_parent() -> None:
    made = world([END])
    assert made.run is not None
    made.run.state.started = WorkflowExecutionStarted(
        workflow_id="w", parent=ParentLink("p", "parent-run", 7)
    )
    found = transition_of(made)
    (news,) = found.messages
    assert (news.run_id, news.message_id, news.internal) == ("parent-run", "child:7:closed", True)
    assert made.run.written(made.store.now).told == ["parent-run"]


@pytest.mark.parametrize(
    ("end", "says"),
    [
        (WorkflowExecutionCompleted(result=Payload(b"1")), {"result": Payload(b"1")}),
        (
            WorkflowExecutionFailed(
                failure=Failure("f", info=ApplicationFailure("E")), retry_state="timeout"
            ),
            {"failure": Failure("f", info=ApplicationFailure("E")), "retry_state": "timeout"},
        ),
        (WorkflowExecutionCanceled(details=(Payload(b"2"),)), {"details": (Payload(b"2"),)}),
        (WorkflowExecutionTerminated(reason="r"), {"reason": "r"}),
        (WorkflowExecutionTimedOut(timeout_type="execution"), {"timeout_type": "execution"}),
    ],
)
def test_news_for_the_parent(end: EventData, says: dict[str, Any]) -> None:
    news = news_for_parent(start_of(7), end)
    assert news is not None
    data = decode_data(news.type, news.data)
    assert isinstance(data, Input)
    assert type(data).__name__ == f"Child{type(end).__name__}"
    assert data.message == news.message_id == "child:7:closed"
    assert {name: getattr(data, name) for name in says} == says
    assert news_for_parent(WorkflowExecutionStarted(), end) is None


@pytest.mark.parametrize(
    "end",
    [
        WorkflowExecutionContinuedAsNew(new_run_id="n"),
        WorkflowExecutionFailed(new_run_id="n"),
        WorkflowExecutionCompleted(new_run_id="n"),
        WorkflowExecutionTimedOut(new_run_id="n"),
    ],
)
def test_a_run_that_goes_on_has_not_ended(end: EventData) -> None:
    assert news_for_parent(start_of(7), end) is None


def test_a_successor_keeps_its_parent() -> None:
    started = WorkflowExecutionStarted(
        workflow_id="c",
        parent=ParentLink("w", RUN, 1),
        parent_close_policy="request_cancel",
        first_run_id="first",
    )
    new = start(
        "second",
        started,
        reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        conflict=WorkflowIDConflictPolicy.FAIL,
    )
    assert (new.parent_run_id, new.parent_close_policy) == (RUN, ParentClosePolicy.REQUEST_CANCEL)
    assert new.first_run_id == "first"


# ---------------------------------------------------------------- what arrives


def test_the_news_of_start_and_end_come_in_one_task_or_in_two() -> None:
    for together in (True, False):
        made = world([CHILD], [], [])
        step(made)
        if not together:
            made.receive()
            assert step(made) == ["ChildStarted"]
        ended(made)
        assert step(made) == (["ChildStarted", "ChildCompleted"] if together else ["ChildCompleted"])
        assert made.run is not None
        assert not made.run.state.children


def test_news_is_taken_once_and_only_while_it_means_something() -> None:
    made = world([CHILD], [ONE], [])
    step(made)
    ended(made)
    made.store.position += 1
    again = Message(
        RUN, "x", 41, b'{"v":1,"message":"child:1:started","id":1}', made.store.position, internal=True
    )
    stranger = message(RUN, "child:9:closed", ChildWorkflowExecutionCompleted(id=9))
    made.store.inbox[made.store.position] = again
    made.store.send(stranger)
    made.receive()
    assert step(made) == ["ChildStarted", "ChildCompleted"]
    assert not made.store.inbox


def test_a_termination_is_no_input() -> None:
    made = world([ONE])
    assert made.run is not None
    assert made.run.inputs.termination is None
    made.store.send(
        message(RUN, "parent-closed", WorkflowExecutionTerminated(reason="by parent close policy"))
    )
    made.receive()
    assert made.run.inputs.termination is not None
    assert made.run.inputs.termination.reason == "by parent close policy"
    assert made.run.urgency(made.store.now) is Urgency.SOON
    assert proposed(made) == ["Scheduled"]


@pytest.mark.parametrize(
    "data",
    [
        ChildWorkflowExecutionStarted(id=1),
        ChildWorkflowExecutionCompleted(id=1),
        ExternalWorkflowExecutionSignaled(id=1),
    ],
)
def test_an_answer_to_nothing_is_a_damaged_log(data: EventData) -> None:
    events = [Event(1, 1, 0, WorkflowExecutionStarted()), Event(2, 2, 0, data)]
    with pytest.raises(HistoryCorruptError, match="event 2"):
        RunState.of(RUN, events)
