"""Becoming the owner of runs, and what an owner asks about its runs."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.hints import Glance
from durable._engine.lanes import lane_queue
from durable._engine.records import RECENT, ClaimedRun
from durable._engine.versioning import queue_of
from durable.store._probation import PROBATION
from durable.store.postgres import _rows
from durable.store.postgres._commit import Commits
from durable.store.postgres._pool import Pool

_ANY = 32767  # deaths


class Claims(Commits):
    """The port's methods about claims."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        for part in ("next_wake", "next_schedule"):
            self._sql["glance"] = self._sql["glance"].replace(f":{part}", self._sql[part])

    async def claim_runs(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ClaimedRun]:
        """Make this worker the owner of at most `limit` runs that are ready, and return them with all they need."""
        if limit < 1:
            return []
        return await self._claim(
            worker_id, task_queues, workflow_types, limit, format, 0, PROBATION - 1, version
        )

    async def claim_probationer(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        *,
        format: int,
        version: str = "",
    ) -> ClaimedRun | None:
        """As `claim_runs`, for one ready run with two deaths or more (not quarantined), or None."""
        claimed = await self._claim(
            worker_id, task_queues, workflow_types, 1, format, PROBATION, _ANY, version
        )
        return claimed[0] if claimed else None

    async def _claim(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        format: int,
        least: int,
        most: int,
        version: str,
    ) -> list[ClaimedRun]:
        rows = await self._fetch(
            "claim_runs",
            worker_id,
            list(dict.fromkeys(task_queues)),
            None if workflow_types is None else list(workflow_types),
            limit,
            format,
            least,
            most,
            version,
        )
        return [_rows.claimed(row) for row in rows]

    async def owned_runs(self, worker_id: str) -> dict[str, int]:
        """Return run id and epoch of all runs that the database says this worker owns."""
        await self.settle()
        return {str(row["run_id"]): row["epoch"] for row in await self._read("owned_runs", worker_id)}

    async def reload_run(self, worker_id: str, run_id: str, epoch: int) -> ClaimedRun | None:
        """Return an owned run as a claim would, without claiming it; None when it is not owned under this epoch."""
        await self.settle()
        if not _rows.is_run_id(run_id):
            return None
        rows = await self._read("reload_run", run_id, worker_id, epoch)
        return _rows.claimed(rows[0]) if rows else None

    async def next_wake(self, task_queues: Sequence[str]) -> int | None:
        """Return in how many microseconds the next unowned run or queued activity of these queues is due, or None."""
        (row,) = await self._read("next_wake", _with_lanes(task_queues), RECENT)
        wake: int | None = row["wake_in"]
        return wake

    async def glance(self, task_queues: Sequence[str]) -> Glance:
        """Return, by one read, whether there is anything at these places, or due for anybody, that is worth a look."""
        queues = [*task_queues, *map(queue_of, task_queues)]
        (row,) = await self._read("glance", _with_lanes(task_queues), RECENT, list(dict.fromkeys(queues)))
        return Glance(**row)


def _with_lanes(task_queues: Sequence[str]) -> list[str]:
    queues = list(dict.fromkeys(task_queues))
    return [*queues, *(lane_queue(queue) for queue in queues)]
