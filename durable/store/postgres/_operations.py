"""What operators do to runs: reset, pause, free, remove."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from durable._engine.deeds import Deed
from durable._engine.operations import Operated, Reset, ResetView
from durable._engine.records import (
    Close,
    Hold,
    RunStatus,
)
from durable.exceptions import DurableError
from durable.history import FORMAT, EventRow
from durable.history._search_attributes import decode_search_attributes
from durable.store._filter import attribute_rows
from durable.store._parent_close import termination
from durable.store.postgres import _rows
from durable.store.postgres._pack import deed_columns, lanes_of, message_columns, queue_of
from durable.store.postgres._runs import Runs, pack_end
from durable.store.postgres._session import Session

Plan = Callable[[ResetView], Reset | None]


class Operations(Runs):
    """The port's methods for operators."""

    async def reset(
        self,
        base_run_id: str,
        run_id: str,
        open_run: str | None,
        plan: Plan,
        *,
        after: int = 0,
        children: Mapping[str, str] | None = None,
        deed: Deed | None = None,
    ) -> bool:
        """Create a run that goes on for another one, in the place of the workflow's open run if there is one."""
        tries = 0
        while True:
            try:
                # At READ COMMITTED, said by `begin`: what is read behind the locks is all that was committed before.
                async with self._pool.session() as session:
                    await session.begin(
                        f"set local lock_timeout = {round(self._pool.settings.limits.lock * 1000)}"
                    )
                    done = await self._reset(
                        session, base_run_id, run_id, open_run, plan, after=after, children=children or {}
                    )
                    if done and deed is not None:
                        await session.fetch_inside(self._sql["log"], [base_run_id, *deed_columns(deed)])
                    await session.end("commit" if done else "rollback")
                    return done
            except DurableError:
                raise
            except Exception as error:
                tries += 1
                if not await self._pool.may_retry(error, tries, read=False):
                    raise self._pool.translate(error) from None

    async def _reset(
        self,
        session: Session,
        base: str,
        run_id: str,
        open_run: str | None,
        plan: Plan,
        *,
        after: int,
        children: Mapping[str, str],
    ) -> bool:
        sql, fetch = self._sql, session.fetch_inside
        if open_run is not None and not await fetch(sql["lock_open_run"], [open_run]):
            return False
        adopted = await fetch(sql["adopt"], [run_id, [*children.values()], [*children]]) if children else []
        if adopted:
            await fetch(sql["acquit"], [[row["run_id"] for row in adopted]])
        rows = [] if open_run is None else await fetch(sql["read_events"], [open_run, after, None])
        unread = [] if open_run is None else await fetch(sql["read_unread"], [open_run])
        ((now,),) = await fetch(sql["now"])
        view = ResetView(
            now,
            tuple(_rows.event(row) for row in rows),
            tuple(_rows.message(row) for row in unread),
            frozenset(str(row["first_run_id"]) for row in adopted),
        )
        try:
            new = plan(view)
        except BaseException:
            await session.end("rollback")
            raise
        if new is None:
            return False
        if open_run is not None:
            assert new.close is not None
            event, close = new.close
            if new.moves_updates:
                await fetch(sql["forget_updates"], [open_run])
            await self._end(session, open_run, lambda _seq: event, close)
            # Their workflow ids are to be free when the new run asks for them.
            for row in await fetch(sql["end_with"], [open_run]):
                child = str(row["run_id"])
                if await fetch(sql["lock_open_run"], [child]):
                    await self._end(session, child, termination, Close(RunStatus.TERMINATED))
        entered = [run_id, base, now, FORMAT, new.run_timeout, new.first_run_id, open_run]
        if not await fetch(sql["enter_reset"], entered):
            return False
        await self._fill(session, new, now)
        return True

    async def _end(
        self, session: Session, run_id: str, event: Callable[[int], EventRow], close: Close
    ) -> None:
        """End a run that is locked."""
        ((seq, latest),) = await session.fetch_inside(self._sql["next_seq"], [run_id])
        row = event(seq)
        facts = [run_id, close.status, row.seq, row.task, row.type, row.data, latest]
        await session.fetch_inside(self._sql["terminate"], [*facts, *pack_end(close, (), self._types)])

    async def _fill(self, session: Session, new: Reset, now: int) -> None:
        """Write what belongs to a new run that is entered."""
        sql, fetch, run_id = self._sql, session.fetch_inside, new.run_id
        await fetch(sql["write_info"], [run_id, new.info])
        if new.attributes:
            found = attribute_rows(decode_search_attributes(new.attributes))
            columns_of = ("name", "type", "position", "text_value", "int_value", "float_value")
            await fetch(
                sql["write_attributes"],
                [run_id, *([getattr(row, name) for row in found] for name in columns_of)],
            )
        await fetch(sql["copy_events"], [run_id, new.base_run_id, new.cut, new.started])
        event = new.event
        await fetch(sql["append_reset"], [run_id, event.seq, event.task, event.type, now, event.data])
        if new.activities:
            names = (
                "id",
                "activity_type",
                "task_queue",
                "attempt",
                "priority",
                "scheduled_at",
                "start_by",
                "close_by",
                "start_to_close",
                "heartbeat",
                "scheduled",
                "progress",
            )
            columns = [[getattr(activity, name) for activity in new.activities] for name in names]
            columns[names.index("task_queue")] = [queue_of(activity) for activity in new.activities]
            await fetch(sql["insert_activities"], [run_id, now, list(new.activities_canceled), *columns])
            if (lanes := lanes_of([(run_id, activity) for activity in new.activities])) is not None:
                await fetch(sql["enter_lanes"], [lanes])
        if new.outcomes:
            await fetch(
                sql["insert_outcomes"],
                [
                    run_id,
                    [outcome.message_id for outcome in new.outcomes],
                    [int(outcome.stage) for outcome in new.outcomes],
                    [outcome.data for outcome in new.outcomes],
                ],
            )
        if new.messages:
            columns = message_columns([(run_id, message) for message in new.messages])
            await fetch(sql["send"], [[run_id] * len(new.messages), *columns[1:]])

    async def pause(self, run_id: str, reason: str, *, deed: Deed | None = None) -> Operated:
        """Hold an open run until it is unpaused."""
        return await self._operate("pause", run_id, _rows.readable(reason), *deed_columns(deed))

    async def unpause(self, run_id: str, holds: Sequence[Hold], *, deed: Deed | None = None) -> Operated:
        """Let an open run that is held for one of these reasons be claimed again, at once."""
        return await self._operate("unpause", run_id, [int(hold) for hold in holds], *deed_columns(deed))

    async def purge(self, run_id: str, *, deed: Deed | None = None) -> Operated:
        """Remove a closed run with all its rows. An open one is left alone."""
        return await self._operate("purge", run_id, *deed_columns(deed))

    async def _operate(self, name: str, run_id: str, *args: object) -> Operated:
        if not _rows.is_run_id(run_id):
            return Operated.NOT_FOUND
        rows = await self._fetch(name, run_id, *args)
        return Operated(rows[0]["outcome"]) if rows else Operated.NOT_FOUND

    async def paused_runs(self, worker_id: str) -> list[str]:
        """Return the runs that this worker owns and that are paused."""
        return [str(row["run_id"]) for row in await self._read("paused_runs", worker_id)]
