"""Operators, through a codec; see `_encoded`, and `OperatorStore` for the methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from durable._engine.deadlines import DeadlineTurn, LateRuns
from durable._engine.deeds import BatchNews, BatchRow, BatchRun, Deed, DeedRow, NewBatch
from durable._engine.fleet import QueueState, Survey
from durable._engine.operations import ActivityChange, Operated, Reset, ResetView
from durable._engine.records import Close, Hold, Message
from durable._engine.retention import OverdueRun, RetentionRow
from durable.converter._codec import encoded
from durable.history import EventRow
from durable.store._filter import ListQuery
from durable.store._parcel import Parcel, Whose
from durable.store._passing import Passing


class EncodedOperators(Passing):
    """The methods for operators."""

    async def terminate(
        self,
        run_id: str,
        event: Callable[[int], EventRow],
        close: Close,
        messages: Sequence[Message] = (),
        *,
        deed: Deed | None = None,
        waiting: bool = False,
    ) -> bool:
        """See `Store`. Only the position of the event that `event` returns may depend on what it is given."""
        own = Whose("", run_id)
        row = await self._pass(encoded, lambda parcel, one: parcel.row(own, one), event(1))
        close = await self._pass(encoded, lambda parcel, one: parcel.close(own, one), close)
        sent = await self._all(encoded, Parcel.message, messages)
        return await self.stored.terminate(
            run_id, lambda seq: replace(event(seq), data=row.data), close, sent, deed=deed, waiting=waiting
        )

    async def reset(
        self,
        base_run_id: str,
        run_id: str,
        open_run: str | None,
        plan: Callable[[ResetView], Reset | None],
        *,
        after: int = 0,
        children: Mapping[str, str] | None = None,
        deed: Deed | None = None,
    ) -> bool:
        """See `Store`. The plan moves what is stored as it is stored, and needs no look into it."""
        return await self.stored.reset(
            base_run_id, run_id, open_run, plan, after=after, children=children, deed=deed
        )

    async def pause(self, run_id: str, reason: str, *, deed: Deed | None = None) -> Operated:
        return await self.stored.pause(run_id, reason, deed=deed)

    async def unpause(self, run_id: str, holds: Sequence[Hold], *, deed: Deed | None = None) -> Operated:
        return await self.stored.unpause(run_id, holds, deed=deed)

    async def paused_runs(self, worker_id: str) -> list[str]:
        return await self.stored.paused_runs(worker_id)

    async def purge(self, run_id: str, *, deed: Deed | None = None) -> Operated:
        return await self.stored.purge(run_id, deed=deed)

    async def override(
        self, run_id: str, override: str, message: Message, *, deed: Deed | None = None
    ) -> Operated:
        return await self.stored.override(run_id, override, message, deed=deed)

    async def change_activities(
        self, changes: Sequence[ActivityChange], *, deed: Deed | None = None
    ) -> list[bool]:
        return await self.stored.change_activities(
            await self._all(encoded, Parcel.change, changes), deed=deed
        )

    async def read_log(
        self, *, workflow_id: str | None, batch_id: str | None, before: int | None, limit: int
    ) -> list[DeedRow]:
        return await self.stored.read_log(
            workflow_id=workflow_id, batch_id=batch_id, before=before, limit=limit
        )

    async def prune_log(self, age: int, limit: int) -> int:
        return await self.stored.prune_log(age, limit)

    async def set_retention(self, row: RetentionRow) -> None:
        await self.stored.set_retention(row)

    async def clear_retention(self, workflow_type: str) -> None:
        await self.stored.clear_retention(workflow_type)

    async def read_retention(self) -> list[RetentionRow]:
        return await self.stored.read_retention()

    async def take_retention_turn(self, limit: int, *, exports: bool, hold: int) -> list[OverdueRun] | None:
        return await self.stored.take_retention_turn(limit, exports=exports, hold=hold)

    async def retire(self, run_ids: Sequence[str], *, events: int, pause: int | None) -> bool:
        return await self.stored.retire(run_ids, events=events, pause=pause)

    async def begin_batch(self, batch: NewBatch) -> BatchRow:
        return await self.stored.begin_batch(batch)

    async def read_batch(self, batch_id: str) -> BatchRow | None:
        return await self.stored.read_batch(batch_id)

    async def gather_batch(
        self, batch_id: str, position: bytes, runs: Sequence[BatchRun], following: bytes, *, last: bool
    ) -> None:
        await self.stored.gather_batch(batch_id, position, runs, following, last=last)

    async def pending_batch_runs(self, batch_id: str, limit: int) -> list[BatchRun]:
        return await self.stored.pending_batch_runs(batch_id, limit)

    async def settle_batch(self, batch_id: str, news: Sequence[BatchNews]) -> None:
        await self.stored.settle_batch(batch_id, news)

    async def send_to_found(self, query: ListQuery, messages: Sequence[Message]) -> bool:
        return await self.stored.send_to_found(query, await self._all(encoded, Parcel.message, messages))

    async def set_queue_state(self, task_queue: str, state: QueueState, *, deed: Deed) -> bool:
        return await self.stored.set_queue_state(task_queue, state, deed=deed)

    async def queue_state(self, task_queue: str) -> QueueState:
        return await self.stored.queue_state(task_queue)

    async def survey(self) -> Survey:
        return await self.stored.survey()

    async def take_survey_turn(self, worker_id: str, hold: int) -> bool:
        return await self.stored.take_survey_turn(worker_id, hold)

    async def take_deadline_turn(
        self, workflow_type: str, worker_id: str, hold: int, *, near: int = 0, past: int = 0
    ) -> DeadlineTurn | None:
        return await self.stored.take_deadline_turn(workflow_type, worker_id, hold, near=near, past=past)

    async def late_runs(
        self, workflow_type: str, *, since: int, until: int, told: int, limit: int
    ) -> LateRuns:
        return await self.stored.late_runs(workflow_type, since=since, until=until, told=told, limit=limit)
