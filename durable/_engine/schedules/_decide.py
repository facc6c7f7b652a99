"""What a schedule does now: a pure fold over its progress.

Every nominal instant behind the schedule's creation is decided once, in order, and the cursor is where that has come to.
Each is then in exactly one place: taken, waiting in the buffer, or counted (skipped for an overlap, dropped, found too
late). Only what falls into a time in which the schedule did not act, paused or out of actions, is passed over in silence,
as in Temporal.

A decision's work is bounded: what does not fit is left for the next, and `wake` asks for it at once. The caller writes
the new progress and does the starts in one transaction; where it cannot, a repeated start is the same start, because the
run id is made of the schedule and the instant.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection
from itertools import islice

from msgspec import Struct
from msgspec.structs import replace

from durable._engine.schedules._overlap import MAX_BUFFER, resolve
from durable._engine.schedules.records import (
    Asked,
    PendingStart,
    RecentAction,
    RunningAction,
    ScheduleOverlapPolicy,
    ScheduleProgress,
    ScheduleRecord,
)
from durable._internal.instants import SECOND, to_datetime
from durable._timetables._times import Timetable, timetable
from durable.history import Failure, Payloads

MINIMUM_CATCHUP_WINDOW = 10 * SECOND
"""The shortest catch-up window, in microseconds: below it a short hiccup of the workers would lose actions. Temporal's."""

DUE_PER_DECISION = 100
"""How many nominal instants are taken in by one decision, so that catching up on a year does not make one transaction."""

BACKFILLED_PER_DECISION = 10
"""How many nominal instants of backfills are taken in by one decision. Temporal's number."""

BACKFILL_PAUSE = SECOND
"""How long until a backfill goes on, in microseconds, so that it does not crowd out what is due."""

RECENT = 10
"""How many of the last actions are kept, and of the next ones shown. Temporal's number."""


class Start(Struct, frozen=True, gc=False):
    """An action to be taken: start the schedule's workflow, with these.

    Attributes:
        nominal: The instant that the spec means.
        previous: The instant of the spec before that one, None when there is none: the data between the two is this one's.
        due: The instant at which it was due, with jitter.
        workflow_id: The action's id and the nominal instant.
        run_id: A digest of the schedule and the nominal instant, so that there is one run for the two.
        last_result: What the action before returned; empty under ALLOW_ALL.
        last_failure: What the action before failed with, None under ALLOW_ALL.
    """

    nominal: int
    previous: int | None
    due: int
    workflow_id: str
    run_id: str
    last_result: Payloads = ()
    last_failure: Failure | None = None


class Ask(Struct, frozen=True, gc=False):
    """A running action is to be cancelled or terminated. It is asked once for each."""

    workflow_id: str
    run_id: str
    what: Asked


class Decision(Struct, frozen=True, gc=False):
    """What is to be written and done.

    Attributes:
        progress: The schedule's progress from here on.
        starts: Workflows to start, in order.
        asks: Running workflows to cancel or terminate.
        wake: When to decide again, None for not before somebody asks or a running action ends. With a buffer, decide
            again when a running action ends, too.
        finished: Whether this schedule will never act again, unless somebody asks.
    """

    progress: ScheduleProgress
    starts: tuple[Start, ...]
    asks: tuple[Ask, ...]
    wake: int | None
    finished: bool


def decide(
    schedule: ScheduleRecord, progress: ScheduleProgress, *, now: int, running: Collection[str]
) -> Decision:
    """Return what a schedule does now.

    Args:
        schedule: What it is for.
        progress: What it has done.
        now: The database's time. A clock that goes back decides nothing twice.
        running: The run ids, among those in `progress.running`, whose chain of runs has not ended.

    Raises:
        ValueError: The spec cannot be read on this machine, for example because its time zone is missing.
    """
    times = timetable(schedule.spec)
    progress = replace(progress, running=tuple(one for one in progress.running if one.run_id in running))
    progress, pending = _due(schedule, times, progress, now)
    progress, backfilled = _backfilled(times, progress, {one.nominal for one in pending})
    progress, starts, asks = _settle(
        schedule, times, progress, [*progress.buffer, *pending, *backfilled], now
    )
    wake = _wake(times, progress, now)
    busy = wake is not None or progress.buffer or progress.running or progress.standing.paused
    return Decision(progress, starts, asks, wake, finished=not busy)


def _due(
    schedule: ScheduleRecord, times: Timetable, progress: ScheduleProgress, now: int
) -> tuple[ScheduleProgress, list[PendingStart]]:
    """Take in what has become due; count what comes too late; pass over what falls into a pause."""
    if not progress.standing.acts:
        return replace(progress, cursor=passed(times, progress, now)), []
    window = max(schedule.policy.catchup_window, MINIMUM_CATCHUP_WINDOW)
    cursor = passed(times, progress, now - window - 1)
    missed = times.count(progress.cursor, cursor)
    pending: list[PendingStart] = []
    for nominal in islice(times.between(cursor, now), DUE_PER_DECISION):
        due = times.due(progress.schedule_id, nominal)
        if due > now:
            break
        pending.append(PendingStart(nominal, due))
        cursor = nominal
    return replace(progress, cursor=cursor, missed_catchup=progress.missed_catchup + missed), pending


def passed(times: Timetable, progress: ScheduleProgress, until: int) -> int:
    """Return where the cursor is when everything due up to and including an instant has been decided."""
    first = times.next(progress.cursor)
    if first is None or times.due(progress.schedule_id, first) > until:
        return progress.cursor
    return times.last_due(progress.schedule_id, until) or progress.cursor


def _backfilled(
    times: Timetable, progress: ScheduleProgress, known: set[int]
) -> tuple[ScheduleProgress, list[PendingStart]]:
    """Take in the next portion of the backfills. They may fill half of the buffer, so that what is due has room."""
    backfills = list(progress.backfills)
    known |= {one.nominal for one in progress.buffer}
    pending: list[PendingStart] = []
    while backfills and (room := _backfill_room(progress) - len(pending)) > 0:
        first = backfills[0]
        found = list(islice(times.between(first.after, first.until), room))
        # What waits already is not taken twice.
        pending += [
            PendingStart(nominal, nominal, first.overlap, manual=True)
            for nominal in found
            if nominal not in known
        ]
        if len(found) < room:
            del backfills[0]
        else:
            backfills[0] = replace(first, after=found[-1])
            break
    return replace(progress, backfills=tuple(backfills)), pending


def _backfill_room(progress: ScheduleProgress) -> int:
    return BACKFILLED_PER_DECISION if len(progress.buffer) < MAX_BUFFER // 2 else 0


def _settle(
    schedule: ScheduleRecord,
    times: Timetable,
    progress: ScheduleProgress,
    pending: list[PendingStart],
    now: int,
) -> tuple[ScheduleProgress, tuple[Start, ...], tuple[Ask, ...]]:
    """Take what may be taken, keep what has to wait, and count the rest."""
    starts: list[Start] = []
    asks: list[Ask] = []
    while pending:
        found = resolve(pending, schedule.policy.overlap, running=bool(progress.running))
        chosen = () if found.chosen is None else (found.chosen,)
        progress = replace(
            progress,
            buffer=found.waiting,
            skipped_overlap=progress.skipped_overlap + found.skipped,
            buffer_dropped=progress.buffer_dropped + found.dropped,
        )
        for one in (*found.overlapping, *chosen):
            if one.manual or progress.standing.acts:
                start = _start(schedule, times, progress, one)
                starts.append(start)
                progress = _taken(progress, one, start, now, tracked=one is found.chosen)
            else:
                # It waited for its turn, and at its turn the schedule no longer acts.
                progress = replace(progress, buffer_dropped=progress.buffer_dropped + 1)
        progress, asked = _asked(progress, found.asks)
        asks += asked
        if progress.running or not chosen:
            break
        pending = list(progress.buffer)
    return progress, tuple(starts), tuple(asks)


def _start(
    schedule: ScheduleRecord, times: Timetable, progress: ScheduleProgress, one: PendingStart
) -> Start:
    policy = one.overlap or schedule.policy.overlap
    alone = policy is ScheduleOverlapPolicy.ALLOW_ALL
    return Start(
        nominal=one.nominal,
        previous=times.previous(one.nominal),
        due=one.due,
        workflow_id=workflow_id(schedule.action.workflow_id, one.nominal),
        run_id=run_id(progress.schedule_id, progress.created_at, one.nominal),
        last_result=() if alone else progress.last_result,
        last_failure=None if alone else progress.last_failure,
    )


def _taken(
    progress: ScheduleProgress, one: PendingStart, start: Start, now: int, *, tracked: bool
) -> ScheduleProgress:
    standing = progress.standing
    if standing.limited_actions and not one.manual:
        standing = replace(standing, remaining_actions=standing.remaining_actions - 1)
    recent = RecentAction(one.due, now, start.workflow_id, start.run_id)
    running = (RunningAction(start.workflow_id, start.run_id),) if tracked else ()
    return replace(
        progress,
        standing=standing,
        num_actions=progress.num_actions + 1,
        recent=(*progress.recent, recent)[-RECENT:],
        running=progress.running + running,
    )


def _asked(progress: ScheduleProgress, what: Asked) -> tuple[ScheduleProgress, list[Ask]]:
    """Ask those that run, unless they were asked for as much before."""
    asks = [Ask(one.workflow_id, one.run_id, what) for one in progress.running if one.asked < what]
    if not asks:
        return progress, asks
    running = tuple(replace(one, asked=max(one.asked, what)) for one in progress.running)
    return replace(progress, running=running), asks


def _wake(times: Timetable, progress: ScheduleProgress, now: int) -> int | None:
    instants: list[int] = []
    if progress.standing.acts and (nominal := times.next(progress.cursor)) is not None:
        instants.append(max(now, times.due(progress.schedule_id, nominal)))
    if progress.backfills and _backfill_room(progress):
        instants.append(now + BACKFILL_PAUSE)
    return min(instants, default=None)


def upcoming(
    schedule: ScheduleRecord, progress: ScheduleProgress, now: int, limit: int = RECENT
) -> tuple[int, ...]:
    """Return when the next actions are due, no more than remain.

    Of a schedule that is paused it is what it would do if it were not from now on; of one that was not looked at for a
    while, what is overdue comes first.
    """
    standing = progress.standing
    if standing.limited_actions:
        limit = min(limit, standing.remaining_actions)
    times = timetable(schedule.spec)
    cursor = progress.cursor if standing.acts else passed(times, progress, now)
    nominal = islice(times.between(cursor, None), max(0, limit))
    return tuple(times.due(progress.schedule_id, one) for one in nominal)


def workflow_id(prefix: str, nominal: int) -> str:
    """Return the id of the workflow that is started for a nominal instant: RFC 3339 in UTC behind the action's id.

    Instants of a spec are whole seconds, and read as Temporal writes them. Those of triggers are not, and keep their
    fraction, so that two triggers within a second are two workflows.
    """
    return f"{prefix}-{to_datetime(nominal).replace(tzinfo=None).isoformat()}Z"


def run_id(schedule_id: str, created_at: int, nominal: int) -> str:
    """Return the id of the run for a nominal instant: a UUID of version 7, of which the random part is a digest.

    A schedule that was deleted and made anew takes an instant again that the earlier one has taken.
    """
    digest = hashlib.sha256(f"durable schedule\0{schedule_id}\0{created_at}\0{nominal}".encode()).digest()
    value = (nominal // 1000 & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(digest[:10])
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))
