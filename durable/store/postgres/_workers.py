"""The lives of workers, by the database's clock."""

from __future__ import annotations

import asyncio

from durable._engine.records import WorkerRecord
from durable.exceptions import StoreError
from durable.store._probation import QUARANTINED
from durable.store._protocol import Lease
from durable.store.postgres._messages import Messages
from durable.store.postgres._session import Session, connect, translate_for
from durable.store.postgres._settings import Settings


class Workers(Messages):
    """The port's methods about workers."""

    async def register_worker(self, worker: WorkerRecord) -> Lease:
        """Write a fresh incarnation with a live lease, and return what keeps it alive.

        Raises:
            ValueError: The id is known: an incarnation is registered once, and dead is for good.
        """
        if worker.version:
            deployment = worker.version.partition(":")[0]
            await self._fetch("serve", deployment, worker.version, list(worker.task_queues))
        done = await self._fetch(
            "register",
            worker.worker_id,
            worker.identity,
            list(worker.task_queues),
            worker.lease,
            worker.version,
        )
        if not done:
            raise ValueError(
                f"worker {worker.worker_id!r} is registered already; every start needs a fresh id"
            )
        return PostgresLease(self._pool.settings, self._sql["renew"], worker.worker_id)

    async def unregister_worker(self, worker_id: str) -> None:
        """Mark a worker that owns nothing any more as dead and remove it."""
        await self._fetch("mark_dead", worker_id)
        await self._fetch("remove_unnamed", worker_id)

    async def list_workers(self) -> list[WorkerRecord]:
        """Return every worker that is not removed."""
        return [
            WorkerRecord(
                worker_id=row["worker_id"],
                identity=row["identity"],
                task_queues=tuple(row["task_queues"]),
                lease=row["lease"],
                renewals=row["renewals"],
                expired=row["expired"],
                dead=row["dead"],
                version=row["version"],
            )
            for row in await self._read("list_workers")
        ]

    async def bury_worker(self, worker_id: str, renewals: int) -> bool:
        """Mark a worker dead, for good, if its lease has expired and `renewals` is still its count."""
        return bool(await self._fetch("bury", worker_id, renewals))

    async def take_over(self, limit: int) -> int:
        """Free at most `limit` runs and activities of workers that are dead or do not exist; return how many."""
        ((freed,),) = await self._fetch("take_over", limit, QUARANTINED)
        await self._sweep()
        return int(freed)

    async def now(self) -> int:
        """Return the database's time."""
        ((now,),) = await self._read("now")
        return int(now)


class PostgresLease:
    """A lease, renewed on a connection of its own, in whatever event loop it is used from; never of the pool's."""

    def __init__(self, settings: Settings, renew: str, worker_id: str) -> None:
        self._settings = settings
        self._renew = renew
        self._worker_id = worker_id
        self._session: Session | None = None

    async def renew(self) -> bool:
        """Prolong the lease by its duration, counted from the database's now; False when it has ended for good."""
        try:
            async with asyncio.timeout(self._settings.limits.acquire):
                if self._session is None or self._session.closed:
                    self._session = await connect(self._settings, "lease")
                return bool(await self._session.fetch(self._renew, [self._worker_id]))
        except BaseException as error:
            if self._session is not None:
                self._session.kill()  # the answer to a given-up call may still come; nobody shall take it for another
                self._session = None
            if isinstance(error, StoreError) or not isinstance(error, Exception):
                raise
            raise translate_for(self._settings, error) from None

    async def aclose(self) -> None:
        """Free the lease's connection (not the lease)."""
        session, self._session = self._session, None
        if session is not None:
            await session.aclose()
