"""An operation on all workflows that a filter finds.

Its runs are gathered first, into a list in the database, page by page: the oldest first, and of each workflow the newest that
is found. Then each is dealt with, as its handle would, and taken off the list. A process that dies in between leaves the rest
of the list, and the batch's id is all that is needed to go on. What is done twice because of that is done once: a signal or a
cancel request has the same message id again, a reset the same run, and whether a run was terminated by this batch or by
somebody else is in the operators' log.

Because the order is that of the starts, no workflow is missed that goes on as another run while the list is made: that run is
listed later. One that goes on before its turn comes is followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from hashlib import sha256
from typing import Any

import msgspec

from durable._engine.deeds import MAX_ERRORS
from durable._internal.ids import check_flag, check_name, uuid7
from durable._internal.shown import shown
from durable.client._connection import Connection
from durable.client._handle import WorkflowHandle
from durable.client._listing import types_of
from durable.exceptions import StoreUnavailableError, WorkflowNotFoundError
from durable.history import decode_data
from durable.store import BatchNews, BatchRow, BatchRun, Dealt, NewBatch, beneath
from durable.store._filter import (
    Filter,
    FilterError,
    check_count,
    check_list,
    decode_token,
    encode_token,
    in_order_of_start,
    of_workflows,
    parse,
    with_status,
)

PAGE = 1000
"""Runs that are gathered at once."""

SLOWEST = 0.001
"""The least `per_second`: one in a quarter of an hour. Less is a slip, and would never come to its end."""

AT_ONCE = 20
"""Runs that are dealt with at once, and then taken off the list together."""

Handle = WorkflowHandle[Any, Any]


@dataclass(frozen=True)
class BatchFailure:
    """Why an operation could not be done to a workflow.

    Attributes:
        id: The workflow's id.
        run_id: The run that the filter had found.
        message: What was wrong.
    """

    id: str
    run_id: str
    message: str


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is, and, once it has ended, what became of it.

    Attributes:
        batch_id: Asked for again with this id, a batch goes on where it was; one that has ended does nothing.
        total: How many workflows the filter has found (runs, where these are deleted). It grows for as long as none is dealt with.
        done: To how many the operation was done.
        skipped: How many it no longer applied to: closed, paused or deleted meanwhile.
        failed: To how many it cannot be done; see `errors`.
        errors: Why, of the first ten.
    """

    batch_id: str
    total: int
    done: int = 0
    skipped: int = 0
    failed: int = 0
    errors: tuple[BatchFailure, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether all have been dealt with."""
        return self.done + self.skipped + self.failed == self.total


class Which(Enum):
    """Which runs an operation is for, whatever else the filter finds."""

    OPEN = True
    CLOSED = False
    ALL = None


@dataclass(frozen=True)
class Asked:
    """A batch as it was asked for; see `Client.cancel_workflows`."""

    query: str
    batch_id: str | None
    dry_run: bool
    per_second: float | None
    on_progress: Callable[[BatchProgress], object] | None

    def tree(self, which: Which) -> Filter:
        """Return the filter, narrowed to the runs that the operation is for.

        Raises:
            FilterError: It is none.
            ValueError: It says nothing.
        """
        if not isinstance(self.query, str):
            raise TypeError(f"query must be a filter, not {type(self.query).__name__}")
        if not self.query.strip():
            raise ValueError(
                "say which workflows: a filter such as \"WorkflowType = 'checkout'\"; all of them are \"WorkflowId != ''\""
            )
        tree = parse(self.query)
        if tree.order_by:
            raise FilterError(
                tree.order_by[0].name.column, "a batch has an order of its own; leave ORDER BY out"
            )
        tree = of_workflows(tree)
        return tree if which is Which.ALL else with_status(tree, running=which is Which.OPEN)


@dataclass(frozen=True)
class Operation:
    """What is done to each run.

    Attributes:
        name: How people call it: the client's method.
        which: Which runs it is for.
        act: Does it to a run, as part of a batch of this id; returns whether there was anything to do.
        reason: Why, for people.
        told: What tells it from another operation of the name.
    """

    name: str
    which: Which
    act: Callable[[Handle, str], Awaitable[bool]]
    reason: str = ""
    told: tuple[Any, ...] = field(default=())


async def carry_out(connection: Connection, operation: Operation, asked: Asked) -> BatchProgress:
    """Do an operation to all runs that a filter finds, or count them.

    Raises:
        FilterError: It is no filter.
        ValueError: An option is out of range, or the batch id is another batch's.
        StoreUnavailableError: The database is away; the batch can be asked for again, by its id.
    """
    tree = asked.tree(operation.which)
    batch_id = uuid7() if asked.batch_id is None else check_name(asked.batch_id, "batch_id")
    rate = asked.per_second
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int | float)):
        raise TypeError(f"per_second must be a number, not {type(rate).__name__}")
    if rate is not None and not SLOWEST <= rate < float("inf"):
        raise ValueError(f"per_second must be at least {SLOWEST:g}, not {shown(rate)}")
    types = await types_of(connection)
    if check_flag(asked.dry_run, "dry_run"):
        query = check_count(tree, types)
        rows = await connection.patiently(lambda: connection.store.count_runs(query))
        return BatchProgress(batch_id, rows[0][1])
    check_list(tree, types)  # what is wrong is refused before anything is in the log
    told = msgspec.json.encode((operation.name, asked.query, operation.reason, operation.told))
    deed = connection.deed(operation.name, "", operation.reason, asked.query, batch_id)
    new = NewBatch(batch_id, sha256(told).hexdigest(), deed)
    return await _Batch(connection, operation, asked, tree, new).run()


class _Batch:
    def __init__(
        self, connection: Connection, operation: Operation, asked: Asked, tree: Filter, new: NewBatch
    ) -> None:
        self._connection = connection
        # What is listed here is ids, and none of them is encoded.
        self._store = beneath(connection.store)
        self._operation = operation
        self._asked = asked
        self._tree = tree
        self._new = new
        self._next_at = 0.0

    async def run(self) -> BatchProgress:
        new, store, patiently = self._new, self._store, self._connection.patiently
        row = await patiently(lambda: store.begin_batch(new))
        if row.digest != new.digest:
            raise ValueError(
                f"batch_id {new.batch_id!r} is another batch's, which was asked to do something else; take another id"
            )
        progress = _progress(row)
        if not row.gathered:
            progress = await self._gather(row)
        rate = self._asked.per_second
        at_once = AT_ONCE if rate is None else max(1, min(AT_ONCE, int(rate)))
        while runs := await patiently(lambda: store.pending_batch_runs(new.batch_id, at_once)):
            # The others are counted before one that cannot reach the database ends it all.
            answers = await asyncio.gather(*map(self._deal, runs), return_exceptions=True)
            news = [answer for answer in answers if isinstance(answer, BatchNews)]
            await patiently(partial(store.settle_batch, new.batch_id, news))
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
            progress = _later(progress, news)
            self._tell(progress)
        # Somebody else may have dealt with some of them.
        return _progress(await self._row())

    async def _row(self) -> BatchRow:
        row = await self._connection.patiently(lambda: self._store.read_batch(self._new.batch_id))
        assert row is not None
        return row

    def _tell(self, progress: BatchProgress) -> None:
        if self._asked.on_progress is not None:
            self._asked.on_progress(progress)

    async def _gather(self, row: BatchRow) -> BatchProgress:
        store, patiently, batch_id = self._store, self._connection.patiently, self._new.batch_id
        query = check_list(in_order_of_start(self._tree), await types_of(self._connection))
        while not row.gathered:
            behind = decode_token(query, row.position) if row.position else None
            found, last = await patiently(partial(store.list_runs, query, PAGE, behind))
            by_run = self._operation.which is Which.CLOSED
            runs = {
                key: BatchRun(0, key, run.workflow_id, run.run_id)
                for run in found
                for key in (run.run_id if by_run else run.workflow_id,)
            }
            following = b"" if last is None else encode_token(query, last)
            await patiently(
                partial(
                    store.gather_batch,
                    batch_id,
                    row.position,
                    [*runs.values()],
                    following,
                    last=last is None,
                )
            )
            row = await self._row()
            self._tell(_progress(row))
        return _progress(row)

    async def _deal(self, run: BatchRun) -> BatchNews:
        await self._pace()
        try:
            done = await self._act(run) or await self._was_done(run)
        except StoreUnavailableError:
            raise
        except Exception as error:
            failure = BatchFailure(run.workflow_id, run.run_id, str(error) or type(error).__name__)
            return BatchNews(run.number, Dealt.FAILED, msgspec.json.encode(failure).decode())
        return BatchNews(run.number, Dealt.DONE if done else Dealt.SKIPPED)

    async def _pace(self) -> None:
        if self._asked.per_second is not None:
            now = asyncio.get_running_loop().time()
            at = max(now, self._next_at)
            self._next_at = at + 1 / self._asked.per_second
            await asyncio.sleep(at - now)

    async def _act(self, run: BatchRun) -> bool:
        """Do it to the run, or to the one that goes on for it."""
        run_id = run.run_id
        while True:
            handle = Handle(self._connection, run.workflow_id, run_id=run_id)
            try:
                return await self._operation.act(handle, self._new.batch_id)
            except WorkflowNotFoundError:
                run_id = await self._next_of(run_id) if self._operation.which is Which.OPEN else ""
                if not run_id:
                    return False

    async def _next_of(self, run_id: str) -> str:
        rows = await self._connection.patiently(lambda: self._store.read_closing_events([run_id]))
        if run_id not in rows:
            return ""
        end = decode_data(rows[run_id].type, rows[run_id].data)
        following: str = getattr(end, "new_run_id", "") or getattr(end, "reset_run_id", "")
        return following

    async def _was_done(self, run: BatchRun) -> bool:
        """Whether this batch has done it before, and was ended before it was counted."""
        read = partial(self._store.read_log, workflow_id=run.workflow_id, batch_id=self._new.batch_id)
        deeds = await self._connection.patiently(lambda: read(before=None, limit=PAGE))
        followed = self._operation.which is Which.OPEN
        return any(followed or deed.run_id == run.run_id for deed in deeds)


def _progress(row: BatchRow) -> BatchProgress:
    return BatchProgress(
        row.batch_id,
        row.pending + row.done + row.skipped + row.failed,
        row.done,
        row.skipped,
        row.failed,
        tuple(msgspec.json.decode(error, type=BatchFailure) for error in row.errors),
    )


def _later(progress: BatchProgress, news: list[BatchNews]) -> BatchProgress:
    counts = [sum(one.dealt is dealt for one in news) for dealt in Dealt]
    errors = [msgspec.json.decode(one.error, type=BatchFailure) for one in news if one.error]
    return replace(
        progress,
        done=progress.done + counts[0],
        skipped=progress.skipped + counts[1],
        failed=progress.failed + counts[2],
        errors=(*progress.errors, *errors)[:MAX_ERRORS],
    )
