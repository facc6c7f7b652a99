"""Giving a run up: what waits is written, so that whoever owns it next finds all of it, or at least is not lost."""

from __future__ import annotations

from durable._engine._activities import ActivityInputEvent, message_of, row
from durable._engine._asked import Asked
from durable._engine._children import outgoing
from durable._engine._flight import Flight
from durable._engine._inputs import Inputs
from durable._engine._run_info import upsert_of
from durable._engine._state import RunState
from durable._engine._trial import Trial
from durable._engine._updates import outcomes
from durable._engine.records import Release, Transition
from durable.history import encode_row


def unwritten_results(inputs: Inputs, trial: Trial | None, flight: Flight | None) -> list[ActivityInputEvent]:
    """Return the outcomes of activities that are in no inbox and not in the log."""
    flying = () if flight is None else flight.inputs
    return [
        *(() if trial is None else trial.results.values()),
        *inputs.results.values(),
        *(data for data in flying if isinstance(data, ActivityInputEvent) and not data.message),
    ]


def release(
    state: RunState, epoch: int, asked: Asked, inputs: Inputs, release: Release, *, proven: bool
) -> Transition:
    """Return the transition with which a run is given up.

    Args:
        state: Its log.
        epoch: The fence of the ownership that ends.
        asked: What its code has asked for and is not written.
        inputs: What has come for it.
        release: When it must be claimed again, and why not before.
        proven: Whether its code has run as far as the log goes.
    """
    for scheduled in asked.after_commit:
        if scheduled.local is None:
            asked.add_row(row(scheduled, state.task_time))
    starts, sends = outgoing(state, asked.outgoing, closing=False, pinned_to=asked.pinned_to)
    rows = tuple(
        encode_row(seq, state.task, command) for seq, command in enumerate(asked.commands, state.seq + 1)
    )
    return Transition(
        run_id=state.run_id,
        epoch=epoch,
        events=rows,
        not_before=state.time,
        activities=tuple(asked.rows.values()),
        activities_canceled=tuple(asked.canceled_rows),
        # A result that has come goes to the run's own inbox: its attempt must not count as lost.
        messages=tuple(message_of(state.run_id, result) for result in inputs.results.values()),
        outcomes=tuple(outcomes(asked.commands)) if state.updates else (),
        starts=starts,
        sends=sends,
        upsert=upsert_of(state, asked.commands) if asked.upserts else None,
        release=release,
        proven=proven,
    )
