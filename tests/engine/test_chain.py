"""What follows the end of a run: by continue-as-new, by a retry policy, by a cron schedule; and what of it is handed on."""

from __future__ import annotations

from typing import Any

import pytest

from durable._engine._chain import end, next_run_id, timed_out
from durable._engine._run import HOLD_BACK
from durable._engine._state import PendingActivity, PendingChild, RunState
from durable._engine.records import NewRun, RunStatus, Transition, Unread, Verdict
from durable._timetables.ticks import check_cron, first_delay, next_tick
from durable.common import ParentClosePolicy
from durable.history import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ApplicationFailure,
    CanceledFailure,
    ChildWorkflowExecutionStarted,
    Event,
    EventData,
    Failure,
    ParentLink,
    Payload,
    RetryPolicyData,
    StartChildWorkflowExecutionInitiated,
    TimeoutFailure,
    WorkflowExecutionCanceled,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionFailed,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTimedOut,
    WorkflowExecutionUpdateAccepted,
    decode_data,
)
from tests.engine.model import RUN, World
from tests.engine.test_run import END, ONE, kinds, proposed, tasks, world

SECOND = 1_000_000
HOUR = 3600 * SECOND
NOON = 1_700_049_600 * SECOND  # 2023-11-15 12:00 UTC
POLICY = RetryPolicyData(initial_interval=SECOND, maximum_attempts=3)
BOOM = Failure("boom", info=ApplicationFailure("E"))
ODD = Payload(b"1")


def run_of(*more: EventData, at: int = NOON, **said: Any) -> RunState:
    """The state of a run that was started with these facts, and then had these inputs."""
    given: dict[str, Any] = {
        "workflow_id": "w",
        "workflow_type": "t",
        "task_queue": "q",
        "input": (ODD,),
        "seed": 7,
    }
    facts = (WorkflowExecutionStarted(**given | said), *more)
    return RunState.of(RUN, [Event(n, n, at, data) for n, data in enumerate(facts, 1)])


def follow(state: RunState, closing: EventData, *, now: int = NOON + SECOND, **more: Any) -> tuple[Any, Any]:
    """The successor's row and its first event; None and None without one."""
    new = end(state, closing, now=now, **more).close.successor
    return (None, None) if new is None else (new, begins(new))


def begins(new: NewRun) -> WorkflowExecutionStarted:
    data = decode_data(1, new.started)
    assert isinstance(data, WorkflowExecutionStarted)
    return data


# ---------------------------------------------------------------- continue as new


def test_a_continued_run_has_what_it_was_given_and_else_what_the_last_one_had() -> None:
    said: dict[str, Any] = {
        "run_timeout": 5 * SECOND,
        "task_timeout": SECOND,
        "retry_policy": POLICY,
        "memo": {"m": ODD},
        "headers": {"h": ODD},
        "search_attributes": {"s": ODD},
        "priority": 1,
        "identity": "me",
        "static_summary": "short",
        "static_details": "long",
        "parent": ParentLink("p", "parent-run", 3),
        "parent_close_policy": "request_cancel",
        "root_workflow_id": "root",
        "root_run_id": "root-run",
        "last_result": ODD,
    }
    state = run_of(attempt=2, **said)
    asked = WorkflowExecutionContinuedAsNew(workflow_type="t", input=(Payload(b"2"),))
    ending = end(state, asked, now=NOON)
    assert isinstance(ending.event, WorkflowExecutionContinuedAsNew)
    new, first = follow(state, asked)
    assert ending.event.new_run_id == new.run_id == next_run_id(RUN)
    assert ending.close.status is RunStatus.CONTINUED_AS_NEW
    assert {name: getattr(first, name) for name in said} == said
    assert (first.workflow_id, first.workflow_type, first.task_queue) == ("w", "t", "q")
    assert first.input == (Payload(b"2"),)
    assert (first.attempt, first.first_run_id, first.continued_run_id) == (1, RUN, RUN)
    assert first.seed not in (0, 7)
    assert first.message == ""
    assert (new.workflow_id, new.first_run_id, new.parent_run_id) == ("w", RUN, "parent-run")
    assert (new.parent_close_policy, new.priority) == (ParentClosePolicy.REQUEST_CANCEL, 1)
    assert (new.run_timeout, new.delay) == (5 * SECOND, 0)


def test_a_continue_as_new_may_change_nearly_everything() -> None:
    asked = WorkflowExecutionContinuedAsNew(
        workflow_type="other",
        task_queue="there",
        run_timeout=SECOND,
        task_timeout=2 * SECOND,
        backoff=3 * SECOND,
        retry_policy=POLICY,
        memo={},
        search_attributes={"n": ODD},
    )
    state = run_of(memo={"m": ODD}, search_attributes={"s": ODD}, run_timeout=9 * SECOND)
    new, first = follow(state, asked)
    assert (first.workflow_type, first.task_queue, first.input) == ("other", "there", ())
    assert (first.run_timeout, first.task_timeout, first.retry_policy) == (SECOND, 2 * SECOND, POLICY)
    assert (first.memo, first.search_attributes, first.delay) == ({}, {"n": ODD}, 3 * SECOND)
    assert (new.workflow_type, new.task_queue, new.run_timeout, new.delay) == (
        "other",
        "there",
        SECOND,
        3 * SECOND,
    )


def test_the_next_run_is_a_function_of_the_last_one() -> None:
    first = end(run_of(), WorkflowExecutionContinuedAsNew(), now=NOON)
    again = end(run_of(), WorkflowExecutionContinuedAsNew(), now=NOON)
    assert first == again
    new, started = follow(run_of(), WorkflowExecutionContinuedAsNew())
    later = RunState.of(new.run_id, [Event(1, 1, NOON, started)])
    third, third_started = follow(later, WorkflowExecutionContinuedAsNew())
    assert len({RUN, new.run_id, third.run_id}) == 3
    assert len({7, started.seed, third_started.seed}) == 3
    assert (third_started.first_run_id, third_started.continued_run_id) == (RUN, new.run_id)
    assert third.first_run_id == RUN


def test_the_next_run_knows_what_was_read_lately_and_may_be_sent_again() -> None:
    state = RunState(RUN)
    facts: list[tuple[int, EventData]] = [
        (NOON - HOUR, WorkflowExecutionStarted(workflow_id="w", workflow_type="t", known=("before",))),
        (NOON - HOUR, WorkflowExecutionSignaled(message="old")),
        (NOON, WorkflowExecutionSignaled(message="new")),
        (NOON, WorkflowExecutionSignaled(message="untaken")),
        (NOON, WorkflowExecutionCancelRequested(message="cancel")),
        (NOON, WorkflowExecutionUpdateAccepted(message="update:1")),
        (NOON, ChildWorkflowExecutionStarted(message="child:1:started", id=1)),
        (NOON, ActivityTaskCompleted(message="activity:2", id=2)),
    ]
    state.children[1] = PendingChild(StartChildWorkflowExecutionInitiated(id=1))
    state.activities[2] = PendingActivity(ActivityTaskScheduled(id=2), NOON)
    for n, (time, data) in enumerate(facts, 1):
        state.extend(n, n, time, [data])
    untaken = [WorkflowExecutionSignaled(message="untaken")]
    asked = WorkflowExecutionContinuedAsNew()
    new, first = follow(state, asked, untaken=untaken, unread=Unread.MOVE)
    assert first.known == ("new", "cancel"), "ids that belong to commands are used again by the next run"
    assert [one.message_id for one in new.messages] == ["untaken"]
    assert RunState.of("next", [Event(1, 1, NOON, first)]).messages.keys() == {"new", "cancel"}
    _, first = follow(state, asked, untaken=untaken)
    assert first.known == (), "nothing moves that could have been read"


def test_the_execution_timeout_goes_on_over_all_runs() -> None:
    state = run_of(execution_timeout=HOUR)
    new, first = follow(state, WorkflowExecutionContinuedAsNew(), now=NOON + HOUR // 4)
    assert first.expires_at == NOON + HOUR
    assert new.run_timeout == 3 * HOUR // 4
    later = RunState.of(new.run_id, [Event(1, 1, NOON + HOUR // 4, first)])
    new, first = follow(later, WorkflowExecutionContinuedAsNew(backoff=SECOND), now=NOON + HOUR // 2)
    assert first.expires_at == NOON + HOUR
    assert new.run_timeout == HOUR // 2 - SECOND


def test_the_shorter_of_two_timeouts_ends_the_next_run() -> None:
    new, _ = follow(
        run_of(execution_timeout=HOUR, run_timeout=SECOND), WorkflowExecutionContinuedAsNew(), now=NOON
    )
    assert new.run_timeout == SECOND
    new, _ = follow(
        run_of(execution_timeout=HOUR, run_timeout=SECOND),
        WorkflowExecutionContinuedAsNew(),
        now=NOON + HOUR - 5,
    )
    assert new.run_timeout == 5


# ---------------------------------------------------------------- a retry policy


def failed(failure: Failure = BOOM) -> WorkflowExecutionFailed:
    return WorkflowExecutionFailed(failure=failure)


def test_a_failed_run_is_tried_again() -> None:
    state = run_of(retry_policy=POLICY, last_result=ODD)
    ending = end(state, failed(), now=NOON)
    new, first = follow(state, failed())
    assert ending.event == WorkflowExecutionFailed(failure=BOOM, new_run_id=new.run_id)
    assert ending.close.status is RunStatus.FAILED
    assert (first.attempt, first.last_failure, first.last_result, first.input) == (2, BOOM, ODD, (ODD,))
    assert SECOND <= first.delay <= 1.1 * SECOND
    assert new.delay == first.delay
    _, second = follow(run_of(retry_policy=POLICY, attempt=2), failed())
    assert 2 * SECOND <= second.delay <= 2.2 * SECOND


@pytest.mark.parametrize(
    ("state", "failure", "why"),
    [
        (run_of(), BOOM, None),
        (run_of(retry_policy=POLICY, attempt=3), BOOM, "maximum_attempts_reached"),
        (
            run_of(retry_policy=POLICY),
            Failure(info=ApplicationFailure("E", non_retryable=True)),
            "non_retryable_failure",
        ),
        (
            run_of(retry_policy=RetryPolicyData(non_retryable_error_types=("E",))),
            BOOM,
            "non_retryable_failure",
        ),
        (run_of(retry_policy=POLICY), Failure(info=CanceledFailure()), "non_retryable_failure"),
        (run_of(WorkflowExecutionCancelRequested(), retry_policy=POLICY), BOOM, "cancel_requested"),
        (run_of(retry_policy=POLICY, execution_timeout=2 * SECOND), BOOM, "timeout"),
    ],
    ids=["no policy", "attempts", "flag", "type", "cancelled", "cancel requested", "execution timeout"],
)
def test_a_failed_run_that_is_not_tried_again_says_why(state: RunState, failure: Failure, why: str) -> None:
    ending = end(state, failed(failure), now=NOON + SECOND)
    assert (ending.close.status, ending.close.successor) == (RunStatus.FAILED, None)
    assert ending.event == WorkflowExecutionFailed(failure=failure, retry_state=why)


def test_a_failure_may_say_when_it_is_tried_again() -> None:
    asked = Failure(info=ApplicationFailure("E", next_retry_delay=5 * SECOND))
    assert follow(run_of(retry_policy=POLICY), failed(asked))[1].delay == 5 * SECOND


@pytest.mark.parametrize("closing", [WorkflowExecutionCompleted(), WorkflowExecutionCanceled()])
def test_what_did_not_fail_is_not_tried_again(closing: EventData) -> None:
    assert end(run_of(retry_policy=POLICY, cron_schedule=""), closing, now=NOON).close.successor is None


def test_a_run_that_timed_out_is_tried_again() -> None:
    state = run_of(retry_policy=POLICY, run_timeout=SECOND)
    ending = timed_out(state, NOON + SECOND)
    assert ending.close.unread is Unread.MOVE
    assert ending.close.successor is not None
    assert ending.event == WorkflowExecutionTimedOut(
        timeout_type="run", new_run_id=ending.close.successor.run_id
    )
    first = begins(ending.close.successor)
    assert first.attempt == 2
    assert first.last_failure is not None
    assert first.last_failure.info == TimeoutFailure("start_to_close")


def test_an_execution_that_timed_out_is_over() -> None:
    state = run_of(retry_policy=POLICY, execution_timeout=HOUR, cron_schedule="* * * * *")
    ending = timed_out(state, NOON + HOUR)
    assert ending.event == WorkflowExecutionTimedOut(timeout_type="execution")
    assert ending.close.successor is None


def test_a_run_whose_log_cannot_be_read_times_out_all_the_same() -> None:
    ending = timed_out(None, NOON)
    assert (ending.close.status, ending.close.successor) == (RunStatus.TIMED_OUT, None)


# ---------------------------------------------------------------- a cron schedule


@pytest.mark.parametrize(
    ("closing", "result", "failure"),
    [
        (WorkflowExecutionCompleted(result=Payload(b"2")), Payload(b"2"), None),
        (failed(), ODD, BOOM),
    ],
    ids=["completed", "failed"],
)
def test_the_next_run_waits_for_the_next_tick(closing: EventData, result: Payload, failure: Failure) -> None:
    state = run_of(cron_schedule="0 * * * *", last_result=ODD, last_failure=Failure("old"), attempt=2)
    new, first = follow(state, closing, now=NOON + 90 * 60 * SECOND)
    assert new.delay == first.delay == HOUR // 2
    assert (first.attempt, first.last_result, first.last_failure) == (1, result, failure)


def test_retries_come_before_the_next_tick() -> None:
    state = run_of(cron_schedule="0 * * * *", retry_policy=POLICY)
    assert follow(state, failed())[1].attempt == 2
    state = run_of(cron_schedule="0 * * * *", retry_policy=POLICY, attempt=3)
    _, first = follow(state, failed(), now=NOON + 1)
    assert (first.attempt, first.delay) == (1, HOUR - 1)


def test_cancelling_ends_a_cron_schedule() -> None:
    state = run_of(cron_schedule="0 * * * *")
    assert end(state, WorkflowExecutionCanceled(), now=NOON).close.successor is None


def test_no_tick_comes_behind_the_execution_timeout() -> None:
    state = run_of(cron_schedule="0 * * * *", execution_timeout=HOUR)
    assert end(state, WorkflowExecutionCompleted(), now=NOON + 1).close.successor is None
    state = run_of(cron_schedule="0 * * * *", execution_timeout=HOUR + 1)
    assert end(state, WorkflowExecutionCompleted(), now=NOON + 1).close.successor is not None


def test_a_tick_is_not_taken_twice_by_a_clock_that_is_behind() -> None:
    state = run_of(cron_schedule="0 * * * *", delay=SECOND, at=NOON - SECOND)
    new, _ = follow(state, WorkflowExecutionCompleted(), now=NOON - 5)
    assert new.delay + NOON - 5 >= NOON + HOUR


@pytest.mark.parametrize(
    ("text", "tick"),
    [
        ("0 * * * *", NOON + HOUR),
        ("CRON_TZ=Asia/Kolkata 0 18 * * *", NOON + HOUR // 2),
        ("@every 7s", NOON - 60 * SECOND + 70 * SECOND),
        ("@daily", NOON + 12 * HOUR),
    ],
)
def test_ticks(text: str, tick: int) -> None:
    assert next_tick(text, NOON - 60 * SECOND, NOON + 3 * SECOND) == tick


def test_the_first_run_waits_too() -> None:
    assert first_delay("0 * * * *", NOON + 1) == HOUR - 1
    with pytest.raises(ValueError, match="no tick in the future"):
        first_delay("0 0 0 1 1 * 2020", NOON)


@pytest.mark.parametrize("text", ["nonsense", "0 0 30 2 *", "CRON_TZ=Nowhere/Land 0 * * * *", ""])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"cron_schedule|no time zone 'Nowhere/Land'"):
        check_cron(text)


# ---------------------------------------------------------------- delayed beginnings


def test_a_delayed_run_begins_when_the_delay_is_over() -> None:
    state = run_of(delay=HOUR)
    assert (state.task_time, state.time) == (NOON + HOUR, NOON)
    assert state.expires_at is None
    assert run_of(delay=HOUR, execution_timeout=SECOND).expires_at == NOON + HOUR + SECOND


@pytest.mark.parametrize(
    ("said", "came", "begins_at"),
    [
        ({}, WorkflowExecutionSignaled(message="m"), NOON + 1),
        ({"cron_schedule": "@daily"}, WorkflowExecutionSignaled(message="m"), NOON + HOUR),
        ({"continued_run_id": "r"}, WorkflowExecutionSignaled(message="m"), NOON + HOUR),
        ({"continued_run_id": "r"}, WorkflowExecutionCancelRequested(message="m"), NOON + 1),
    ],
    ids=["asked for", "cron", "next attempt", "cancelled"],
)
def test_what_ends_a_delay(said: dict[str, Any], came: EventData, begins_at: int) -> None:
    state = RunState(RUN)
    state.extend(1, 1, NOON, [WorkflowExecutionStarted(workflow_id="w", delay=HOUR, **said)])
    state.extend(2, 1, NOON + 1, [came])
    assert state.task_time == begins_at


# ---------------------------------------------------------------- closing with and without a successor


CONTINUE = WorkflowExecutionContinuedAsNew(workflow_type="t")


def closing(made: World) -> Transition:
    assert made.run is not None
    made.receive()
    transition = made.propose()
    assert transition is not None
    assert transition.close is not None
    return transition


def test_an_unread_signal_refuses_a_continue_as_new_once_and_then_moves() -> None:
    made = world([ONE], lambda inputs: [CONTINUE])
    made.signal()
    closing_at_first = None
    made.receive()
    assert proposed(made) == ["Scheduled", "Signaled"]
    made.commit()
    made.turn()
    closing_at_first = closing(made)
    assert closing_at_first.close is not None
    assert closing_at_first.close.unread is Unread.REFUSE_SIGNALS
    late = made.signal()
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert kinds(made.in_flight.events) == ["Signaled"]
    made.commit()  # it joins the task, which runs again
    later = made.signal()
    again = made.propose()
    assert again is not None
    assert again.close is not None
    assert again.close.unread is Unread.MOVE
    assert made.commit() is Verdict.WRITTEN
    assert made.store.moved == [later]
    assert [event.task for event in made.store.log if late.encode() in event.data] == [2]


def test_a_cancel_request_goes_on_to_the_successor() -> None:
    made = world([ONE], [CONTINUE])
    made.signal()
    made.receive()
    proposed(made)
    made.commit()
    made.turn()
    closing(made)
    request = made.cancel()
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert kinds(made.in_flight.events) == ["ContinuedAsNew"]
    assert made.commit() is Verdict.WRITTEN
    assert made.store.moved == [request]
    assert tasks(made)[-1] == (2, "ContinuedAsNew")


def test_signals_that_nobody_took_go_on_before_those_that_nobody_read() -> None:
    made = world([ONE], [], [CONTINUE])
    kept = [made.signal("keep"), made.signal("keep")]
    made.receive()
    proposed(made)
    made.commit()
    assert made.code is not None
    made.code.kept = [decode_data(row.type, row.data) for row in made.store.log if b'"keep"' in row.data]  # type: ignore[misc]
    made.code.kept.reverse()  # whatever the order in which the code names them
    made.turn()
    made.signal()
    made.receive()
    proposed(made)
    made.commit()
    made.turn()
    closing(made)
    made.cancel()
    made.commit()
    cancel = next(iter(made.store.inbox.values())).message_id
    assert made.commit() is Verdict.WRITTEN
    assert made.store.moved == [*kept, cancel]


def test_new_messages_are_held_back_from_a_run_that_could_not_close_twice() -> None:
    made = world([ONE], lambda inputs: [END])
    made.signal()
    made.receive()
    proposed(made)
    made.commit()
    made.turn()
    closing(made)
    made.signal()
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert made.in_flight.hold_back == 0, "the first time is nothing special"
    made.commit()
    closing(made)
    made.signal()
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert made.in_flight.hold_back == HOLD_BACK
    made.signal()  # the last one that comes through
    made.commit()
    made.signal()
    assert len(made.accepted) == 4, "held back"
    closing(made)
    assert made.commit() is Verdict.REFUSED
    made.commit()
    closing(made)
    assert made.commit() is Verdict.WRITTEN
    made.replay()


def test_a_task_that_does_not_close_after_all_begins_to_count_anew() -> None:
    made = world([ONE], lambda inputs: [END] if len(inputs) < 2 else [], lambda inputs: [END])
    made.signal()
    made.receive()
    proposed(made)
    made.commit()
    made.turn()
    closing(made)
    made.signal()
    made.commit()
    made.commit()
    assert made.run is not None
    assert made.run.closing is None
