"""The rules of `Run`, one by one, and each race in both orders."""

from __future__ import annotations

from typing import Any

import pytest

from durable._engine._activities import Canceled, Completed, Failed, Progress, decode_progress
from durable._engine._asked import AttemptEnd
from durable._engine._effects import Urgency
from durable._engine._messages import message
from durable._engine._run import Run
from durable._engine._state import RunState
from durable._engine.records import ActivityState, Hold, Transition, Verdict
from durable.exceptions import HistoryCorruptError, HistoryError
from durable.history import (
    CLOSING,
    ActivityTaskCancelRequested,
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    ApplicationFailure,
    Event,
    EventData,
    EventType,
    Failure,
    Payload,
    RetryPolicyData,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCancelRequested,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowExecutionTerminated,
    decode_data,
)
from tests.engine.model import RUN, Code, World

ONE = ActivityTaskScheduled(id=1, activity_id="1", activity_type="a")
ONCE = ActivityTaskScheduled(
    id=1, activity_id="1", activity_type="a", retry_policy=RetryPolicyData(maximum_attempts=1)
)
TWO = ActivityTaskScheduled(id=2, activity_id="2", activity_type="a")
RESULT = Completed(Payload(b"1"))
BOOM = Failed(Failure("boom", info=ApplicationFailure("E")))
END = WorkflowExecutionCompleted()


def world(*turns: Any, local: bool = True) -> World:
    """A claimed run whose code answers its first task with `turns[0]`, the next with `turns[1]`, and so on; then nothing.

    A turn is a list of commands, or a function from the task's inputs to one.
    """

    def script(code: Any, inputs: list[Event]) -> list[Any]:
        said = turns[code.turns - 1] if code.turns <= len(turns) else []
        return list(said(inputs) if callable(said) else said)

    made = World(script, local=lambda one: local)
    made.make = Plain
    made.claim()
    return made


class Plain(Code):
    """Code that keeps no books: its turns are given."""

    def activate(self, inputs: list[Event]) -> list[Any]:
        self.turns += 1
        if self.closing is not None:
            return [self.closing]
        commands = self.script(self, inputs)
        if commands and isinstance(commands[-1], CLOSING):
            self.closing = commands[-1]
        return commands


def kinds(events: Any) -> list[str]:
    found = [one.data if isinstance(one, Event) else decode_data(one.type, one.data) for one in events]
    return [
        type(data).__name__.replace("WorkflowExecution", "").replace("ActivityTask", "") for data in found
    ]


def proposed(made: World) -> list[str]:
    assert made.run is not None
    transition = made.propose()
    return [] if transition is None else kinds(transition.events)


def tasks(made: World) -> list[tuple[int, str]]:
    return [(event.task, kind) for event, kind in zip(made.store.log, kinds(made.store.log), strict=True)]


def step(made: World) -> list[str]:
    """Write what waits and run the task it opens; return what was written."""
    written = proposed(made)
    assert made.commit() is Verdict.WRITTEN
    if made.task:
        made.turn()
    return written


def ended(made: World, id: int = 1, outcome: Any = RESULT) -> None:
    made.end_attempt(id, outcome)


# ---------------------------------------------------------------- one transition at a time


def test_a_command_rides_with_the_next_input() -> None:
    made = world([ONE], [END])
    assert made.run is not None
    assert made.attempts == {1: ONE}  # acted on before it is written
    assert made.run.urgency(made.store.now) is Urgency.SOON
    ended(made)
    assert made.run.urgency(made.store.now) is Urgency.NOW
    assert step(made) == ["Scheduled", "Completed"]
    assert step(made) == ["Completed"]
    assert tasks(made) == [(1, "Started"), (1, "Scheduled"), (2, "Completed"), (2, "Completed")]
    assert not made.store.open


def test_what_arrives_during_a_commit_opens_the_next_task_behind_its_commands() -> None:
    made = world([ONE, TWO], [TimerStarted(id=3, duration=5)], [END])
    ended(made, 1)
    assert proposed(made) == ["Scheduled", "Scheduled", "Completed"]
    ended(made, 2)
    made.signal()
    made.receive()
    assert made.run is not None
    assert made.run.urgency(made.store.now) is Urgency.NOTHING  # one in flight
    made.commit()
    made.turn()
    assert step(made) == ["TimerStarted", "Signaled", "Completed"]
    assert tasks(made)[3:] == [(2, "Completed"), (2, "TimerStarted"), (3, "Signaled"), (3, "Completed")]


def test_nothing_waits_nothing_is_proposed() -> None:
    made = world([])
    assert made.run is not None
    assert made.run.urgency(made.store.now) is Urgency.NOTHING
    assert made.run.propose(made.store.now) is None


def test_messages_go_in_the_order_of_the_inbox_however_they_are_read() -> None:
    made = world([])
    for name in "abc":
        made.signal(name)
    assert made.run is not None
    for position in (3, 1, 2, 1):
        made.run.inputs.receive(made.store.inbox[position], decode_data)
    transition = made.propose()
    assert transition is not None
    names = [decode_data(one.type, one.data).name for one in transition.events]  # type: ignore[attr-defined]
    assert (names, transition.consumed) == (["a", "b", "c"], (1, 2, 3))


def test_results_go_in_the_order_they_came_and_behind_messages() -> None:
    made = world([ONE, TWO])
    made.signal()
    made.receive()
    ended(made, 2)
    ended(made, 1)
    transition = made.propose()
    assert transition is not None
    assert kinds(transition.events) == ["Scheduled", "Scheduled", "Signaled", "Completed", "Completed"]
    assert [decode_data(one.type, one.data).id for one in transition.events[3:]] == [2, 1]  # type: ignore[attr-defined]


# ---------------------------------------------------------------- a cancel, and timers, stand behind results


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_result_and_a_cancel(cancel_first: bool) -> None:
    made = world([ONE])
    if cancel_first:
        made.cancel()
        made.receive()
        ended(made)
    else:
        ended(made)
        made.cancel()
        made.receive()
    assert step(made) == ["Scheduled", "Completed"]
    assert step(made) == ["CancelRequested"]
    assert [task for task, _ in tasks(made)] == [1, 1, 2, 3]


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_signal_and_a_cancel(cancel_first: bool) -> None:
    made = world([])
    for send in (made.cancel, made.signal) if cancel_first else (made.signal, made.cancel):
        send()
    made.receive()
    assert step(made) == ["Signaled"]
    assert step(made) == ["CancelRequested"]


def test_a_cancel_is_put_off_once_and_no_more() -> None:
    made = world([ONE, TWO], [], [], [])
    made.cancel()
    made.receive()
    ended(made, 1)
    assert step(made) == ["Scheduled", "Scheduled", "Completed"]
    ended(made, 2)
    assert step(made) == ["CancelRequested"]
    assert step(made) == ["Completed"]


def test_two_cancels_are_one_task() -> None:
    made = world([])
    made.cancel()
    made.cancel()
    made.receive()
    assert step(made) == ["CancelRequested", "CancelRequested"]
    assert [task for task, _ in tasks(made)] == [1, 2, 2]
    assert not made.store.inbox


def timed(*durations: int, more: Any = ()) -> World:
    """A run with timers that are due at these distances, all written."""
    made = world(
        [TimerStarted(id=10 + n, duration=d) for n, d in enumerate(durations)] + list(more), [], [], []
    )
    step(made)
    return made


@pytest.mark.parametrize("result_first", [True, False])
def test_a_result_and_an_overdue_timer(result_first: bool) -> None:
    made = timed(50, more=[ONE])
    assert made.run is not None
    if result_first:
        ended(made)
        made.store.now += 60
    else:
        made.store.now += 60
        assert made.run.urgency(made.store.now) is Urgency.NOW
        ended(made)
    assert step(made) == ["Completed"]
    assert step(made) == ["TimerFired"]


def test_an_overdue_timer_is_put_off_once_and_no_more() -> None:
    made = timed(50, more=[ONE, TWO])
    made.store.now += 60
    ended(made, 1)
    assert step(made) == ["Completed"]
    ended(made, 2)
    assert step(made) == ["TimerFired"]
    assert step(made) == ["Completed"]


def test_a_timer_is_put_off_once_by_results_though_a_cancel_goes_between() -> None:
    """ "Neither can be put off more than once." """
    made = timed(50, more=[ONE, TWO])
    made.store.now += 60
    made.cancel()
    made.receive()
    ended(made, 1)
    order = step(made)
    ended(made, 2)
    order += step(made)
    made.signal()
    made.receive()
    order += step(made)
    assert order == ["Completed", "CancelRequested", "TimerFired"]


def test_two_timers_of_one_instant_are_one_task_in_their_order() -> None:
    made = timed(50, 50, 30)
    made.store.now += 60
    transition = made.propose()
    assert transition is not None
    assert [decode_data(e.type, e.data) for e in transition.events] == [TimerFired(id=12)]
    made.commit()
    made.turn()
    transition = made.propose()
    assert transition is not None
    assert [decode_data(e.type, e.data) for e in transition.events] == [TimerFired(id=10), TimerFired(id=11)]


def test_timers_of_two_instants_are_two_tasks_and_each_has_its_time() -> None:
    made = timed(30, 50)
    start = made.store.now
    made.store.now = start + 30
    assert step(made) == ["TimerFired"]
    assert proposed(made) == []
    made.store.now = start + 50
    assert step(made) == ["TimerFired"]
    assert [event.time for event in made.store.log[-2:]] == [start + 30, start + 50]


def test_a_timer_that_was_cancelled_does_not_fire() -> None:
    made = world([TimerStarted(id=1, duration=50), TimerStarted(id=2, duration=60)], [TimerCanceled(id=1)])
    step(made)
    made.signal()
    made.receive()
    step(made)
    assert made.run is not None
    made.store.now += 55
    assert made.run.inputs.next_timer() == made.store.now + 5
    assert step(made) == ["TimerCanceled"]


def test_a_fired_timer_is_never_stamped_before_it_is_due() -> None:
    """The worker's clock is an estimate; the log's times are kept in order by `not_before`."""
    made = timed(50)
    assert made.run is not None
    due = made.run.inputs.next_timer()
    assert due is not None
    transition = made.run.propose(due)
    assert transition is not None
    assert transition.not_before == due
    written = made.run.written(due - 20)
    assert [event.time for event in written.task] == [due]
    assert made.run.state.task_time == due


def test_deadlines_count_from_the_tasks_last_input_not_from_when_its_commands_are_written() -> None:
    made = world([ONE], [TimerStarted(id=2, duration=100), TWO])
    ended(made)
    step(made)
    task_time = made.store.log[-1].time
    made.store.now += 77
    step(made)
    assert made.run is not None
    assert made.run.state.timers == {2: task_time + 100}
    assert made.run.inputs.next_timer() == task_time + 100
    assert made.run.state.activities[2].scheduled_at == task_time
    assert made.run.asked.scheduled_at(2) == task_time


# ---------------------------------------------------------------- messages are taken once


def test_a_message_whose_id_is_in_the_log_is_only_deleted() -> None:
    made = world([], [])
    id = made.signal()
    made.receive()
    step(made)
    made.repeat(id)
    made.receive()
    assert made.run is not None
    assert made.run.urgency(made.store.now) is Urgency.SOON
    transition = made.propose()
    assert transition is not None
    assert (transition.events, transition.consumed) == ((), (2,))
    made.commit()
    assert not made.store.inbox


def test_a_message_that_is_read_again_while_it_is_being_written_stays_one() -> None:
    made = world([])
    made.signal()
    made.receive()
    stale = dict(made.store.inbox)
    made.propose()
    made.receive()
    made.commit()
    made.turn()
    assert made.run is not None
    made.run.inputs.receive(stale[1], decode_data)  # an answer that was on its way
    transition = made.propose()
    assert transition is not None
    assert transition.events == ()


def test_an_outcome_nobody_waits_for_is_only_deleted() -> None:
    made = world([])
    made.store.send(message(RUN, "activity:9", ActivityTaskCompleted(id=9)))
    made.receive()
    transition = made.propose()
    assert transition is not None
    assert (transition.events, transition.consumed) == ((), (1,))


def test_the_second_of_two_outcomes_of_one_activity_is_only_deleted() -> None:
    made = world([ONE], local=False)
    step(made)
    made.store.send(message(RUN, "one", ActivityTaskCompleted(id=1, attempt=1)))
    made.store.send(message(RUN, "two", ActivityTaskCompleted(id=1, attempt=2)))
    made.receive()
    transition = made.propose()
    assert transition is not None
    assert kinds(transition.events) == ["Completed"]
    assert sorted(transition.consumed) == [1, 2]
    assert transition.activities_done == (1,)


def test_a_message_that_cannot_be_read_is_an_error_and_stays() -> None:
    made = world([])
    made.store.send(message(RUN, "m", WorkflowExecutionSignaled()))
    made.store.inbox[1] = type(made.store.inbox[1])(RUN, "m", 200, b"{}", 1)
    assert made.run is not None
    with pytest.raises(HistoryError):
        made.run.inputs.receive(made.store.inbox[1], decode_data)
    assert made.run.propose(made.store.now) is None


# ---------------------------------------------------------------- activities


def test_an_activity_that_waits_for_its_commit_starts_when_it_is_written() -> None:
    made = world([ONCE])
    assert made.run is not None
    assert made.attempts == {}
    assert made.run.waiting_for_commit == [ONCE]
    assert made.run.urgency(made.store.now) is Urgency.NOW
    proposed(made)
    assert made.run.waiting_for_commit == [ONCE]
    made.commit()
    assert made.attempts == {1: ONCE}
    assert not made.run.waiting_for_commit


def test_an_activity_that_cannot_run_here_is_a_row() -> None:
    made = world([ONE], local=False)
    transition = made.propose()
    assert transition is not None
    assert [(new.id, new.attempt, new.worker) for new in transition.activities] == [(1, 1, None)]
    assert made.run is not None
    assert made.run.written(5).queued == [""]


def test_a_result_is_not_dropped_that_comes_before_the_answer_to_what_it_was_asked_for_in() -> None:
    made = world([ONE], local=False)
    transition = made.propose()
    assert transition is not None
    made.store.write(transition)  # its answer is on its way, or lost and has to be read back
    made.claim_row(1)
    made.store.finish(1, 1, RESULT)
    made.receive()
    made.answer(Verdict.WRITTEN)
    assert step(made) == ["Completed"]
    assert not made.store.inbox
    assert not made.store.rows


def test_a_retry_is_a_row_and_no_event() -> None:
    made = world([ONE])
    ended(made, 1, BOOM)
    transition = made.propose()
    assert transition is not None
    assert kinds(transition.events) == ["Scheduled"]
    (new,) = transition.activities
    assert (new.id, new.attempt, new.due_in, new.worker) == (1, 2, 1_000_000, None)
    assert decode_progress(new.progress) == Progress((), BOOM.failure)


def test_a_heartbeat_gives_a_row_that_runs_here_and_its_result_comes_as_a_message() -> None:
    made = world([ONE], [END])
    made.give_row(1)
    transition = made.propose()
    assert transition is not None
    assert [(new.attempt, new.worker) for new in transition.activities] == [(1, "me")]
    made.commit()
    assert made.store.finish(1, 1, RESULT)
    made.receive()
    transition = made.propose()
    assert transition is not None
    assert (kinds(transition.events), transition.activities_done) == (["Completed"], (1,))


def test_the_end_of_an_attempt_that_has_a_row_is_not_taken_from_memory() -> None:
    made = world([ONE])
    made.give_row(1)
    assert made.run is not None
    made.run.asked.attempt_ended(ONE, RESULT, AttemptEnd(1, 0))
    transition = made.propose()
    assert transition is not None
    assert kinds(transition.events) == ["Scheduled"]


@pytest.mark.parametrize("written", ["before", "in flight", "after"])
def test_a_result_comes_before_during_or_after_the_commit_of_its_own_schedule(written: str) -> None:
    made = world([ONE], [END])
    if written != "before":
        proposed(made)
    if written == "in flight":
        ended(made)
    if written != "before":
        made.commit()
    if written != "in flight":
        ended(made)
    step(made)
    assert kinds(made.store.log) == ["Started", "Scheduled", "Completed"]


def test_a_cancelled_activity_is_not_tried_again() -> None:
    made = world([ONE], [ActivityTaskCancelRequested(id=1)])
    made.signal()
    made.receive()
    step(made)
    assert made.cancelled_here == [1]
    ended(made, 1, BOOM)
    assert step(made) == ["CancelRequested", "Failed"]


def test_a_cancel_of_an_activity_with_a_row_marks_the_row() -> None:
    made = world([ONE], [ActivityTaskCancelRequested(id=1)], local=False)
    step(made)
    made.signal()
    made.receive()
    step(made)
    transition = made.propose()
    assert transition is not None
    assert transition.activities_canceled == (1,)
    assert made.run is not None
    assert list(made.run.written(1).canceled) == [1]


def test_a_cancel_is_remembered_by_the_next_owner() -> None:
    made = world([ONE], [ActivityTaskCancelRequested(id=1)])
    made.signal()
    made.receive()
    step(made)
    step(made)
    made.crash()
    made.claim()
    # Lost, and asked to end: not tried again.
    assert step(made) == ["TimedOut"]


# ---------------------------------------------------------------- closing


def test_a_closing_task_releases_nothing() -> None:
    made = world([ONE, ONCE, END])
    assert (made.attempts, made.cancelled_here) == ({}, [])
    assert made.run is not None
    assert not made.run.waiting_for_commit
    made.receive()
    transition = made.propose()
    assert transition is not None
    assert transition.close is not None
    assert transition.activities == ()


def test_a_close_takes_no_more_inputs() -> None:
    made = world([ONE], [END])
    made.signal()
    made.receive()
    step(made)
    ended(made)
    made.signal()
    made.receive()
    assert proposed(made) == ["Completed"]


def refusing(*turns: Any) -> World:
    made = world(*turns)
    made.signal("early")
    made.receive()
    step(made)
    assert proposed(made)[-1] == "Completed"
    return made


def test_a_close_that_is_refused_over_a_signal_is_run_again_with_it() -> None:
    made = refusing([ONE], lambda inputs: [END] if len(inputs) < 2 else [TWO])
    made.signal("late")
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert kinds(made.in_flight.events) == ["Signaled"]
    assert made.in_flight.close is None
    made.commit()
    assert tasks(made) == [(1, "Started"), (1, "Scheduled"), (2, "Signaled"), (2, "Signaled")]
    assert 2 in made.attempts  # the task ran again, and now it asks for this
    made.check()


def test_a_close_that_is_refused_over_a_cancel_alone_is_written_behind_it() -> None:
    made = refusing([ONE], [END])
    made.cancel()
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert kinds(made.in_flight.events) == ["CancelRequested", "Completed"]
    made.commit()
    assert tasks(made)[-2:] == [(3, "CancelRequested"), (3, "Completed")]
    assert not made.store.open
    made.replay()


@pytest.mark.parametrize("signal_first", [True, False])
def test_a_close_that_is_refused_over_both(signal_first: bool) -> None:
    made = refusing([ONE], lambda inputs: [END] if len(inputs) < 2 else [])
    for send in (made.signal, made.cancel) if signal_first else (made.cancel, made.signal):
        send()
    made.commit()
    assert made.in_flight is not None
    assert kinds(made.in_flight.events) == ["Signaled"]
    made.commit()
    assert step(made) == ["CancelRequested"]
    made.check()


def test_a_close_may_be_refused_twice() -> None:
    made = refusing([ONE], lambda inputs: [END])
    made.signal()
    made.commit()
    made.commit()  # the signal joins, the code ends again
    made.signal()
    assert proposed(made) == ["Completed"]
    assert made.commit() is Verdict.REFUSED
    made.commit()
    assert proposed(made) == ["Completed"]
    assert made.commit() is Verdict.WRITTEN
    assert tasks(made)[2:] == [(2, "Signaled")] * 3 + [(2, "Completed")]
    made.replay()


def test_a_put_off_close_may_be_refused_over_a_signal_then() -> None:
    made = refusing([ONE], lambda inputs: [END])
    made.cancel()
    made.commit()
    made.signal()
    assert made.commit() is Verdict.REFUSED
    assert made.in_flight is not None
    assert kinds(made.in_flight.events) == ["Signaled"]
    made.settle()
    assert not made.store.open
    made.check()
    made.replay()


def test_a_refused_close_keeps_rows_results_and_what_was_to_be_deleted() -> None:
    made = world([ONE, TWO], lambda inputs: [END] if len(inputs) < 2 else [])
    assert made.run is not None
    early = made.signal("early")
    made.receive()
    proposed(made)
    ended(made, 1, BOOM)  # a retry: its row goes with the next transition
    made.commit()
    made.turn()
    made.repeat(early)
    made.receive()
    transition = made.propose()
    assert transition is not None
    assert (len(transition.activities), transition.consumed) == (1, (2,))
    ended(made, 2)  # meanwhile
    made.signal("late")
    assert made.commit() is Verdict.REFUSED
    made.settle()
    assert [one.id for one in (made.store.rows[1].new,)] == [1]
    assert made.store.rows[1].state is ActivityState.QUEUED
    assert not made.store.inbox
    assert kinds(made.store.log)[-1] == "Completed"  # the result of 2
    made.check()


def test_a_close_that_is_refused_over_a_message_that_is_gone_just_runs_again() -> None:
    made = refusing([ONE], lambda inputs: [END])
    run = made.run
    assert run is not None
    run.refused()
    assert run.reopen(made.store.now) is None
    assert run.closing is None


# ---------------------------------------------------------------- giving up and taking over


def test_a_release_writes_commands_and_says_when_to_wake() -> None:
    made = world([ONE, TimerStarted(id=2, duration=50)])
    start = made.store.now
    made.release()
    transition = made.in_flight
    assert transition is not None
    assert kinds(transition.events) == ["Scheduled", "TimerStarted"]
    assert [(new.id, new.worker) for new in transition.activities] == [(1, "me")]
    assert transition.release is not None
    assert (transition.release.wake_at, transition.release.wake_in) == (start + 50, None)


def test_a_release_with_results_and_messages_waiting_wakes_at_once_and_loses_neither() -> None:
    made = world([ONE, TimerStarted(id=2, duration=50)], [], [])
    ended(made)
    made.signal()
    made.receive()
    made.release()
    transition = made.in_flight
    assert transition is not None
    assert transition.release is not None
    assert (transition.release.wake_at, transition.release.wake_in) == (None, 0)
    assert [(one.message_id, one.internal) for one in transition.messages] == [("activity:1", True)]
    assert transition.consumed == ()
    made.commit()
    made.claim()
    made.settle()
    assert kinds(made.store.log)[3:] == ["Signaled", "Completed"]
    made.check()


def test_a_release_of_activities_that_wait_for_their_commit_queues_them() -> None:
    made = world([ONCE])
    made.release()
    transition = made.in_flight
    assert transition is not None
    assert [(new.id, new.attempt, new.worker) for new in transition.activities] == [(1, 1, None)]


def test_a_release_queues_an_attempt_that_is_not_to_be_made_and_says_so() -> None:
    made = world([ONE], [ActivityTaskCancelRequested(id=1)])
    made.signal()
    made.receive()
    proposed(made)
    ended(made, 1, BOOM)
    made.commit()
    made.turn()
    made.release()
    transition = made.in_flight
    assert transition is not None
    assert [(new.id, new.attempt) for new in transition.activities] == [(1, 2)]
    assert transition.activities_canceled == (1,)


def test_a_release_of_a_run_that_was_about_to_close_leaves_the_close_to_the_next_owner() -> None:
    made = world([ONE, END])
    made.release()
    transition = made.in_flight
    assert transition is not None
    assert transition.events == ()
    assert transition.release is not None
    assert transition.release.wake_in == 0
    made.commit()
    made.claim()
    made.settle()
    assert not made.store.open


def test_a_blocked_run_says_why_and_when() -> None:
    made = world([ONE])
    assert made.run is not None
    transition = made.run.release(hold=Hold.BLOCKED, reason="a bug", wake_in=7)
    assert transition.release is not None
    found = transition.release
    assert (found.hold, found.reason, found.wake_in, found.wake_at) == (Hold.BLOCKED, "a bug", 7, None)


def test_a_clean_release_leaves_nothing_to_be_counted_as_lost() -> None:
    made = world([ONE, TWO])
    ended(made, 2)
    made.release()
    made.commit()
    made.claim()
    assert made.run is not None
    made.settle()
    assert "TimedOut" not in kinds(made.store.log)
    assert made.store.rows[1].attempt == 1


def test_a_lost_attempt_is_an_attempt() -> None:
    made = world([ONE, ONCE_TWO], [], [])
    proposed(made)
    made.commit()
    made.crash()
    made.claim()
    transition = made.propose()
    assert transition is not None
    assert [(new.id, new.attempt) for new in transition.activities] == [(1, 2)]
    (timed_out,) = (decode_data(e.type, e.data) for e in transition.events)
    assert (timed_out.id, timed_out.retry_state) == (2, "maximum_attempts_reached")  # type: ignore[attr-defined]


ONCE_TWO = ActivityTaskScheduled(
    id=2, activity_id="2", activity_type="a", retry_policy=RetryPolicyData(maximum_attempts=1)
)


def test_an_attempt_whose_schedule_was_never_written_counts_too_but_one_that_waits_for_its_commit_does_not() -> (
    None
):
    made = world([ONE, ONCE_TWO])
    made.crash()
    made.claim()
    assert made.attempts == {}
    transition = made.propose()
    assert transition is not None
    assert kinds(transition.events) == ["Scheduled", "Scheduled"]
    assert [(new.id, new.attempt) for new in transition.activities] == [(1, 2)]
    made.commit()
    assert made.attempts == {2: ONCE_TWO}


def test_an_outcome_that_waits_in_the_inbox_is_not_a_lost_attempt() -> None:
    made = world([ONE], [END])
    proposed(made)
    made.commit()
    made.store.send(message(RUN, "activity:1", ActivityTaskCompleted(id=1)))
    made.crash()
    made.claim()
    made.settle()
    assert kinds(made.store.log) == ["Started", "Scheduled", "Completed", "Completed"]


# ---------------------------------------------------------------- deaths are taken back


def owned(deaths: int, *, held: bool = False) -> Run:
    started = Event(1, 1, 10, WorkflowExecutionStarted())
    return Run(RunState.of(RUN, [started]), 1, deaths=deaths, held=held)


def local(_: ActivityTaskScheduled) -> bool:
    return True


@pytest.mark.parametrize(("deaths", "urgency"), [(1, Urgency.SOON), (2, Urgency.NOW)])
def test_a_run_whose_owner_died_is_proven_once_its_code_has_run(deaths: int, urgency: Urgency) -> None:
    run = owned(deaths)
    assert run.unproven
    assert run.propose(20) is None
    run.commands([], local=local)
    assert run.urgency(20) is urgency
    transition = run.propose(20)
    assert transition is not None
    assert (transition.proven, transition.events) == (True, ())
    assert not run.unproven
    run.written(20)
    assert run.propose(20) is None


def test_a_run_that_was_blocked_is_freed_of_its_hold_by_running() -> None:
    run = owned(0, held=True)
    assert not run.unproven
    run.commands([], local=local)
    transition = run.propose(20)
    assert transition is not None
    assert transition.proven


def test_a_refused_close_is_no_proof() -> None:
    run = owned(2)
    run.commands([END], local=local)
    transition = run.propose(20)
    assert transition is not None
    assert transition.proven
    run.refused()
    assert run.unproven
    run.reopen(20)
    assert run.release().proven is False


def test_a_run_without_deaths_proves_nothing() -> None:
    run = owned(0)
    run.commands([ONE], local=local)
    transition = run.propose(20)
    assert transition is not None
    assert transition.proven is False


# ---------------------------------------------------------------- the fold


def fold(*data: EventData) -> RunState:
    state = RunState(RUN)
    task = 0
    before_was_command = True
    for seq, one in enumerate(data, 1):
        is_input = hasattr(one, "message")
        if is_input and before_was_command:
            task += 1
        before_was_command = not is_input
        state.extend(seq, task, 10 * task, [one])
    return state


def test_the_fold_of_everything() -> None:
    signal = WorkflowExecutionSignaled(message="m")
    state = fold(
        WorkflowExecutionStarted(seed=5),
        ONE,
        TWO,
        TimerStarted(id=3, duration=100),
        TimerStarted(id=4, duration=50),
        ActivityTaskCancelRequested(id=2),
        signal,
        ActivityTaskCompleted(id=1, message="activity:1"),
        TimerCanceled(id=4),
        WorkflowExecutionCancelRequested(message="c"),
    )
    assert (state.seq, state.task, state.time, state.task_time, state.trailing) == (10, 3, 30, 30, True)
    assert {id: pending.cancel_requested for id, pending in state.activities.items()} == {2: True}
    assert state.activities[2].scheduled_at == 10
    assert (state.timers, state.next_timer()) == ({3: 110}, 110)
    assert {*state.messages} == {"m", "activity:1", "c"}
    assert state.cancel_requested
    assert state.started.seed == 5


@pytest.mark.parametrize(
    "data",
    [
        (WorkflowExecutionStarted(), ActivityTaskCompleted(id=1)),
        (WorkflowExecutionStarted(), ONE, ActivityTaskCompleted(id=1), ActivityTaskCompleted(id=1)),
        (WorkflowExecutionStarted(), TimerFired(id=1)),
        (WorkflowExecutionStarted(), TimerStarted(id=1), TimerCanceled(id=1), TimerFired(id=1)),
        (WorkflowExecutionStarted(), END, WorkflowExecutionSignaled()),
        (WorkflowExecutionStarted(), WorkflowExecutionTerminated(), END),
    ],
)
def test_what_cannot_follow_is_corrupt(data: tuple[EventData, ...]) -> None:
    with pytest.raises(HistoryCorruptError):
        fold(*data)


def test_a_gap_is_corrupt() -> None:
    state = fold(WorkflowExecutionStarted())
    with pytest.raises(HistoryCorruptError):
        state.extend(3, 2, 20, [WorkflowExecutionSignaled()])


def test_every_transition_is_fenced_and_numbered() -> None:
    made = world([ONE], [])
    ended(made)
    transition: Transition | None = made.propose()
    assert transition is not None
    assert (transition.run_id, transition.epoch) == (RUN, made.store.epoch)
    assert [(event.seq, event.task) for event in transition.events] == [(2, 1), (3, 2)]
    assert [event.type for event in transition.events] == [
        EventType.ACTIVITY_TASK_SCHEDULED,
        EventType.ACTIVITY_TASK_COMPLETED,
    ]


def test_an_activity_that_obeyed_its_cancel_is_canceled() -> None:
    made = world([ONE], [ActivityTaskCancelRequested(id=1)])
    made.signal()
    made.receive()
    step(made)
    ended(made, 1, Canceled())
    assert step(made) == ["CancelRequested", "Canceled"]
