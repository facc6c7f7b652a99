"""Activities that have rows: claiming, ending and keeping up their attempts."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.deeds import Deed
from durable._engine.operations import ActivityChange
from durable._engine.records import ActivityRecord, AttemptOutcome, Heartbeat, HeartbeatAnswer, Message
from durable.store.postgres import _rows
from durable.store.postgres._pack import deed_columns
from durable.store.postgres._part import Part
from durable.store.postgres._session import Row


class Activities(Part):
    """The port's methods about activities."""

    async def claim_activities(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        activity_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ActivityRecord]:
        """Make this worker run at most `limit` queued activities that are due, by priority, then age."""
        rows = await self._fetch(
            "claim_activities",
            worker_id,
            list(dict.fromkeys(task_queues)),
            None if activity_types is None else list(activity_types),
            limit,
            format,
            version,
        )
        claimed = await self._read_rows(rows)
        # Behind a claim whose run has closed or been taken meanwhile there is nothing to run.
        return sorted(
            (record for record in claimed if record.worker == worker_id),
            key=lambda r: (r.due_at, r.run_id, r.id),
        )

    async def owned_activities(self, worker_id: str) -> list[ActivityRecord]:
        """Return the rows that are RUNNING at this worker, as the database has it."""
        return await self._read_rows(await self._read("owned_activities", worker_id))

    async def expired_activities(self, limit: int) -> list[ActivityRecord]:
        """Return rows, QUEUED or RUNNING, whose `deadline` passed, and RUNNING rows without a worker (it was lost)."""
        return await self._read_rows(await self._read("expired_activities", limit))

    async def _read_rows(self, keys: Sequence[Row]) -> list[ActivityRecord]:
        if not keys:
            return []
        rows = await self._read(
            "read_activity_rows", [row["run_id"] for row in keys], [row["id"] for row in keys]
        )
        return [_rows.activity(row) for row in rows]

    async def finish_attempts(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        """End attempts; each stands or falls alone. False: that attempt had already been ended otherwise."""
        soles = [outcome for outcome in outcomes if outcome.sole is not None]
        if not soles:
            return await self._finish(outcomes)
        if len(soles) == len(outcomes):
            return await self._finish_sole(soles)
        # Two transactions, since each outcome stands or falls alone.
        closed = iter(await self._finish_sole(soles))
        ended = iter(await self._finish([outcome for outcome in outcomes if outcome.sole is None]))
        return [next(ended if outcome.sole is None else closed) for outcome in outcomes]

    async def _finish_sole(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        """End attempts with their runs, which have no other activity and no code."""
        rows = await self._fetch("finish_sole", *sole_ends(outcomes))
        ended = set(rows[0]["ended"])
        return [n in ended for n in range(1, len(outcomes) + 1)]

    async def _finish(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        if not outcomes:
            return []
        messages = [outcome.message for outcome in outcomes]
        rows = await self._fetch(
            "finish_attempts",
            [outcome.run_id for outcome in outcomes],
            [outcome.id for outcome in outcomes],
            [outcome.attempt for outcome in outcomes],
            [outcome.worker for outcome in outcomes],
            [outcome.state for outcome in outcomes],
            [outcome.retry_in for outcome in outcomes],
            [outcome.progress for outcome in outcomes],
            [message and message.message_id for message in messages],
            [message and message.type for message in messages],
            [message and message.internal for message in messages],
            [message and message.data for message in messages],
            [outcome.outside for outcome in outcomes],
            [outcome.revision for outcome in outcomes],
            [outcome.base for outcome in outcomes],
        )
        return [row["ended"] for row in rows]

    async def heartbeat(self, beats: Sequence[Heartbeat]) -> list[HeartbeatAnswer]:
        """Record signs of life: progress, and a new deadline; answers whether the attempt is still wanted."""
        if not beats:
            return []
        rows = await self._fetch(
            "heartbeat",
            [beat.run_id for beat in beats],
            [beat.id for beat in beats],
            [beat.attempt for beat in beats],
            [beat.worker for beat in beats],
            [beat.progress for beat in beats],
        )
        return [HeartbeatAnswer(row["answer"]) for row in rows]

    async def stray_outcomes(self, limit: int) -> list[tuple[ActivityRecord, Message]]:
        """Return rows of runs of one activity that are DONE, each with the message that brought the outcome."""
        rows = await self._read("stray_outcomes", limit)
        messages = {
            str(row["run_id"]): Message(
                str(row["run_id"]),
                row["message_id"],
                row["type"],
                row["data"],
                row["position"],
                internal=True,
            )
            for row in rows
        }
        return [(record, messages[record.run_id]) for record in await self._read_rows(rows)]

    async def change_activities(
        self, changes: Sequence[ActivityChange], *, deed: Deed | None = None
    ) -> list[bool]:
        """Write what operators make of activities; each stands or falls alone."""
        if not changes:
            return []
        rows = await self._fetch(
            "change_activities",
            [change.run_id for change in changes],
            [change.id for change in changes],
            [change.state for change in changes],
            [change.attempt for change in changes],
            [change.revision for change in changes],
            [change.paused_at for change in changes],
            [_rows.readable(change.pause_reason) for change in changes],
            [change.base for change in changes],
            [change.anew for change in changes],
            [change.due_at for change in changes],
            [change.deadline for change in changes],
            [change.start_by for change in changes],
            [change.close_by for change in changes],
            [change.start_to_close for change in changes],
            [change.heartbeat for change in changes],
            [change.task_queue for change in changes],
            [change.scheduled for change in changes],
            [change.progress for change in changes],
            [change.cancel for change in changes],
            [_rows.readable(change.cancel_reason) for change in changes],
            *deed_columns(deed),
        )
        return [row["changed"] for row in rows]


def sole_ends(outcomes: Sequence[AttemptOutcome]) -> list[list[object]]:
    """Return the arguments of `finish_sole`."""
    ends = [outcome.sole for outcome in outcomes if outcome.sole is not None]
    return [
        [outcome.run_id for outcome in outcomes],
        [outcome.attempt for outcome in outcomes],
        [outcome.worker for outcome in outcomes],
        [outcome.state for outcome in outcomes],
        [outcome.revision for outcome in outcomes],
        [end.status for end in ends],
        [end.outcome.type for end in ends],
        [end.outcome.data for end in ends],
        [end.closing.type for end in ends],
        [end.closing.data for end in ends],
    ]
