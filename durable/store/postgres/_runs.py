"""Starting, finding and ending runs from outside their owner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from durable._engine.records import ActivityRecord, NewRun, RunRecord, StartOutcome, StartVerdict
from durable.exceptions import StoreError
from durable.history import EventRow
from durable.store.postgres import _rows
from durable.store.postgres._commit import Commits


class Runs(Commits):
    """The port's methods about runs."""

    async def create_runs(self, runs: Sequence[NewRun]) -> list[StartVerdict]:
        """Create runs, each with its first event; each start stands or falls alone."""
        if not runs:
            return []
        rows = await self._fetch(
            "create_runs",
            [run.run_id for run in runs],
            [run.workflow_id for run in runs],
            [run.workflow_type for run in runs],
            [run.task_queue for run in runs],
            [run.format for run in runs],
            [run.priority for run in runs],
            [run.delay for run in runs],
            [run.run_timeout for run in runs],
            [run.owner for run in runs],
            [run.reuse for run in runs],
            [run.conflict for run in runs],
            [run.started for run in runs],
            [run.info for run in runs],
        )
        verdicts = {
            row["n"]: StartVerdict(
                StartOutcome(row["outcome"]),
                str(row["run_id"]),
                row["workflow_type"],
                row["epoch"],
                row["now"],
            )
            for row in rows
        }
        if len(verdicts) < len(runs):
            # Ten times another run of that id closed between two statements. What was started is, and asking again
            # says so.
            raise self._pool.unavailable("a workflow id was started and closed over and over meanwhile")
        return [verdicts[n] for n in range(1, len(runs) + 1)]

    async def find_run(self, workflow_id: str, run_id: str | None = None) -> RunRecord | None:
        """Return that run, or, without a run id, the workflow's open run or else the one started last."""
        if run_id is None:
            rows = await self._read("find_latest_run", workflow_id)
        elif _rows.is_run_id(run_id):
            rows = await self._read("find_run", workflow_id, run_id)
        else:
            return None
        return _rows.run(rows[0], rows[0]["length"], rows[0]["size"]) if rows else None

    async def read_events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[EventRow]:
        """Return the run's events behind position `after`, in order."""
        await self.settle()
        if not _rows.is_run_id(run_id):
            return []
        return [_rows.event(row) for row in await self._read("read_events", run_id, after, limit)]

    async def read_closing_events(self, run_ids: Sequence[str]) -> dict[str, EventRow]:
        """Return the last event of each of these runs that is closed, by run id."""
        await self.settle()
        known = [run_id for run_id in run_ids if _rows.is_run_id(run_id)]
        rows = await self._read("read_closing_events", known) if known else []
        return {str(row["run_id"]): _rows.event(row) for row in rows}

    async def read_activities(self, run_id: str) -> list[ActivityRecord]:
        """Return the rows of a run's activities, by id."""
        if not _rows.is_run_id(run_id):
            return []
        return [_rows.activity(row) for row in await self._read("read_activities", run_id)]

    async def timed_out_runs(self, limit: int) -> list[RunRecord]:
        """Return open runs whose run timeout has passed."""
        rows = await self._read("timed_out_runs", limit)
        return [_rows.run(row, row["length"], row["size"]) for row in rows]

    async def terminate(self, run_id: str, event: Callable[[int], EventRow], status: int) -> bool:
        """Close an open run whoever owns it, without reading its messages; they are deleted with it."""
        if not _rows.is_run_id(run_id):
            return False
        tries = 0
        while True:
            try:
                return await self._terminate(run_id, event, status)
            except StoreError:
                raise
            except Exception as error:
                tries += 1
                if not await self._pool.may_retry(error, tries, read=False):
                    raise self._pool.translate(error) from None

    async def _terminate(self, run_id: str, event: Callable[[int], EventRow], status: int) -> bool:
        # At READ COMMITTED, said by `begin`: each statement sees what was committed when it began, and the first one
        # holds off senders, the owner, and whoever else would close it.
        async with self._pool.session() as session:
            await session.begin(f"set local lock_timeout = {round(self._pool.settings.limits.lock * 1000)}")
            if not await session.fetch_inside(self._sql["lock_open_run"], [run_id]):
                await session.end("rollback")
                return False
            (last,) = await session.fetch_inside(self._sql["next_seq"], [run_id])
            try:
                row = event(last["seq"])
            except BaseException:
                await session.end("rollback")
                raise
            await session.fetch_inside(
                self._sql["terminate"],
                [run_id, status, row.seq, row.task, row.type, row.data, last["latest"]],
            )
            await session.fetch_inside(self._sql["drop_messages"], [run_id])
            await session.end("commit")
            return True
