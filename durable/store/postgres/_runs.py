"""Starting, finding and ending runs from outside their owner."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import structs

from durable._engine.deeds import Deed
from durable._engine.lanes import lane_queue
from durable._engine.records import (
    LOCKED_LONG,
    ActivityRecord,
    Close,
    Message,
    NewRun,
    RunRecord,
    StartOutcome,
    StartVerdict,
)
from durable.common import WorkflowIDReusePolicy
from durable.exceptions import StoreError
from durable.history import EventRow
from durable.store.postgres import _rows
from durable.store.postgres._commit import Commits
from durable.store.postgres._pack import (
    REUSE,
    TOLD_CHILDREN,
    Types,
    deed_columns,
    found_columns,
    lane_columns,
    message_columns,
    run_columns,
)
from durable.store.postgres._session import Row


class Runs(Commits):
    """The port's methods about runs."""

    async def create_runs(self, runs: Sequence[NewRun]) -> list[StartVerdict]:
        """Create runs, each with its first event and its messages; each start stands or falls alone."""
        verdicts = await self._start(runs) if runs else []
        deadline = asyncio.get_running_loop().time() + self._pool.settings.limits.acquire
        while held_back := [n for n, verdict in enumerate(verdicts) if verdict is None]:
            if asyncio.get_running_loop().time() > deadline:
                raise self._pool.unavailable("a run that a start has messages for takes none")
            await asyncio.sleep(self._pool.settings.limits.held_back)
            for n, verdict in zip(held_back, await self._start([runs[n] for n in held_back]), strict=True):
                verdicts[n] = verdict
        return [verdict for verdict in verdicts if verdict is not None]

    async def _start(self, runs: Sequence[NewRun]) -> list[StartVerdict | None]:
        """Create runs; None for a start whose messages are held back by the run it is content with."""
        soles = [run for run in runs if run.activity is not None]
        if soles and len(soles) < len(runs):
            # Two transactions, since each start stands or falls alone.
            entered = iter(await self._start(soles))
            started = iter(await self._start([run for run in runs if run.activity is None]))
            return [next(started if run.activity is None else entered) for run in runs]
        if (plain := pack_plain(runs)) is not None:
            ((now,),) = await self._fetch("create_plain_runs", *plain)
            if now is not None:
                return [_begun(run, now) for run in runs]
        await self._learn([run.search_attributes for run in runs if run.search_attributes])
        name = "create_sole_runs" if soles else "create_runs"
        arguments = pack_soles(runs, self._types) if soles else pack_starts(runs, self._types)
        rows = {row["n"]: row for row in await self._fetch(name, *arguments)}
        if len(rows) < len(runs):
            # Ten times another run of that id closed between two statements. What was started is, and asking again
            # says so.
            raise self._pool.unavailable("a workflow id was started and closed over and over meanwhile")
        return [verdict(rows[n]) for n in range(1, len(runs) + 1)]

    async def find_run(
        self, workflow_id: str, run_id: str | None = None, *, measured: bool = True
    ) -> RunRecord | None:
        """Return that run, or, without a run id, the workflow's open run or else the one started last."""
        if run_id is None:
            rows = await self._read("find_latest_run", workflow_id, measured)
        elif _rows.is_run_id(run_id):
            rows = await self._read("find_run", workflow_id, run_id, measured)
        else:
            return None
        if not rows:
            return None
        length, size = (rows[0]["length"], rows[0]["size"]) if measured else (-1, -1)
        found = _rows.run(rows[0], length, size)
        pinned_to, override = rows[0]["pinned_to"], rows[0]["versioning_override"]
        if pinned_to is None and override is None:
            return found
        return structs.replace(found, pinned_to=pinned_to or "", override=override or "")

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

    async def locked_by(self, run_id: str) -> str:
        """Return who has kept the run's row locked for long, in words for people; "" for nobody."""
        if not _rows.is_run_id(run_id):
            return ""
        rows = await self._read("locked_by", run_id, LOCKED_LONG)
        return "; ".join(
            f"session {row['pid']} ({row['application'] or 'unnamed'}, {row['state'] or 'state unknown'}) of a "
            f"transaction that began {row['seconds']} s ago"
            for row in rows
        )

    async def timed_out_runs(self, limit: int) -> list[RunRecord]:
        """Return open runs whose run timeout has passed."""
        rows = await self._read("timed_out_runs", limit)
        return [_rows.run(row, row["length"], row["size"]) for row in rows]

    async def condemned_runs(self, limit: int) -> list[RunRecord]:
        """Return open runs with an unread termination in their inbox, whoever owns or holds them."""
        rows = await self._read("condemned_runs", limit)
        return [_rows.run(row, row["length"], row["size"]) for row in rows]

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
        """Close an open run whoever owns it, without reading its messages; they are deleted with it, or move on."""
        if not _rows.is_run_id(run_id):
            return False
        if close.successor is not None:
            await self._learn([close.successor.search_attributes])
        tries = 0
        while True:
            try:
                return await self._terminate(run_id, event, close, messages, deed, waiting)
            except StoreError:
                raise
            except Exception as error:
                tries += 1
                if not await self._pool.may_retry(error, tries, read=False):
                    raise self._pool.translate(error) from None

    async def _terminate(
        self,
        run_id: str,
        event: Callable[[int], EventRow],
        close: Close,
        messages: Sequence[Message],
        deed: Deed | None,
        waiting: bool,
    ) -> bool:
        # At READ COMMITTED, said by `begin`: each statement sees what was committed when it began, and the first one
        # holds off senders, the owner, and whoever else would close it.
        async with self._pool.session() as session:
            await session.begin(f"set local lock_timeout = {round(self._pool.settings.limits.lock * 1000)}")
            lock = self._sql["lock_waiting_run" if waiting else "lock_open_run"]
            if not await session.fetch_inside(lock, [run_id]):
                await session.end("rollback")
                return False
            (last,) = await session.fetch_inside(self._sql["next_seq"], [run_id])
            try:
                row = event(last["seq"])
            except BaseException:
                await session.end("rollback")
                raise
            facts = [run_id, close.status, row.seq, row.task, row.type, row.data, last["latest"]]
            await session.fetch_inside(
                self._sql["terminate"], [*facts, *pack_end(close, messages, self._types)]
            )
            if deed is not None:
                await session.fetch_inside(self._sql["log"], [run_id, *deed_columns(deed)])
            await session.end("commit")
            return True


def pack_plain(runs: Sequence[NewRun]) -> list[Any] | None:
    """The arguments of `start_3`; None when it does not take these."""
    owner = runs[0].owner
    if not all(_is_plain(run) and run.owner == owner for run in runs):
        return None
    return [
        owner,
        *_named(runs),
        [run.run_timeout for run in runs],
        [run.started for run in runs],
        [run.info for run in runs],
    ]


def _named(runs: Sequence[NewRun]) -> list[list[Any]]:
    return [
        [run.run_id for run in runs],
        [run.workflow_id for run in runs],
        [run.workflow_type for run in runs],
        [run.task_queue for run in runs],
        [run.format for run in runs],
        [run.priority for run in runs],
    ]


def _is_plain(run: NewRun) -> bool:
    return run.reuse is WorkflowIDReusePolicy.ALLOW_DUPLICATE and not (
        run.activity
        or run.delay
        or run.messages
        or run.search_attributes
        or run.parent_run_id
        or run.first_run_id
        or run.version
        or run.override
        or run.lane
        or run.admitted
    )


def _begun(run: NewRun, now: int) -> StartVerdict:
    return StartVerdict(StartOutcome.STARTED, run.run_id, run.workflow_type, int(run.owner is not None), now)


def pack_starts(runs: Sequence[NewRun], types: Types) -> list[Any]:
    """The arguments of `start_2`."""
    messages = [(n, run.run_id, message) for n, run in enumerate(runs, 1) for message in run.messages]
    columns = message_columns([(run_id, message) for _, run_id, message in messages])
    return [
        *run_columns(runs),
        [run.conflict for run in runs],
        *([[n for n, _, _ in messages], *columns[1:]] if messages else [None] * 5),
        found_columns(runs, types),
    ]


def pack_soles(runs: Sequence[NewRun], types: Types) -> list[Any]:
    """The arguments of `start_sole_2`."""
    activities = [run.activity for run in runs if run.activity is not None]
    lanes = [
        {"run_id": run.run_id, **lane_columns(run.activity.lane)}
        for run in runs
        if run.activity is not None and run.activity.lane is not None
    ]
    return [
        *_named(runs),
        [run.delay for run in runs],
        [run.reuse for run in runs],
        [run.conflict for run in runs],
        [run.started for run in runs],
        [run.info for run in runs],
        [activity.activity_type for activity in activities],
        [
            run.task_queue
            if run.activity is None or run.activity.lane is None
            else lane_queue(run.task_queue)
            for run in runs
        ],
        [activity.scheduled for activity in activities],
        [activity.schedule_to_start for activity in activities],
        [activity.schedule_to_close for activity in activities],
        [activity.start_to_close for activity in activities],
        [activity.heartbeat for activity in activities],
        msgspec.json.encode(lanes).decode() if lanes else None,
        found_columns(runs, types),
    ]


def pack_end(close: Close, messages: Sequence[Message], types: Types) -> list[Any]:
    """The arguments of `terminate_2` behind the event."""
    sent = [(message.run_id, message) for message in messages]
    successor = close.successor
    if successor is not None:
        sent += [(successor.run_id, message) for message in successor.messages]
        columns: list[Any] = run_columns([successor])
        columns[REUSE] = [None]
    else:
        columns = [None] * 15
    found = None if successor is None else found_columns([successor], types)
    return [
        close.update_lost,
        TOLD_CHILDREN,
        *columns,
        *(message_columns(sent) if sent else [None] * 5),
        found,
    ]


def verdict(row: Row) -> StartVerdict | None:
    """What became of a start; None when its messages are held back, and nothing of it was written."""
    if row["outcome"] == 0:
        return None
    return StartVerdict(
        StartOutcome(row["outcome"]), str(row["run_id"]), row["workflow_type"], row["epoch"], row["now"]
    )
