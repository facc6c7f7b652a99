"""How long closed runs are kept, and the removal of those that have been kept for long enough."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.records import RunStatus
from durable._engine.retention import OverdueRun, RetentionRow
from durable.store.postgres._part import Part


class Retention(Part):
    """The port's methods for retention."""

    async def set_retention(self, row: RetentionRow) -> None:
        """Let runs of a type be kept for so long."""
        await self._fetch("set_retention", row.workflow_type, row.keep, row.export)

    async def clear_retention(self, workflow_type: str) -> None:
        """Let runs of a type be kept as all others, or all others for ever."""
        await self._fetch("clear_retention", workflow_type)

    async def read_retention(self) -> list[RetentionRow]:
        """Return how long runs are kept, by type."""
        return [RetentionRow(*row) for row in await self._read("read_retention")]

    async def take_retention_turn(self, limit: int, *, exports: bool, hold: int) -> list[OverdueRun] | None:
        """Return runs that have been kept for long enough, if it is somebody's turn to remove them; else None."""
        rows = await self._fetch("take_retention", limit, exports, hold)
        if not rows:
            return None
        return [
            OverdueRun(
                str(row["run_id"]),
                row["workflow_id"],
                row["workflow_type"],
                RunStatus(row["status"]),
                row["closed_at"],
                row["length"] or 0,
            )
            for row in rows
            if row["run_id"] is not None
        ]

    async def retire(self, run_ids: Sequence[str], *, events: int, pause: int | None) -> bool:
        """Remove closed runs with all their rows, and return whether there is a rest."""
        ((rest,),) = await self._fetch("retire", list(run_ids), events, pause)
        return bool(rest)
