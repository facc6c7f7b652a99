"""A task with unread updates, which is run before its inputs are committed.

An update may be refused by the code, and a refused one leaves no event. So what the log will hold is known only when the
code has run: the one exception to the law that an input is applied only after it is committed. It is safe because all
that waits is durable already (in the inbox, or in this worker's hands as any result), and because nothing of the task is
released, to nobody, before the one transition is committed that holds its inputs, its commands and the updates' outcomes.
If that transition does not come about, the instance is thrown away, and the inputs wait as before.
"""

from __future__ import annotations

import msgspec

from durable._engine._activities import ActivityInputEvent
from durable._engine._inputs import Inputs
from durable._engine._state import RunState
from durable.history import CommandEvent, Event, Input, WorkflowExecutionUpdateAccepted


class Trial(msgspec.Struct, gc=False):
    """A task that is being tried.

    Attributes:
        inputs: What it would take in, in order.
        events: The task as the code is given it, under provisional positions; what is committed of it comes first.
        task: Its number.
        time: The instant it happens at, exactly.
        closing: The command that closes the run already, when these are updates that came behind it.
        consumed: Positions of messages that were to be deleted before it.
        results: Those of its inputs that have no message to be read again from.
        messages: The messages it takes, by position.
        cancels: The cancel requests it takes, by position.
    """

    inputs: list[Input]
    events: list[Event]
    task: int
    time: int
    closing: CommandEvent | None
    consumed: list[int]
    results: list[ActivityInputEvent]
    messages: dict[int, Input]
    cancels: dict[int, Input]


def begin(
    waiting: Inputs,
    state: RunState,
    task: int,
    now: int,
    *,
    commands: int,
    fresh: bool,
    closing: CommandEvent | None,
) -> Trial | list[Input]:
    """Take the next task of a run that has unread updates; return it as a trial, or its inputs if no update is among them.

    Behind a `closing` command only updates, and cancel requests beside them, make a task, and only when no signal waits:
    a signal must be read before the run closes, by the task that would close it.

    Args:
        waiting: The run's inputs.
        state: Its log.
        task: The number of the next task.
        now: The database's time, at most.
        commands: How many commands of the task before are not in the log yet.
        fresh: Whether the run's first task has not run: then it is this one.
        closing: What closes the run, if its code has come to its end.
    """
    late = closing is not None
    if late and not waiting.only_late:
        return []
    before, waiting.consumed = waiting.consumed, []
    results, messages, cancels = waiting.results, waiting.messages, waiting.cancels
    inputs = waiting.take_late() if late else waiting.next_task(now)
    if not any(isinstance(one, WorkflowExecutionUpdateAccepted) for one in inputs):
        waiting.consumed = before + waiting.consumed
        return inputs
    time = max(now, state.time, state.task_time)
    events = [Event(seq, task, time, data) for seq, data in enumerate(inputs, state.seq + commands + 1)]
    if fresh:
        events.insert(0, Event(state.seq, task, state.time, state.started))
    return Trial(
        inputs=inputs,
        events=events,
        task=task,
        time=time,
        closing=closing,
        consumed=before,
        results=[] if late else results,
        messages=messages,
        cancels=cancels,
    )


def take_back(waiting: Inputs, trial: Trial) -> None:
    """Let the inputs of a task that did not come about wait again, before what has come since."""
    taken = trial.messages if trial.closing is None else trial.messages | trial.cancels
    waiting.consumed = [position for position in waiting.consumed if position not in taken]
    waiting.put_back(trial.results, trial.messages, trial.cancels)
