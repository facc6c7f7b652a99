"""What operators do to a workflow by its handle: go back in it, pause it, free it, remove it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal, Self

from msgspec import structs

from durable._engine._messages import message
from durable._engine._reset import Excluded
from durable._internal.ids import check_flag, check_name, check_note, derived_uuid, uuid7
from durable._internal.shown import shown
from durable.client._addressed import Addressed, R_co, W_co
from durable.client._inside import CLOSED, UNKNOWN
from durable.client._patience import PATIENCE
from durable.client._reset import TO, Wanted, reset
from durable.client._versioning import check_override, check_served
from durable.common import VersioningOverride
from durable.exceptions import WorkflowNotFoundError, WorkflowStillOpenError
from durable.history import WorkflowExecutionOptionsUpdated
from durable.store import ANY_KEY, Hint, HintKind, Hold, Operated, RunRecord

FIRST_LOOK, LONGEST_PAUSE = 0.005, 0.1
"""Seconds between two looks whether the owner of a paused run has given it up."""


class OperatedByHandle(Addressed[W_co, R_co]):
    """The part of a handle that is for operators."""

    async def reset(
        self,
        *,
        event_id: int | None = None,
        to: Literal["first_task", "last_good_task"] | None = None,
        reason: str = "",
        exclude_signals: bool = False,
        exclude_updates: bool = False,
        request_id: str | None = None,
    ) -> Self:
        """Let the workflow go on from an earlier point, as another run, and return a handle for that.

        The new run begins with the history up to the point, and the task there runs again, with the code as it is now.
        An open run of the workflow is terminated in the same transaction. Activities that were open at the point start
        again; timers are due when they were; children that were open are the new run's from then on, and what others
        have ended with it is told. Signals and updates from behind the point are sent again, unread ones too; cancel
        requests are not. Random numbers differ from the point on. Timeouts of the workflow count anew. A closed run can
        be reset too. Whoever waits for the result of the old run is told that it was terminated.

        Args:
            event_id: The event to go back to, counted from 1. That is the last one kept if it is an input (the start, a
                result, a timer, a message); for something that the code asked for it is the input before, so that the
                code is asked again.
            to: Instead: "first_task" runs everything again, "last_good_task" the last task that was completed.
            reason: Why, for people.
            exclude_signals: Whether signals from behind the point are left out.
            exclude_updates: Whether updates are; those under way end with the old run.
            request_id: What makes asking again harmless: two resets of one run with one id are one.

        Raises:
            WorkflowNotFoundError: There is no such workflow.
            ValueError: There is no such event, or both or neither of `event_id` and `to` are given.
            HistoryError: The history cannot be read by this release.
            StoreUnavailableError: The database is away; with a `request_id` it can be asked again.
        """
        if (event_id is None) == (to is None):
            raise ValueError('say where to: either event_id=..., or to="first_task" or to="last_good_task"')
        if to is not None and (not isinstance(to, str) or to not in TO):
            raise ValueError(f"to must be one of {', '.join(map(repr, TO))}, not {shown(to)}")
        if event_id is not None and (isinstance(event_id, bool) or not isinstance(event_id, int)):
            raise TypeError(f"event_id must be the number of an event, not {shown(event_id)}")
        check_note(reason, "reason")
        request = uuid7() if request_id is None else check_name(request_id, "request_id")
        excluded = Excluded(
            check_flag(exclude_signals, "exclude_signals"), check_flag(exclude_updates, "exclude_updates")
        )
        return await self._reset(event_id, to or "", reason, excluded, request)

    async def _reset(
        self, event_id: int | None, to: str, reason: str, excluded: Excluded, request: str, batch_id: str = ""
    ) -> Self:
        record = await self._find_own()
        run_id = derived_uuid("durable reset", record.run_id, request)
        where = to if event_id is None else f"event {event_id}"
        await reset(
            self._connection,
            record,
            Wanted(
                run_id=run_id,
                event_id=event_id,
                to=to,
                excluded=excluded,
                deed=self._connection.deed("reset", self.id, reason, where, batch_id),
            ),
        )
        return type(self)(
            self._connection,
            self.id,
            result_run_id=run_id,
            first_execution_run_id=record.first_run_id,
            result_type=self._result_type,
        )

    async def pause(self, reason: str = "") -> None:
        """Stop the workflow where it is, until `unpause`: its code does not run, and no attempt of an activity begins.

        Once this returns that is stored. Attempts under way go on, and their results are kept, as are messages; timers
        that become due fire when it goes on. Queries are answered from the state it is in, timeouts pass, and it can be
        terminated. A workflow that is paused already stays so.

        Args:
            reason: Why, for people; `describe` shows it.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; it may or may not have been paused.
        """
        await self._pause(reason)

    async def _pause(self, reason: str, batch_id: str = "") -> Operated:
        check_note(reason, "reason")
        store = self._connection.store
        deed = self._connection.deed("pause", self.id, reason, batch_id=batch_id)
        record, outcome = await self._operate(lambda run_id: store.pause(run_id, reason, deed=deed))
        store.hint([Hint(HintKind.PAUSE, record.run_id)])
        until = asyncio.get_running_loop().time() + PATIENCE
        pause = FIRST_LOOK
        # Its owner may be in the middle of a step. One that is dead is found out, and nobody else takes the run.
        while asyncio.get_running_loop().time() < until:
            found = await self._find(record.run_id)
            if found.closed_at is not None:
                # It was about to: its last step was under way.
                raise WorkflowNotFoundError(
                    f"workflow {self.id!r}: {CLOSED}", workflow_id=self.id, run_id=record.run_id
                )
            if found.owner is None or found.hold is not Hold.PAUSED:
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        return outcome

    async def unpause(self, reason: str = "") -> None:
        """Let a paused workflow go on; one that is not paused is left alone.

        Args:
            reason: Why, for people; `Client.operator_log` shows it.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; it may or may not go on.
        """
        await self._free("unpause", reason, Hold.PAUSED)

    async def unblock(self, reason: str = "") -> None:
        """Let a workflow be tried again at once that is blocked by a fault of its code, or quarantined.

        A quarantined one is tried alone, in a worker of which nothing else depends; its next death quarantines it again.
        One that is neither is left alone.

        Args:
            reason: Why, for people; `Client.operator_log` shows it.

        Raises:
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; it may or may not be tried.
        """
        await self._free("unblock", reason, Hold.BLOCKED, Hold.QUARANTINED)

    async def update_options(self, *, versioning_override: VersioningOverride | None) -> None:
        """Set which version of the workers the workflow belongs to, whatever it says itself; None lifts that.

        Once this returns, only workers of the version that it belongs to now take it; one that has it in memory lets it go as
        soon as nothing of it is under way. Runs that follow it, and children, inherit a version that it is pinned to. This is
        how a run is helped whose version has no workers any more, or is broken; code of another version must be able to
        replay its history.

        Args:
            versioning_override: `PinnedVersioningOverride(version)`, `AutoUpgradeVersioningOverride()`, or None.

        Raises:
            ValueError: No worker of the version has ever served the workflow's task queue.
            WorkflowNotFoundError: There is no such workflow, or it is closed.
            StoreUnavailableError: The database is away; it may or may not be set.
        """
        override = check_override(versioning_override)
        store = self._connection.store
        if override:
            await check_served(self._connection, override, (await self._find(self.run_id)).task_queue)
        event = WorkflowExecutionOptionsUpdated(
            message=uuid7(), versioning_override=override, identity=self._connection.identity
        )
        told = structs.replace(message("", event.message, event), internal=True)
        deed = self._connection.deed("update_options", self.id, detail=override or "none")
        record, _ = await self._operate(
            lambda run_id: store.override(run_id, override, structs.replace(told, run_id=run_id), deed=deed)
        )
        store.hint(
            [
                Hint(HintKind.PAUSE, record.run_id),
                Hint(HintKind.MESSAGE, record.run_id),
                Hint(HintKind.RUN, record.task_queue),
                Hint(HintKind.ACTIVITY, record.task_queue),
            ]
        )

    async def delete(self, reason: str = "") -> None:
        """Remove a closed run for good: its history, its result, and whatever else is stored of it.

        What operators did to it stays in their log, and that it was deleted.

        Args:
            reason: Why, for people; `Client.operator_log` shows it.

        Raises:
            WorkflowNotFoundError: There is no such run (any more).
            WorkflowStillOpenError: It is open; terminate it before.
            StoreUnavailableError: The database is away; it may or may not have been removed.
        """
        await self._delete(reason)

    async def _delete(self, reason: str, batch_id: str = "") -> None:
        check_note(reason, "reason")
        record = await self._find_own()
        store = self._connection.store
        deed = self._connection.deed("delete", self.id, reason, batch_id=batch_id)
        outcome = await self._connection.patiently(lambda: store.purge(record.run_id, deed=deed))
        if outcome is Operated.UNCHANGED:
            raise WorkflowStillOpenError(self.id, record.run_id)

    async def _free(self, operation: str, reason: str, *holds: Hold, batch_id: str = "") -> Operated:
        check_note(reason, "reason")
        store = self._connection.store
        deed = self._connection.deed(operation, self.id, reason, batch_id=batch_id)
        record, outcome = await self._operate(lambda run_id: store.unpause(run_id, holds, deed=deed))
        store.hint([Hint(HintKind.RUN, record.task_queue), Hint(HintKind.ACTIVITY, ANY_KEY)])
        return outcome

    async def _operate(self, change: Callable[[str], Awaitable[Operated]]) -> tuple[RunRecord, Operated]:
        """Change the open run, whichever that is by then."""
        followed: set[str] = set()
        while True:
            record = await self._find(self.run_id)
            self._check_chain(record)
            outcome = await self._connection.patiently(partial(change, record.run_id))
            if outcome in (Operated.CHANGED, Operated.UNCHANGED):
                return record, outcome
            if self.run_id is not None or record.run_id in followed:
                text = UNKNOWN if outcome is Operated.NOT_FOUND else CLOSED
                raise WorkflowNotFoundError(
                    f"workflow {self.id!r}: {text}", workflow_id=self.id, run_id=record.run_id
                )
            # It may have closed by going on in another run; look again.
            followed.add(record.run_id)
