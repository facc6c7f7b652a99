"""What is on its way to the database, of one run."""

from __future__ import annotations

import msgspec

from durable._engine._state import RunState
from durable._engine._trial import Tried
from durable._engine.records import Transition
from durable.history import (
    ActivityTaskScheduled,
    CommandEvent,
    Event,
    EventData,
    Input,
)


class Flight(msgspec.Struct, gc=False):
    """A transition that is on its way, with what it was made of.

    Attributes:
        commands: What the task before asked for, but for what closes the run.
        inputs: Those of the next task, or none.
        task: The number of the inputs' task; without inputs, of the task before.
        start: Activities that wait for this commit.
        outgoing: Those of the commands that reach other workflows.
        size: Bytes of its events.
        tried: The task that was tried, if one was.
    """

    commands: list[CommandEvent]
    inputs: list[Input]
    task: int
    closing: EventData | None
    start: list[ActivityTaskScheduled]
    outgoing: list[CommandEvent]
    transition: Transition
    size: int = 0
    tried: Tried | None = None

    def land(self, state: RunState, now: int) -> list[Event]:
        """Fold what was committed into the run's state; `now` is the commit's time. Return the inputs of a task to be run."""
        transition, tried = self.transition, self.tried
        state.size += self.size
        time = max(now, transition.not_before) if transition.time is None else transition.time
        seq, before, task = state.seq, state.task, self.task
        for command in self.commands:
            seq += 1
            state.apply(seq, before, time, command)
        inputs: list[Event] = []
        for data in self.inputs:
            seq += 1
            state.apply(seq, task, time, data)
            inputs.append(Event(seq, task, time, data))
        if tried is not None:
            for command in tried.answers:
                seq += 1
                state.apply(seq, task, time, command)
            if tried.counted:
                inputs = []
        if self.closing is not None:
            state.apply(seq + 1, task, time, self.closing)
        return inputs


def holding_back(state: RunState, epoch: int, duration: int) -> Flight:
    """Return the flight of what keeps new messages away for a moment, so that a close can get through."""
    transition = Transition(state.run_id, epoch, hold_back=duration)
    return Flight([], [], state.task, None, [], [], transition)
