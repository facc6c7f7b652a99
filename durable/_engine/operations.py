"""What crosses the port when an operator does something to a run; see `records`."""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from durable._engine.records import ActivityState, Anew, Close, Message, NewActivity, UpdateOutcome
from durable.history import EventRow, Payload


class Operated(IntEnum):
    """What became of something that an operator asked for."""

    CHANGED = 1
    UNCHANGED = 2
    """It is so already, or cannot be done to a run in this state."""
    CLOSED = 3
    NOT_FOUND = 4


class ActivityChange(Struct, frozen=True, gc=False):
    """What an operator makes of an activity's row, written only while that is as it was read.

    Attributes:
        state: The state the row must be in.
        attempt: Its attempt, likewise.
        revision: Its revision, likewise; it goes up by one.
        paused_at: Since when it is paused, None if it is not.
        pause_reason: Why, for people.
        base: From which attempt people count.
        anew: Whether it begins again behind the attempt that runs.
        due_at: When it may be claimed; counts for a QUEUED row only, and so does `deadline`.
        scheduled: The encoded `ActivityTaskScheduled`, with other options perhaps.
        progress: What the next attempt is told; None to leave it.
        cancel: Whether its cancellation is requested from now on, and `cancel_reason` why, for people.
    """

    run_id: str
    id: int
    state: ActivityState
    attempt: int
    revision: int
    paused_at: int | None
    pause_reason: str
    base: int
    anew: Anew
    due_at: int
    deadline: int | None
    start_by: int | None
    close_by: int | None
    start_to_close: int | None
    heartbeat: int | None
    task_queue: str
    scheduled: bytes
    progress: bytes | None = None
    cancel: bool = False
    cancel_reason: str = ""


class Reset(Struct, frozen=True, gc=False):
    """A run to be created that goes on for another one, its base, from a point in that one's history.

    Its row is the base's but for what is said here; so are its first `cut` events, with their times.

    Attributes:
        run_id: Its id.
        base_run_id: The run it is made from, open or closed.
        cut: How many events of that run it begins with.
        started: The facts of the first of them, as they stand in the new run.
        event: What comes behind them: that it was reset. `time` is ignored, the store stamps the database's.
        first_run_id: The first run of the base's chain.
        run_timeout: How long until it is timed out, None for never.
        close: How the open run ends in whose place it comes, at the position that is free there; None without one.
        messages: What is in its inbox from the start, in order. Their `run_id` is ignored.
        activities: Rows of its open activities.
        activities_canceled: Ids of those of them whose cancellation had been requested.
        outcomes: What became of the updates in its history.
        info: What lists and descriptions show of it beside its row, see `NewRun`.
        attributes: The search attributes it is found by.
        moves_updates: Whether updates of the run that ends, which have no outcome yet, are in its inbox: whoever waits for
            one looks there.
    """

    run_id: str
    base_run_id: str
    cut: int
    started: bytes
    event: EventRow
    first_run_id: str
    run_timeout: int | None = None
    close: tuple[EventRow, Close] | None = None
    messages: tuple[Message, ...] = ()
    activities: tuple[NewActivity, ...] = ()
    activities_canceled: tuple[int, ...] = ()
    outcomes: tuple[UpdateOutcome, ...] = ()
    info: bytes = b"{}"
    attributes: dict[str, Payload] = {}
    moves_updates: bool = False


class ResetView(Struct, frozen=True, gc=False):
    """What a reset is decided on, read behind the lock of the run that it ends.

    Attributes:
        now: The database's time.
        events: Of the open run: those behind the position that was asked for.
        messages: Its unread messages.
        children: The first run ids of those of the named children that are open. They belong to the new run already.
    """

    now: int
    events: tuple[EventRow, ...]
    messages: tuple[Message, ...]
    children: frozenset[str]
