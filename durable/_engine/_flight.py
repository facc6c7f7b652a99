"""What is on its way to the database, of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from durable._engine._asked import Asked
from durable._engine._chain import Ending
from durable._engine._children import news_for_parent, outgoing
from durable._engine._run_info import upsert_of
from durable._engine._state import RunState
from durable._engine._trial import Tried
from durable._engine._updates import outcomes
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

    commands: Sequence[CommandEvent]
    inputs: Sequence[Input]
    task: int
    closing: EventData | None
    start: Sequence[ActivityTaskScheduled]
    outgoing: Sequence[CommandEvent]
    transition: Transition
    size: int = 0
    tried: Tried | None = None

    def land(self, state: RunState, now: int) -> Sequence[Event]:
        """Fold what was committed into the run's state; `now` is the commit's time. Return the inputs of a task to be run."""
        transition, tried, task, inputs = self.transition, self.tried, self.task, self.inputs
        state.size += self.size
        time = max(now, transition.not_before) if transition.time is None else transition.time
        if self.commands:
            state.extend(state.seq + 1, state.task, time, self.commands)
        first = state.seq + 1
        state.extend(first, task, time, inputs)
        if tried is not None:
            state.extend(state.seq + 1, task, time, tried.answers)
        if self.closing is not None:
            state.extend(state.seq + 1, task, time, (self.closing,))
        if tried is not None and tried.counted:
            return ()
        return [Event(seq, task, time, data) for seq, data in enumerate(inputs, first)]


def beside_events(
    state: RunState, asked: Asked, facts: Sequence[EventData], ending: Ending | None, tried: Tried | None
) -> dict[str, Any]:
    """Return what follows from a transition's events, for others: most have nothing, and pay for nothing.

    Its events are the commands that wait, and `facts`.
    """
    more: dict[str, Any] = {}
    if tried is not None or state.updates:
        told = outcomes([*asked.commands, *facts])
        if tried is not None:
            told.extend(tried.rejected)
            more["time"] = tried.trial.time if tried.counted else None
        more["outcomes"] = tuple(told)
    if asked.outgoing:
        more["starts"], more["sends"] = outgoing(
            state, asked.outgoing, closing=ending is not None, pinned_to=asked.pinned_to
        )
    if ending is not None:
        news = news_for_parent(state.started, ending.event)
        more["messages"] = () if news is None else (news,)
        more["close"] = ending.close
    if asked.upserts:
        more["upsert"] = upsert_of(state, [*asked.commands, *facts])
    return more


def holding_back(state: RunState, epoch: int, duration: int) -> Flight:
    """Return the flight of what keeps new messages away for a moment, so that a close can get through."""
    transition = Transition(state.run_id, epoch, hold_back=duration)
    return Flight((), (), state.task, None, (), (), transition)
