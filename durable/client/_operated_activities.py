"""What operators do to the activities of a run: find those that are meant, make each reachable, and change it.

An activity that runs beside its workflow has no row, and a row is what an operator changes. So the run's owner is asked,
through the table of queries, to give it one; when that is there, or the activity has ended, it goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from durable._engine._operated import NewOptions, pause, reset, unpause, update_options
from durable._engine._state import RunState
from durable._engine.operations import ActivityChange
from durable._internal.ids import check_flag, check_name, check_note
from durable._internal.instants import Duration, to_duration
from durable.activity._activity import Activity
from durable.client._addressed import Addressed, R_co, W_co
from durable.client._connection import Connection
from durable.client._inside import CLOSED
from durable.client._jitter import drawn
from durable.client._rows_wanted import RowsWanted
from durable.common import RetryPolicy
from durable.exceptions import ActivityNotFoundError, WorkflowNotFoundError
from durable.history import ActivityTaskScheduled, decode_history, encode_retry_policy
from durable.store import ActivityRecord, ActivityState, Deed, Hint, HintKind, RunRecord, RunStatus

PATIENCE = 10.0
"""Seconds for which the owner of a run is asked to make an activity reachable that runs beside it."""

FIRST_LOOK, LONGEST_PAUSE = 0.005, 0.1
"""Seconds between two looks whether it has, doubled each time."""

SHOWN_WITHIN = 0.5
"""Seconds after which what runs stands in the log: one that has just begun shows a moment later."""

Change = Callable[[ActivityRecord, ActivityTaskScheduled], ActivityChange | None]
"""Makes a change of a row and of what the activity was scheduled with; None when there is nothing to change."""


class Operating:
    """One operation on activities of one run."""

    def __init__(
        self,
        connection: Connection,
        run: RunRecord,
        what: str,
        wanted: Callable[[ActivityTaskScheduled], bool],
        deed: Deed,
    ) -> None:
        self._connection = connection
        self._run = run
        self._what = what
        self._wanted = wanted
        self._deed = deed
        self._rows = RowsWanted(connection, run.run_id, run.workflow_type, run.task_queue)

    async def change(self, make: Change) -> None:
        """Change all that are meant.

        Raises:
            ActivityNotFoundError: None is open; or one could not be reached in time.
        """
        loop = asyncio.get_running_loop()
        shown, look = loop.time() + SHOWN_WITHIN, FIRST_LOOK
        while not (open_ones := await self._open()):
            if loop.time() > shown:
                raise self._not_found(f"there is no open activity {self._what}")
            await asyncio.sleep(look)
            look = min(2 * look, LONGEST_PAUSE)
        until, look = loop.time() + PATIENCE, FIRST_LOOK
        reached = 0
        while open_ones:
            done, queues = await self._change_rows(open_ones, make)
            reached += len(done)
            for id in done:
                del open_ones[id]
            self._connection.store.hint([Hint(HintKind.ACTIVITY, queue) for queue in queues])
            if not open_ones:
                break
            still = await self._open()
            open_ones = {id: one for id, one in open_ones.items() if id in still}
            if not open_ones:
                break
            if loop.time() > until:
                raise self._not_found(
                    f"an activity {self._what} runs beside its workflow, whose worker has not made it reachable within "
                    f"{PATIENCE:g} s"
                )
            await self._rows.ask(list(open_ones))
            await asyncio.sleep(look)
            look = min(2 * look, LONGEST_PAUSE)
        if not reached:
            raise self._not_found(f"activity {self._what} has just ended")

    async def _open(self) -> dict[int, ActivityTaskScheduled]:
        store, run_id = self._connection.store, self._run.run_id
        state = RunState.of(
            run_id, decode_history(await self._connection.patiently(lambda: store.read_events(run_id)))
        )
        if state.status is not RunStatus.RUNNING:
            # What was open then has ended with it.
            return {}
        found = {
            id: pending.scheduled
            for id, pending in state.activities.items()
            if self._wanted(pending.scheduled)
        }
        reachable = {id: scheduled for id, scheduled in found.items() if scheduled.local is None}
        if found and not reachable:
            raise self._not_found(
                f"activity {self._what} is a local one: nobody but the worker of its workflow knows of it"
            )
        return reachable

    async def _change_rows(
        self, scheduled: dict[int, ActivityTaskScheduled], make: Change
    ) -> tuple[list[int], set[str]]:
        """Change those of these activities that have rows; return which, and the queues that have work now."""
        store, run_id = self._connection.store, self._run.run_id
        rows = await self._connection.patiently(lambda: store.read_activities(run_id))
        done: list[int] = []
        changes: list[ActivityChange] = []
        for row in rows:
            if row.id not in scheduled or row.state is ActivityState.DONE:
                continue
            if row.fault is not None:
                raise row.fault
            change = make(row, scheduled[row.id])
            if change is None:
                done.append(row.id)
            else:
                changes.append(change)
        answers = (
            await self._connection.patiently(lambda: store.change_activities(changes, deed=self._deed))
            if changes
            else []
        )
        written = [change for change, changed in zip(changes, answers, strict=True) if changed]
        done += [change.id for change in written]
        return done, {change.task_queue for change in written if change.paused_at is None}

    def _not_found(self, text: str) -> ActivityNotFoundError:
        run = self._run
        return ActivityNotFoundError(
            f"workflow {run.workflow_id!r}: {text}",
            activity_id=self._what,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
        )


def pausing(reason: str) -> Change:
    """Return what pauses an activity."""
    check_note(reason, "reason")
    return lambda row, scheduled: pause(row, reason)


def unpausing(reset_attempts: bool, reset_heartbeats: bool, jitter: Duration) -> Change:
    """Return what lets a paused activity go on."""
    check_flag(reset_attempts, "reset_attempts")
    check_flag(reset_heartbeats, "reset_heartbeats")
    within = to_duration(jitter, "jitter")
    return lambda row, scheduled: unpause(
        row, reset_attempts=reset_attempts, reset_heartbeats=reset_heartbeats, wait=drawn(within)
    )


def resetting(reset_heartbeats: bool, keep_paused: bool, restore_options: bool, jitter: Duration) -> Change:
    """Return what sends an activity back to its first attempt."""
    check_flag(reset_heartbeats, "reset_heartbeats")
    check_flag(keep_paused, "keep_paused")
    check_flag(restore_options, "restore_original_options")
    within = to_duration(jitter, "jitter")
    return lambda row, scheduled: reset(
        row,
        reset_heartbeats=reset_heartbeats,
        keep_paused=keep_paused,
        wait=drawn(within),
        original=scheduled if restore_options else None,
    )


def updating(
    task_queue: str | None,
    timeouts: dict[str, Duration | None],
    retry_policy: RetryPolicy | None,
    restore_original: bool,
) -> Change:
    """Return what gives an activity other options.

    Raises:
        ValueError: Nothing is said, or a value is out of range.
        TypeError: A value is of a wrong type.
    """
    check_flag(restore_original, "restore_original")
    if retry_policy is not None and not isinstance(retry_policy, RetryPolicy):
        raise TypeError(f"retry_policy must be a RetryPolicy, not {type(retry_policy).__name__}")
    new = NewOptions(
        task_queue=None if task_queue is None else check_name(task_queue, "task_queue"),
        retry_policy=None if retry_policy is None else encode_retry_policy(retry_policy),
        **{
            name: None if value is None else to_duration(value, f"{name}_timeout")
            for name, value in timeouts.items()
        },
    )
    if new == NewOptions() and not restore_original:
        raise ValueError("update_activity_options() needs an option to change, or restore_original=True")
    return lambda row, scheduled: update_options(row, new, scheduled if restore_original else None)


class OperatesOnActivities(Addressed[W_co, R_co]):
    """The part of a handle that is for those who operate activities. None of it leaves an event, as in Temporal."""

    async def pause_activity(
        self, *, id: str | None = None, type: str | Activity[..., object] | None = None, reason: str = ""
    ) -> None:
        """Keep an open activity from being tried (again), until it is unpaused.

        An attempt under way goes on; if it sends heartbeats it is told (`activity.cancellation_details().paused`), and one
        that ends because of that uses no attempt up. If it completes, the activity has completed. The schedule-to-close
        timeout runs on; time in which it waits paused does not count for schedule-to-start. Paused again nothing changes.

        Args:
            id: The activity's id in the workflow.
            type: Instead: all open activities of this type, a definition or its name.
            reason: Why, for people; `describe` shows it.

        Raises:
            ActivityNotFoundError: None is open that is meant; or one runs beside its workflow, and its worker did not
                answer within 10 seconds.
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ValueError: Neither `id` nor `type` is given, or both.
            StoreUnavailableError: The database is away; ask again.
        """
        await self._operate_on(id, type, "pause_activity", pausing(reason), reason)

    async def unpause_activity(
        self,
        *,
        id: str | None = None,
        type: str | Activity[..., object] | None = None,
        reset_attempts: bool = False,
        reset_heartbeats: bool = False,
        jitter: Duration = 0,
    ) -> None:
        """Let a paused activity go on: it may be claimed at once, whatever its back-off was. One not paused is left alone.

        Args:
            id: The activity's id in the workflow.
            type: Instead: all open activities of this type.
            reset_attempts: Whether its attempts are counted from 1 again; behind the one under way, if there is one.
            reset_heartbeats: Whether the next attempt is told nothing of what heartbeats said.
            jitter: Within how long of now a waiting one starts, by chance: against all at once. A `timedelta`, or seconds.

        Raises:
            ActivityNotFoundError: As for `pause_activity`.
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ValueError: Neither `id` nor `type` is given, or both, or the jitter is out of range.
            StoreUnavailableError: The database is away; ask again.
        """
        change = unpausing(reset_attempts, reset_heartbeats, jitter)
        await self._operate_on(id, type, "unpause_activity", change)

    async def reset_activity(
        self,
        *,
        id: str | None = None,
        type: str | Activity[..., object] | None = None,
        reset_heartbeats: bool = False,
        keep_paused: bool = False,
        restore_original_options: bool = False,
        jitter: Duration = 0,
    ) -> None:
        """Send an open activity back to its first attempt, without any back-off; a paused one goes on.

        An attempt under way goes on; if it sends heartbeats it is told (`activity.cancellation_details().reset`). When it
        ends without a result the first attempt follows, unless the failure is one that is never retried.

        Args:
            id: The activity's id in the workflow.
            type: Instead: all open activities of this type.
            reset_heartbeats: Whether the next attempt is told nothing of what heartbeats said.
            keep_paused: Whether a paused one stays paused.
            restore_original_options: Whether it has the options again that the workflow gave it.
            jitter: Within how long of now a waiting one starts, by chance. A `timedelta`, or seconds.

        Raises:
            ActivityNotFoundError: As for `pause_activity`.
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ValueError: Neither `id` nor `type` is given, or both, or the jitter is out of range.
            StoreUnavailableError: The database is away; ask again. A reset that is asked for twice is one.
        """
        change = resetting(reset_heartbeats, keep_paused, restore_original_options, jitter)
        await self._operate_on(id, type, "reset_activity", change)

    async def update_activity_options(
        self,
        *,
        id: str | None = None,
        type: str | Activity[..., object] | None = None,
        task_queue: str | None = None,
        schedule_to_close_timeout: Duration | None = None,
        schedule_to_start_timeout: Duration | None = None,
        start_to_close_timeout: Duration | None = None,
        heartbeat_timeout: Duration | None = None,
        retry_policy: RetryPolicy | None = None,
        restore_original: bool = False,
    ) -> None:
        """Give an open activity other options; what is left out, or None, stays. A timeout of 0 takes it away.

        They hold from its next attempt on. What follows the attempt under way is decided by the new retry policy; its
        limits stay, though a shorter one may meet it with its next heartbeat. A back-off that has begun is not changed.

        Args:
            id: The activity's id in the workflow.
            type: Instead: all open activities of this type.
            task_queue: The queue whose workers run it.
            schedule_to_close_timeout: The longest that all attempts may take together, from when it was asked for.
            schedule_to_start_timeout: The longest wait for its first attempt.
            start_to_close_timeout: The longest that one attempt may take.
            heartbeat_timeout: The longest silence between two heartbeats.
            retry_policy: How often and how fast a failed attempt is followed by another one.
            restore_original: Whether it first gets those options again that the workflow gave it.

        Raises:
            ActivityNotFoundError: As for `pause_activity`.
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            ValueError: Neither `id` nor `type` is given, or both, or nothing to change; a value is out of range; or there
                would be neither a start-to-close nor a schedule-to-close timeout.
            StoreUnavailableError: The database is away; ask again.
        """
        timeouts = {
            "schedule_to_close": schedule_to_close_timeout,
            "schedule_to_start": schedule_to_start_timeout,
            "start_to_close": start_to_close_timeout,
            "heartbeat": heartbeat_timeout,
        }
        change = updating(task_queue, timeouts, retry_policy, restore_original)
        await self._operate_on(id, type, "update_activity_options", change)

    async def _operate_on(
        self,
        id: str | None,
        type: str | Activity[..., object] | None,
        caller: str,
        make: Change,
        reason: str = "",
    ) -> None:
        if (id is None) == (type is None):
            raise ValueError(f"{caller}() takes the activity's id= or a type=, one of them")
        name = type.definition.name if isinstance(type, Activity) else type
        if id is not None:
            check_name(id, "id")
        else:
            check_name(name, "type")

        def wanted(scheduled: ActivityTaskScheduled) -> bool:
            return scheduled.activity_id == id if id is not None else scheduled.activity_type == name

        record = await self._find(self.run_id)
        self._check_chain(record)
        if record.closed_at is not None:
            raise WorkflowNotFoundError(
                f"workflow {self.id!r}: {CLOSED}", workflow_id=self.id, run_id=record.run_id
            )
        what = repr(id) if id is not None else f"of type {name!r}"
        deed = self._connection.deed(caller, self.id, reason, what)
        await Operating(self._connection, record, what, wanted, deed).change(make)
