"""What is known of a schedule at one moment, and lists of such."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from durable._engine.schedules._decide import upcoming
from durable._engine.schedules.records import ScheduleProgress
from durable._engine.schedules.rows import ScheduleRow
from durable._internal.instants import to_datetime
from durable.client._connection import Connection
from durable.client._schedule_actions import from_record
from durable.client._schedule_spec import ScheduleSpec
from durable.client._schedule_types import (
    Schedule,
    ScheduleActionResult,
    ScheduleInfo,
    ScheduleState,
)
from durable.client._scheduler import Kept
from durable.common import TypedSearchAttributes
from durable.converter import DataConverter
from durable.history import Payload
from durable.history._search_attributes import decode_search_attributes

NOT_GIVEN: Any = object()

SHOWN = 5
"""How many recent and next actions a list shows of each schedule. Temporal's number."""


@dataclass(frozen=True)
class Described:
    """What a description and an entry of a list have in common."""

    id: str
    typed_search_attributes: TypedSearchAttributes = field(kw_only=True, default=TypedSearchAttributes.empty)
    raw_memo: Mapping[str, Payload] = field(kw_only=True, default_factory=dict[str, Payload], repr=False)
    data_converter: DataConverter | None = field(kw_only=True, default=None, repr=False, compare=False)

    async def memo(self) -> Mapping[str, Any]:
        """Return the schedule's memo, as plain data."""
        return {key: await self.memo_value(key) for key in self.raw_memo}

    async def memo_value(self, key: str, default: Any = NOT_GIVEN, *, type_hint: Any = Any) -> Any:
        """Return one value of the schedule's memo.

        Args:
            key: Its name.
            default: What is returned when there is no such value.
            type_hint: What it is read as.

        Raises:
            KeyError: There is no such value, and no default.
            ConversionError: It cannot be read as that type.
        """
        if key not in self.raw_memo:
            if default is NOT_GIVEN:
                raise KeyError(f"the schedule's memo has no value {key!r}")
            return default
        assert self.data_converter is not None
        return self.data_converter.from_payload(self.raw_memo[key], type_hint, path=f"memo {key}")


@dataclass(frozen=True)
class ScheduleDescription(Described):
    """A schedule and what it has done.

    Attributes:
        schedule: A copy of the schedule, to be changed and given to an update. Arguments and memo of its action are payloads.
        info: What it has done, and what it is about to do.
    """

    schedule: Schedule
    info: ScheduleInfo


@dataclass(frozen=True)
class ScheduleUpdateInput:
    """What the callback of an update is given."""

    description: ScheduleDescription


class ScheduleListAction:
    """What an action of a listed schedule is. There is one kind: `ScheduleListActionStartWorkflow`."""


@dataclass(frozen=True)
class ScheduleListActionStartWorkflow(ScheduleListAction):
    """It starts a workflow of this type."""

    workflow: str


@dataclass(frozen=True)
class ScheduleListState:
    """Whether a listed schedule acts, and its note."""

    note: str | None
    paused: bool


@dataclass(frozen=True)
class ScheduleListSchedule:
    """What a listed schedule is for."""

    action: ScheduleListAction
    spec: ScheduleSpec
    state: ScheduleListState


@dataclass(frozen=True)
class ScheduleListInfo:
    """The last five actions of a listed schedule, oldest first, and when the next five are due."""

    recent_actions: Sequence[ScheduleActionResult]
    next_action_times: Sequence[datetime]


@dataclass(frozen=True)
class ScheduleListDescription(Described):
    """A schedule in a list; `describe` of its handle says more.

    Attributes:
        schedule: What it is for; None when its time zone is not known on this machine.
        info: What it has done, and what it is about to do.
    """

    schedule: ScheduleListSchedule | None
    info: ScheduleListInfo | None


def description(connection: Connection, row: ScheduleRow) -> ScheduleDescription:
    """Return the description of a schedule from its row.

    Raises:
        ValueError: Its spec cannot be read on this machine.
        HistoryCorruptError: It is not what this library wrote.
    """
    kept = Kept.of(row)
    record, progress = kept.record, kept.progress
    state = ScheduleState.from_record(progress.standing)
    return ScheduleDescription(
        row.schedule_id,
        from_record(record, state),
        ScheduleInfo.from_record(progress, upcoming(record, progress, row.now)),
        **_common(connection, kept),
    )


def listed(connection: Connection, row: ScheduleRow) -> ScheduleListDescription:
    """Return a schedule as a list shows it; one that cannot be read here has neither `schedule` nor `info`."""
    kept = Kept.of(row)
    record, progress = kept.record, kept.progress
    try:
        spec = ScheduleSpec.from_record(record.spec)
        following = upcoming(record, progress, row.now, SHOWN)
    except ValueError:
        return ScheduleListDescription(row.schedule_id, None, None, **_common(connection, kept))
    standing = progress.standing
    return ScheduleListDescription(
        row.schedule_id,
        ScheduleListSchedule(
            ScheduleListActionStartWorkflow(record.action.workflow_type),
            spec,
            ScheduleListState(standing.note or None, standing.paused),
        ),
        ScheduleListInfo(_recent(progress), [to_datetime(one) for one in following]),
        **_common(connection, kept),
    )


def _recent(progress: ScheduleProgress) -> list[ScheduleActionResult]:
    return [ScheduleActionResult.from_record(one) for one in progress.recent[-SHOWN:]]


def _common(connection: Connection, kept: Kept) -> dict[str, Any]:
    return {
        "typed_search_attributes": decode_search_attributes(kept.record.search_attributes),
        "raw_memo": kept.record.memo,
        "data_converter": connection.converter_for(kept.record.action.workflow_id),
    }


class ScheduleAsyncIterator:
    """The schedules of a database, by the bytes of their ids, for `async for`; read page by page."""

    def __init__(self, connection: Connection, page_size: int, next_page_token: bytes | None) -> None:
        self._connection = connection
        self._page_size = page_size
        self._token = next_page_token
        self._page: Sequence[ScheduleListDescription] | None = None
        self._index = 0

    @property
    def current_page_index(self) -> int:
        """The place in the present page of what comes next."""
        return self._index

    @property
    def current_page(self) -> Sequence[ScheduleListDescription] | None:
        """The present page, None before the first one was read."""
        return self._page

    @property
    def next_page_token(self) -> bytes | None:
        """Where the next page begins, None when there is none; a list made with it begins there."""
        return self._token

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Read the next page.

        Args:
            page_size: How many schedules it has at most; as the list was made by default.

        Raises:
            StoreUnavailableError: The database is away.
        """
        size = self._page_size if page_size is None else page_size
        after = (self._token or b"").decode()
        store, patiently = self._connection.store, self._connection.patiently
        rows = await patiently(lambda: store.list_schedules(after, size + 1))
        self._page = [listed(self._connection, row) for row in rows[:size]]
        self._index = 0
        self._token = rows[size - 1].schedule_id.encode() if len(rows) > size else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ScheduleListDescription:
        while True:
            if self._page is None:
                await self.fetch_next_page()
                continue
            if self._index < len(self._page):
                self._index += 1
                return self._page[self._index - 1]
            if self._token is None:
                raise StopAsyncIteration
            await self.fetch_next_page()
