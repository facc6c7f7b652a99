"""Schedules: rows that are claimed when they are due, and replaced together with the runs that they start."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.records import StartVerdict
from durable._engine.schedules.rows import TAKEN_FOR, ScheduleRow, ScheduleWrite
from durable.exceptions import StoreError
from durable.store.postgres._runs import Runs, pack_starts, verdict
from durable.store.postgres._session import Row


class Schedules(Runs):
    """The port's methods about schedules."""

    async def write_schedule(self, write: ScheduleWrite) -> list[StartVerdict] | None:
        """Replace or create a schedule and create the runs that it starts, or do nothing."""
        tries = 0
        while True:
            try:
                return await self._write_schedule(write)
            except StoreError:
                raise
            except Exception as error:
                tries += 1
                if not await self._pool.may_retry(error, tries, read=False):
                    raise self._pool.translate(error) from None

    async def _write_schedule(self, write: ScheduleWrite) -> list[StartVerdict] | None:
        name = "create_schedule" if write.revision is None else "write_schedule"
        fence = [] if write.revision is None else [write.revision]
        running = [[workflow_id for workflow_id, _ in write.running], [run_id for _, run_id in write.running]]
        facts = [write.record, write.progress, write.wake_at, *(column or None for column in running)]
        await self._learn([run.search_attributes for run in write.starts if run.search_attributes])
        async with self._pool.session() as session:
            await session.begin(f"set local lock_timeout = {round(self._pool.settings.limits.lock * 1000)}")
            if not await session.fetch_inside(self._sql[name], [write.schedule_id, *fence, *facts]):
                await session.end("rollback")
                return None
            rows: dict[int, Row] = {}
            if write.starts:
                arguments = pack_starts(write.starts, self._types)
                found = await session.fetch_inside(self._sql["create_runs"], arguments)
                rows = {row["n"]: row for row in found}
            verdicts = [verdict(row) for _, row in sorted(rows.items())]
            known = [one for one in verdicts if one is not None]
            if len(known) < len(write.starts):
                await session.end("rollback")
                raise self._pool.unavailable("a workflow id was started and closed over and over meanwhile")
            await session.end("commit")
            return known

    async def find_schedule(self, schedule_id: str) -> ScheduleRow | None:
        """Return a schedule."""
        rows = await self._read("find_schedule", schedule_id)
        return _schedule(rows[0]) if rows else None

    async def list_schedules(self, after: str, limit: int) -> list[ScheduleRow]:
        """Return schedules in the order of their ids."""
        return [_schedule(row) for row in await self._read("list_schedules", after, limit)]

    async def next_schedule(self) -> int | None:
        """Return in how many microseconds the next schedule is to be looked at."""
        ((found,),) = await self._read("next_schedule")
        return None if found is None else max(0, found)

    async def claim_schedules(self, limit: int) -> list[ScheduleRow]:
        """Return schedules that are due, for a while to this caller alone."""
        return [_schedule(row) for row in await self._fetch("claim_schedules", limit, TAKEN_FOR)]

    async def ended_schedules(self, limit: int) -> Sequence[str]:
        """Return the ids of schedules that wait for an action which has ended."""
        return [row["schedule_id"] for row in await self._read("ended_schedules", limit)]

    async def delete_schedule(self, schedule_id: str) -> bool:
        """Delete a schedule; what it has started goes on."""
        return bool(await self._fetch("delete_schedule", schedule_id))


def _schedule(row: Row) -> ScheduleRow:
    names = ("schedule_id", "revision", "record", "progress", "wake_at", "now")
    return ScheduleRow(*(row[name] for name in names))
