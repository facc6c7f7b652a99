"""Schedules as a client has them: made, found, and told what to do."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from durable._engine.schedules._requests import (
    backfilled,
    created,
    paused,
    requested,
    triggered,
    unpaused,
    updated,
)
from durable._engine.schedules.records import (
    PendingBackfill,
    ScheduleOverlapPolicy,
    ScheduleProgress,
    ScheduleRecord,
)
from durable._engine.schedules.rows import decode_progress
from durable._internal.ids import check_flag, check_name, check_note, uuid7
from durable._internal.left_out import explains_options
from durable._internal.shown import shown
from durable.client._attribute_types import check_types
from durable.client._connection import Connection
from durable.client._listing import MAX_PAGE, check_number
from durable.client._schedule_actions import to_record
from durable.client._schedule_descriptions import (
    ScheduleAsyncIterator,
    ScheduleDescription,
    ScheduleUpdateInput,
    description,
)
from durable.client._schedule_types import Schedule, ScheduleBackfill, ScheduleUpdate, check_overlap
from durable.client._scheduler import Change, Kept, Scheduler
from durable.client._start_options import check_memo
from durable.common import TypedSearchAttributes
from durable.exceptions import ScheduleAlreadyRunningError, ScheduleNotFoundError
from durable.history._search_attributes import encode_search_attributes
from durable.interceptor.client import (
    BackfillScheduleInput,
    CreateScheduleInput,
    DeleteScheduleInput,
    DescribeScheduleInput,
    ListSchedulesInput,
    PauseScheduleInput,
    TriggerScheduleInput,
    UnpauseScheduleInput,
    UpdateScheduleInput,
)
from durable.store import ScheduleRow

Updater = Callable[[ScheduleUpdateInput], "ScheduleUpdate | Awaitable[ScheduleUpdate | None] | None"]
"""What changes a schedule: given what it is, it returns what it is to be, or None to leave it."""


@explains_options
class ScheduleHandle:
    """A schedule by id, whether it exists or not. `Client.get_schedule_handle` makes one.

    Each of its requests is done once, however often the database has to be asked, and is stored when it returns. Before a
    request changes anything, what was due until then is decided.
    """

    def __init__(self, connection: Connection, id: str) -> None:
        self._connection = connection
        self._scheduler = Scheduler(connection.store, connection.identity, connection.tracing)
        self.id = check_name(id, "id")

    def __repr__(self) -> str:
        return f"<ScheduleHandle {self.id!r}>"

    async def trigger(self, *, overlap: ScheduleOverlapPolicy | None = None) -> None:
        """Take one action now, though the schedule may be paused. It does not count against `remaining_actions`.

        Args:
            overlap: The overlap policy of this action; the schedule's when None.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            StoreUnavailableError: The database is away; it may or may not have been stored.
        """
        await self._connection.outbound.trigger_schedule(TriggerScheduleInput(self.id, overlap))

    async def _trigger(self, overlap: ScheduleOverlapPolicy | None) -> None:
        policy = None if overlap is None else check_overlap(overlap, "overlap")
        await self._change(
            lambda kept, now: Kept(kept.record, triggered(kept.progress, now, policy)),
        )

    async def backfill(self, *backfill: ScheduleBackfill) -> None:
        """Take the actions of periods as if these passed now, ten a second, though the schedule may be paused.

        An instant for which this schedule has a run is not run again.

        Args:
            backfill: The periods.

        Raises:
            ValueError: There is none.
            ScheduleNotFoundError: There is no such schedule.
            StoreUnavailableError: The database is away; it may or may not have been stored.
        """
        await self._connection.outbound.backfill_schedule(BackfillScheduleInput(self.id, backfill))

    async def _backfill(self, backfill: Sequence[ScheduleBackfill]) -> None:
        if not backfill:
            raise ValueError("backfill needs at least one ScheduleBackfill")
        periods = _periods(backfill)
        await self._change(lambda kept, now: Kept(kept.record, backfilled(kept.progress, *periods)))

    async def pause(self, *, note: str | None = None) -> None:
        """Take no action any more when one is due, until `unpause`.

        Args:
            note: Why, for people; who paused it when None.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            StoreUnavailableError: The database is away; it may or may not have been stored.
        """
        await self._connection.outbound.pause_schedule(PauseScheduleInput(self.id, note))

    async def _pause(self, note: str | None) -> None:
        text = self._note("paused", note)
        await self._change(lambda kept, now: Kept(kept.record, paused(kept.progress, text)))

    async def unpause(self, *, note: str | None = None) -> None:
        """Take actions again at the instants from now on; those that passed meanwhile are left out.

        Args:
            note: Why, for people; who unpaused it when None.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            StoreUnavailableError: The database is away; it may or may not have been stored.
        """
        await self._connection.outbound.unpause_schedule(UnpauseScheduleInput(self.id, note))

    async def _unpause(self, note: str | None) -> None:
        text = self._note("unpaused", note)
        await self._change(
            lambda kept, now: Kept(kept.record, unpaused(kept.record, kept.progress, text, now))
        )

    def _note(self, what: str, note: str | None) -> str:
        return f"{what} by {self._connection.identity}" if note is None else check_note(note, "note")

    async def update(self, updater: Updater) -> None:
        """Change the schedule.

        Args:
            updater: Given what the schedule is, it returns what it is to be, or None to leave it as it is. It may be async,
                and is called again when the schedule changed in between.

        Raises:
            TypeError: It returned something else, or a field of the schedule is of a wrong type.
            ValueError: A field is out of range.
            ConversionError: An argument cannot be stored, or is not of the type the workflow takes.
            ScheduleNotFoundError: There is no such schedule.
            StoreUnavailableError: The database is away; it may or may not have been stored.
        """
        await self._connection.outbound.update_schedule(UpdateScheduleInput(self.id, updater))

    async def _update(self, updater: Updater) -> None:
        request_id = uuid7()
        patiently = self._connection.patiently
        while True:
            row = await self._row()
            seen = decode_progress(row.progress)
            if request_id in seen.requests:
                return
            answer = updater(ScheduleUpdateInput(description(self._connection, row)))
            wanted: Any = await answer if inspect.isawaitable(answer) else answer
            if wanted is None:
                return
            if not isinstance(wanted, ScheduleUpdate):
                raise TypeError(f"the updater must return a ScheduleUpdate or None, not {shown(wanted)}")
            new = self._new_record(row, wanted)
            if new.action.search_attributes:
                await check_types(self._connection, new.action.search_attributes)
            change = _Replacing(self._updated(new, wanted, request_id), seen)
            if await patiently(partial(self._look, row, change)) and not change.outdated:
                return

    async def _look(self, row: ScheduleRow, change: Change) -> bool:
        return await self._scheduler.look(row, change)

    def _new_record(self, row: ScheduleRow, wanted: ScheduleUpdate) -> ScheduleRecord:
        old = Kept.of(row).record
        new = to_record(self._connection, wanted.schedule)
        attributes = wanted.search_attributes
        stored = old.search_attributes if attributes is None else _attributes(attributes)
        return replace(new, memo=old.memo, search_attributes=stored)

    def _updated(self, new: ScheduleRecord, wanted: ScheduleUpdate, request_id: str) -> Change:
        standing = wanted.schedule.state.to_record()

        def change(kept: Kept, now: int) -> Kept:
            progress = requested(updated(new, kept.progress, standing, now), request_id)
            return Kept(new, progress)

        return change

    async def describe(self) -> ScheduleDescription:
        """Return what the schedule is for, what it has done, and when it acts next.

        Raises:
            ScheduleNotFoundError: There is no such schedule.
            StoreUnavailableError: The database is away.
        """
        found: ScheduleDescription = await self._connection.outbound.describe_schedule(
            DescribeScheduleInput(self.id)
        )
        return found

    async def _describe(self) -> ScheduleDescription:
        return description(self._connection, await self._row())

    async def delete(self) -> None:
        """Delete the schedule. What it has started goes on.

        Raises:
            ScheduleNotFoundError: There is no such schedule (any more).
            StoreUnavailableError: The database is away; it may or may not have been deleted.
        """
        await self._connection.outbound.delete_schedule(DeleteScheduleInput(self.id))

    async def _delete(self) -> None:
        store = self._connection.store
        await self._row()
        await self._connection.patiently(lambda: store.delete_schedule(self.id))

    async def _row(self) -> ScheduleRow:
        store = self._connection.store
        row = await self._connection.patiently(lambda: store.find_schedule(self.id))
        if row is None:
            raise ScheduleNotFoundError(self.id)
        return row

    async def _change(self, change: Change) -> None:
        request_id = uuid7()

        def once(kept: Kept, now: int) -> Kept | None:
            if request_id in kept.progress.requests:
                return None  # stored before, by a call whose answer was lost
            changed = change(kept, now)
            assert changed is not None
            return Kept(changed.record, requested(changed.progress, request_id))

        if not await self._connection.patiently(lambda: self._scheduler.change(self.id, once)):
            raise ScheduleNotFoundError(self.id)


class _Replacing:
    """A change that is not made when people or the scheduler have changed meanwhile what it would replace."""

    def __init__(self, change: Change, seen: ScheduleProgress) -> None:
        self._change = change
        self._seen = seen
        self.outdated = False

    def __call__(self, kept: Kept, now: int) -> Kept | None:
        self.outdated = kept.progress.standing != self._seen.standing
        return None if self.outdated else self._change(kept, now)


class ClientSchedules:
    """That part of a client which has to do with schedules."""

    _connection: Connection

    async def create_schedule(
        self,
        id: str,
        schedule: Schedule,
        *,
        trigger_immediately: bool = False,
        backfill: Sequence[ScheduleBackfill] = (),
        memo: Mapping[str, Any] | None = None,
        search_attributes: TypedSearchAttributes | None = None,
    ) -> ScheduleHandle:
        """Create a schedule; once this returns it is stored, and acts for as long as some worker of any task queue runs.

        Args:
            id: Its id, one schedule for each.
            schedule: What it starts, when, how, and whether now.
            trigger_immediately: Whether to take one action now.
            backfill: Periods whose actions are taken as if they passed now.
            memo: Values for people, shown by `describe`; not those of the workflows, which its action has.
            search_attributes: The schedule's own, likewise.

        Raises:
            ScheduleAlreadyRunningError: There is one of that id.
            TypeError: A field is of a wrong type.
            ValueError: A field is out of range.
            ConversionError: An argument cannot be stored, or is not of the type the workflow takes.
            StoreUnavailableError: The database is away; it may or may not have been created.
        """
        given = CreateScheduleInput(id, schedule, trigger_immediately, backfill, memo, search_attributes)
        made: ScheduleHandle = await self._connection.outbound.create_schedule(given)
        return made

    def get_schedule_handle(self, id: str) -> ScheduleHandle:
        """Return a handle of a schedule by id, whether it exists or not."""
        return ScheduleHandle(self._connection, id)

    async def list_schedules(
        self,
        query: str | None = None,
        *,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
    ) -> ScheduleAsyncIterator:
        """Return the schedules there are, by the bytes of their ids: `async for one in await client.list_schedules():`.

        Args:
            query: Not supported: a list of schedules is short enough to be filtered where it is read.
            page_size: How many are read at once.
            next_page_token: Where to begin: that of a list which was left.

        Raises:
            ValueError: There is a query, or the page size is not positive.
        """
        given = ListSchedulesInput(query, page_size, next_page_token)
        found: ScheduleAsyncIterator = self._connection.outbound.list_schedules(given)
        return found


async def create(connection: Connection, input: CreateScheduleInput) -> ScheduleHandle:
    """Create a schedule; see `Client.create_schedule`."""
    store, patiently = connection.store, connection.patiently
    id = check_name(input.id, "id")
    record = to_record(connection, input.schedule)
    if record.action.search_attributes:
        await check_types(connection, record.action.search_attributes)
    converter = connection.converter_for(record.action.workflow_id)
    record = replace(
        record,
        memo={
            key: converter.to_payload(value, path=f"memo {key}")
            for key, value in check_memo(input.memo).items()
        },
        search_attributes=_attributes(input.search_attributes or TypedSearchAttributes.empty),
    )
    periods = _periods(input.backfill)
    now = await patiently(store.now)
    request_id = uuid7()
    progress = requested(created(id, input.schedule.state.to_record(), now), request_id)
    if check_flag(input.trigger_immediately, "trigger_immediately"):
        progress = triggered(progress, now)
    progress = backfilled(progress, *periods)
    scheduler = Scheduler(store, connection.identity, connection.tracing)
    if not await patiently(lambda: scheduler.create(id, record, progress, now)):
        row = await patiently(lambda: store.find_schedule(id))
        # It may be this very one, whose answer was lost.
        if row is None or request_id not in Kept.of(row).progress.requests:
            raise ScheduleAlreadyRunningError(id)
    return ScheduleHandle(connection, id)


def listed(connection: Connection, input: ListSchedulesInput) -> ScheduleAsyncIterator:
    """Return the schedules there are; see `Client.list_schedules`."""
    query, token = input.query, input.next_page_token
    if query is not None and (not isinstance(query, str) or query):
        raise ValueError(
            "list_schedules takes no query: filter what it yields, for example "
            "[one async for one in await client.list_schedules() if one.schedule and one.schedule.state.paused]"
        )
    if token is not None and not isinstance(token, bytes):
        raise TypeError(f"next_page_token must be bytes, not {type(token).__name__}")
    size = check_number(input.page_size, "page_size", least=1, most=MAX_PAGE)
    return ScheduleAsyncIterator(connection, size, token)


def _periods(backfill: Sequence[ScheduleBackfill]) -> tuple[PendingBackfill, ...]:
    for one in backfill:
        if not isinstance(one, ScheduleBackfill):
            raise TypeError(f"backfill must hold ScheduleBackfill, not {shown(one)}")
    return tuple(one.to_record() for one in backfill)


def _attributes(attributes: TypedSearchAttributes) -> Any:
    if not isinstance(attributes, TypedSearchAttributes):
        raise TypeError(f"search_attributes must be TypedSearchAttributes, not {shown(attributes)}")
    return encode_search_attributes(attributes)
