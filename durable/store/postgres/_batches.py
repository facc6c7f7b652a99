"""The log of what operators did, and what they do to many runs at once."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.deeds import MAX_ERRORS, BatchNews, BatchRow, BatchRun, Deed, DeedRow, NewBatch
from durable._engine.records import TAKEN, Message
from durable.exceptions import StoreError
from durable.store._filter import POSTGRES, ListQuery, list_statement
from durable.store.postgres._messages import Messages
from durable.store.postgres._pack import deed_columns, message_columns
from durable.store.postgres._session import Session


class Batches(Messages):
    """The port's methods about the log and about batches."""

    async def read_log(
        self, *, workflow_id: str | None, batch_id: str | None, before: int | None, limit: int
    ) -> list[DeedRow]:
        """Return deeds, the newest first, from before a place in the log."""
        rows = await self._read("read_log", workflow_id, batch_id, before, limit)
        return [
            DeedRow(
                row["number"],
                row["at"],
                "" if row["run_id"] is None else str(row["run_id"]),
                Deed(*(row[name] for name in Deed.__struct_fields__)),
            )
            for row in rows
        ]

    async def prune_log(self, age: int, limit: int) -> int:
        """Remove at most `limit` deeds that are at least so old, and batches of which none is left; return how many."""
        ((pruned,),) = await self._fetch("prune_log", age, limit)
        return int(pruned)

    async def begin_batch(self, batch: NewBatch) -> BatchRow:
        """Write a batch down unless there is one of that id; return the one there is."""
        await self._fetch("begin_batch", batch.batch_id, batch.digest, *deed_columns(batch.deed)[:-1])
        found = await self.read_batch(batch.batch_id)
        assert found is not None
        return found

    async def read_batch(self, batch_id: str) -> BatchRow | None:
        """Return a batch as it is now."""
        rows = await self._read("read_batch", batch_id)
        if not rows:
            return None
        row = rows[0]
        return BatchRow(
            batch_id=row["batch_id"],
            digest=row["digest"],
            position=row["position"],
            gathered=row["gathered"],
            pending=row["pending"],
            done=row["done"],
            skipped=row["skipped"],
            failed=row["failed"],
            errors=tuple(row["errors"]),
        )

    async def gather_batch(
        self, batch_id: str, position: bytes, runs: Sequence[BatchRun], following: bytes, *, last: bool
    ) -> None:
        """Add runs to a batch and move its position, if it is there."""
        await self._fetch(
            "gather_batch",
            batch_id,
            position,
            following,
            last,
            [run.key for run in runs],
            [run.workflow_id for run in runs],
            [run.run_id for run in runs],
        )

    async def pending_batch_runs(self, batch_id: str, limit: int) -> list[BatchRun]:
        """Return runs that a batch has not dealt with, in order."""
        rows = await self._read("pending_batch_runs", batch_id, limit)
        return [BatchRun(row["number"], row["key"], row["workflow_id"], str(row["run_id"])) for row in rows]

    async def settle_batch(self, batch_id: str, news: Sequence[BatchNews]) -> None:
        """Count runs of a batch as dealt with; each counts once."""
        await self._fetch(
            "settle_batch",
            batch_id,
            [one.number for one in news],
            [int(one.dealt) for one in news],
            [one.error for one in news],
            MAX_ERRORS,
        )

    async def send_to_found(self, query: ListQuery, messages: Sequence[Message]) -> bool:
        """Send messages, all of them or none, if the runs that they are for are exactly those that a query finds."""
        tries = 0
        while True:
            try:
                async with self._pool.session() as session:
                    await session.begin(
                        f"set local lock_timeout = {round(self._pool.settings.limits.lock * 1000)}"
                    )
                    sent = await self._send_to_found(session, query, messages)
                    await session.end("commit" if sent else "rollback")
                    return sent
            except StoreError:
                raise
            except Exception as error:
                tries += 1
                if not await self._pool.may_retry(error, tries, read=False):
                    raise self._pool.translate(error) from None

    async def _send_to_found(self, session: Session, query: ListQuery, messages: Sequence[Message]) -> bool:
        # At READ COMMITTED, said by `begin`. Sending locks the runs, and waits for one that closes; what the later
        # statement finds stays open until the end.
        columns = message_columns([(message.run_id, message) for message in messages])
        ((outcomes,),) = await session.fetch_inside(self._sql["send"], columns)
        statement = list_statement(query, POSTGRES, len(messages) + 1)
        sql = self._pool.settings.qualify(statement.sql)
        found = await session.fetch_inside(sql, statement.parameters)
        wanted = {message.run_id for message in messages}
        taken = all(outcome in TAKEN for outcome in outcomes or ())  # none were sent, none answer
        return taken and wanted == {str(row[0]) for row in found}
