"""The port on SQLite, for operators; see `_store`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from durable._engine.deadlines import DeadlineTurn, LateRuns
from durable._engine.deeds import BatchNews, BatchRow, BatchRun, Deed, DeedRow, NewBatch
from durable._engine.fleet import QueueState, Survey
from durable._engine.operations import ActivityChange, Operated, Reset, ResetView
from durable._engine.records import Close, Hold, Message
from durable._engine.retention import OverdueRun, RetentionRow
from durable.history import EventRow
from durable.store._filter import ListQuery
from durable.store.sqlite import _batches, _deadlines, _fleet, _log, _operations, _retention
from durable.store.sqlite._connection import Writer
from durable.store.sqlite._locks import Lives

T = TypeVar("T")


class Operators:
    """The port's methods for operators."""

    writer: Writer
    _lives: Lives

    async def _read(self, call: Callable[[sqlite3.Connection], T]) -> T:
        raise NotImplementedError

    def _stamp(self) -> int:
        raise NotImplementedError

    # ---------------------------------------------------------------- one run

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
        return await self.writer.run(
            partial(
                _operations.terminate,
                lives=self._lives,
                run_id=run_id,
                event=event,
                close=close,
                messages=messages,
                deed=deed,
                waiting=waiting,
            )
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
        return await self.writer.run(
            partial(
                _operations.reset,
                lives=self._lives,
                base_run_id=base_run_id,
                run_id=run_id,
                open_run=open_run,
                plan=plan,
                after=after,
                children=children or {},
                deed=deed,
            )
        )

    async def pause(self, run_id: str, reason: str, *, deed: Deed | None = None) -> Operated:
        return await self.writer.run(partial(_operations.pause, run_id=run_id, reason=reason, deed=deed))

    async def unpause(self, run_id: str, holds: Sequence[Hold], *, deed: Deed | None = None) -> Operated:
        return await self.writer.run(partial(_operations.unpause, run_id=run_id, holds=holds, deed=deed))

    async def paused_runs(self, worker_id: str) -> list[str]:
        return await self._read(partial(_operations.paused, worker_id=worker_id))

    async def purge(self, run_id: str, *, deed: Deed | None = None) -> Operated:
        return await self.writer.run(partial(_operations.purge, run_id=run_id, deed=deed))

    async def override(
        self, run_id: str, override: str, message: Message, *, deed: Deed | None = None
    ) -> Operated:
        return await self.writer.run(
            partial(_operations.override, run_id=run_id, override=override, message=message, deed=deed)
        )

    async def change_activities(
        self, changes: Sequence[ActivityChange], *, deed: Deed | None = None
    ) -> list[bool]:
        return await self.writer.run(partial(_operations.change_activities, changes=changes, deed=deed))

    # ---------------------------------------------------------------- the log

    async def read_log(
        self, *, workflow_id: str | None, batch_id: str | None, before: int | None, limit: int
    ) -> list[DeedRow]:
        return await self._read(lambda db: _log.read(db, workflow_id, batch_id, before, limit))

    async def prune_log(self, age: int, limit: int) -> int:
        until = self._stamp() - age
        if not await self._read(partial(_log.is_older, until=until)):
            return 0
        return await self.writer.run(partial(_log.prune, age=age, limit=limit))

    # ---------------------------------------------------------------- retention

    async def set_retention(self, row: RetentionRow) -> None:
        await self.writer.run(partial(_retention.set_for, row=row))

    async def clear_retention(self, workflow_type: str) -> None:
        await self.writer.run(partial(_retention.clear, workflow_type=workflow_type))

    async def read_retention(self) -> list[RetentionRow]:
        return await self._read(_retention.read)

    async def take_retention_turn(self, limit: int, *, exports: bool, hold: int) -> list[OverdueRun] | None:
        if not await self._read(partial(_retention.is_turn, now=self._stamp())):
            return None
        return await self.writer.run(partial(_retention.take_turn, limit=limit, exports=exports, hold=hold))

    async def retire(self, run_ids: Sequence[str], *, events: int, pause: int | None) -> bool:
        return await self.writer.run(partial(_retention.retire, run_ids=run_ids, events=events, pause=pause))

    # ---------------------------------------------------------------- task queues

    async def set_queue_state(self, task_queue: str, state: QueueState, *, deed: Deed) -> bool:
        return await self.writer.run(partial(_fleet.set_state, task_queue=task_queue, state=state, deed=deed))

    async def queue_state(self, task_queue: str) -> QueueState:
        return await self._read(partial(_fleet.state_of, task_queue=task_queue))

    async def survey(self) -> Survey:
        return await self._read(lambda db: _fleet.survey(db, self._lives, self._stamp()))

    async def take_survey_turn(self, worker_id: str, hold: int) -> bool:
        if not await self._read(lambda db: _fleet.may_take_turn(db, worker_id, self._stamp())):
            return False
        return await self.writer.run(partial(_fleet.take_turn, worker_id=worker_id, hold=hold))

    async def take_deadline_turn(
        self, workflow_type: str, worker_id: str, hold: int, *, near: int = 0, past: int = 0
    ) -> DeadlineTurn | None:
        if not await self._read(
            lambda db: _deadlines.may_take_turn(db, workflow_type, worker_id, self._stamp())
        ):
            return None
        return await self.writer.run(
            lambda transaction: _deadlines.take_turn(
                transaction, workflow_type, worker_id, hold, near=near, past=past
            )
        )

    async def late_runs(
        self, workflow_type: str, *, since: int, until: int, told: int, limit: int
    ) -> LateRuns:
        return await self._read(
            lambda db: _deadlines.late(db, workflow_type, since=since, until=until, told=told, limit=limit)
        )

    # ---------------------------------------------------------------- many runs

    async def begin_batch(self, batch: NewBatch) -> BatchRow:
        return await self.writer.run(partial(_batches.begin, batch=batch))

    async def read_batch(self, batch_id: str) -> BatchRow | None:
        return await self._read(partial(_batches.find, batch_id=batch_id))

    async def gather_batch(
        self, batch_id: str, position: bytes, runs: Sequence[BatchRun], following: bytes, *, last: bool
    ) -> None:
        await self.writer.run(
            partial(
                _batches.gather,
                batch_id=batch_id,
                position=position,
                runs=runs,
                following=following,
                last=last,
            )
        )

    async def pending_batch_runs(self, batch_id: str, limit: int) -> list[BatchRun]:
        return await self._read(partial(_batches.pending, batch_id=batch_id, limit=limit))

    async def settle_batch(self, batch_id: str, news: Sequence[BatchNews]) -> None:
        await self.writer.run(partial(_batches.settle, batch_id=batch_id, news=news))

    async def send_to_found(self, query: ListQuery, messages: Sequence[Message]) -> bool:
        return await self.writer.run(partial(_batches.send_to_found, query=query, messages=messages))
