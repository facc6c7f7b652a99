"""A task with unread updates, which is run before its inputs are committed.

An update may be refused by the code, and a refused one leaves no event. So what the log will hold is known only when the
code has run: the one exception to the law that an input is applied only after it is committed. It is safe because all
that waits is durable already (in the inbox, or in this worker's hands as any result), and because nothing of the task is
released, to nobody, before the one transition is committed that holds its inputs, its commands and the updates' outcomes.
If that transition does not come about, the instance is thrown away, and the inputs wait as before.

When all of its updates are refused the task does not count. The refusals are written, its other inputs become a task like
any other, and the code is run with these, as if no update had been there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from durable._engine._activities import ActivityInputEvent
from durable._engine._inputs import Inputs
from durable._engine._state import RunState
from durable._engine.records import UpdateOutcome
from durable.history import CommandEvent, Event, Failure, Input, WorkflowExecutionUpdateAccepted, encode_data


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
        updates: How many of its inputs are updates.
        size: Bytes of the history before it.
    """

    inputs: list[Input]
    events: list[Event]
    task: int
    time: int
    closing: CommandEvent | None
    consumed: Sequence[int]
    results: dict[int, ActivityInputEvent]
    messages: dict[int, Input]
    cancels: dict[int, Input]
    updates: int
    size: int

    def counts(self, rejected: Mapping[str, Failure]) -> bool:
        """Whether an update was accepted, so that the task is one."""
        return len(rejected) < self.updates


class Tried(msgspec.Struct, gc=False):
    """What became of a trial.

    Attributes:
        trial: The task.
        counted: Whether it is written as it was tried, since an update was accepted.
        answers: What it asked for, behind its inputs.
        cancel: Activities that it cancelled.
        rejected: The outcomes of the updates that it refused.
    """

    trial: Trial
    counted: bool
    answers: Sequence[CommandEvent]
    cancel: Sequence[int]
    rejected: Sequence[UpdateOutcome]


def begin(
    waiting: Inputs,
    state: RunState,
    task: int,
    now: int,
    *,
    commands: Sequence[CommandEvent],
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
        commands: Those of the task before that are not in the log yet.
        fresh: Whether the run's first task has not run: then it is this one.
        closing: What closes the run, if its code has come to its end.
    """
    late = closing is not None
    if late and not waiting.only_late:
        return []
    before, waiting.consumed = waiting.consumed, ()
    results, messages, cancels = waiting.results, waiting.messages, waiting.cancels
    inputs = waiting.take_late() if late else waiting.next_task(now)
    updates = sum(isinstance(one, WorkflowExecutionUpdateAccepted) for one in inputs)
    if not updates:
        waiting.consumed = [*before, *waiting.consumed]
        return inputs
    # A message ends the delay of a start; no other task is before that delay's end.
    time = max(now, state.time) if fresh else max(now, state.time, state.task_time)
    first = state.seq + len(commands) + 1
    events = [Event(seq, task, time, data) for seq, data in enumerate(inputs, first)]
    if fresh:
        events.insert(0, Event(state.seq, task, state.time, state.started))
    return Trial(
        inputs=inputs,
        events=events,
        task=task,
        time=time,
        closing=closing,
        consumed=before,
        results={} if late else results,
        messages=messages,
        cancels=cancels,
        updates=updates,
        size=0 if fresh else state.size + sum(len(encode_data(command)) for command in commands),
    )


def take_back(waiting: Inputs, trial: Trial) -> None:
    """Let the inputs of a task that did not come about wait again, before what has come since."""
    taken = trial.messages if trial.closing is None else trial.messages | trial.cancels
    waiting.consumed = [position for position in waiting.consumed if position not in taken]
    waiting.put_back(trial.results, trial.messages, trial.cancels)
