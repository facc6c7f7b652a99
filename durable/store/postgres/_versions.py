"""Worker versions: deployments, whom queues belong to, and what is kept for whom."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.deeds import Deed
from durable._engine.operations import Operated
from durable._engine.records import Message
from durable._engine.versioning import DeploymentRow, QueueRoute, VersionRow
from durable.store.postgres import _rows
from durable.store.postgres._pack import deed_columns
from durable.store.postgres._part import Part


class Versions(Part):
    """The port's methods about versions."""

    async def find_deployments(self, name: str | None = None) -> list[DeploymentRow]:
        """Return the deployment of that name, or all, by name."""
        return [
            DeploymentRow(
                name=row["name"],
                current=row["current_version"],
                ramping=row["ramping_version"],
                percentage=row["percentage"],
                current_since=row["current_since"],
                ramping_since=row["ramping_since"],
                revision=row["revision"],
                created_at=row["created_at"],
                changed_by=row["changed_by"],
            )
            for row in await self._read("find_deployments", name)
        ]

    async def find_versions(self, deployment: str) -> list[VersionRow]:
        """Return the versions of a deployment, the oldest first."""
        return [
            VersionRow(
                row["version"],
                tuple(row["task_queues"]),
                row["created_at"],
                row["has_pinned"],
                row["workers"],
                row["was_active"],
            )
            for row in await self._read("find_versions", deployment)
        ]

    async def write_deployment(self, row: DeploymentRow) -> bool:
        """Replace the deployment that has this revision, and route its queues accordingly; False when there is none."""
        ((done,),) = await self._fetch(
            "write_deployment",
            row.name,
            row.revision,
            row.current,
            row.ramping,
            row.percentage,
            _rows.readable(row.changed_by),
        )
        return bool(done)

    async def forget_version(self, version: str, *, pinned: bool = False) -> bool:
        """Remove a version that nobody needs; `pinned` removes one that runs are pinned to. False when it is needed."""
        return bool(await self._fetch("forget_version", version, pinned))

    async def queue_routes(self, task_queues: Sequence[str]) -> dict[str, QueueRoute]:
        """Return whom runs of these queues belong to that follow them; none for a queue that no version has served."""
        return {
            row["task_queue"]: QueueRoute(row["current_version"], row["ramping_version"], row["ramp"])
            for row in await self._read("queue_routes", list(task_queues))
        }

    async def moved_runs(self, worker_id: str, task_queues: Sequence[str], version: str) -> list[str]:
        """Return the runs that this worker owns and that are not, or no longer, for workers of its version."""
        rows = await self._read("moved_runs", worker_id, list(task_queues), version)
        return [str(row["run_id"]) for row in rows]

    async def stranded_versions(self) -> list[tuple[str, str]]:
        """Return versions, each with a queue, that runs wait for which are ready, and of which no worker lives."""
        return [(row["version"], row["task_queue"]) for row in await self._read("stranded_versions")]

    async def override(
        self, run_id: str, override: str, message: Message, *, deed: Deed | None = None
    ) -> Operated:
        """Set what holds for an open run whatever its workflow says, or lift it ("")."""
        if not _rows.is_run_id(run_id):
            return Operated.NOT_FOUND
        rows = await self._fetch(
            "override",
            run_id,
            override or None,
            message.message_id,
            message.type,
            message.data,
            *deed_columns(deed),
        )
        return Operated(rows[0]["outcome"])
