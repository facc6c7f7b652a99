"""Lists and counts of workflow executions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, Self, TypeVar

from durable._internal.shown import shown
from durable.client._connection import Connection
from durable.client._executions import WorkflowExecution, execution_of
from durable.client._handle import WorkflowHandle
from durable.client._history import WorkflowHistory, WorkflowHistoryEventFilterType
from durable.common import SearchAttributeIndexedValueType, WorkflowExecutionStatus
from durable.exceptions import WorkflowNotFoundError
from durable.store import ListedRun
from durable.store._filter import (
    CustomTypes,
    Filter,
    ListQuery,
    Position,
    check_count,
    check_list,
    decode_token,
    encode_token,
    of_workflows,
    parse,
)

MAX_PAGE = 10_000
"""Runs of a page: what is held in memory at once, and read under one view of the database."""

E_co = TypeVar("E_co", covariant=True)

CountValue = str | WorkflowExecutionStatus | None


async def types_of(connection: Connection) -> CustomTypes:
    """Return the search attributes there are, by name."""
    known = await connection.patiently(connection.store.attribute_types)
    return {name: SearchAttributeIndexedValueType(kind) for name, kind in known.items()}


@dataclass(frozen=True)
class WorkflowExecutionCountAggregationGroup:
    """How many runs are alike.

    Attributes:
        count: How many.
        group_values: The value of what the count is grouped by: an `ExecutionStatus` by its name, as filters have it.
    """

    count: int
    group_values: Sequence[str]


@dataclass(frozen=True)
class WorkflowExecutionCount:
    """How many runs a filter finds.

    Attributes:
        count: All together.
        groups: How many of each kind, the most frequent first; empty without GROUP BY.
    """

    count: int
    groups: Sequence[WorkflowExecutionCountAggregationGroup]


async def count(connection: Connection, query: str | None) -> WorkflowExecutionCount:
    """See `Client.count_workflows`."""
    asked = check_count(of_workflows(parse("" if query is None else query)), await types_of(connection))
    rows = await connection.patiently(lambda: connection.store.count_runs(asked))
    groups = [
        WorkflowExecutionCountAggregationGroup(number, [group_name(value)])
        for value, number in rows
        if value is not None
    ]
    return WorkflowExecutionCount(sum(number for _, number in rows), groups)


def group_name(value: str | int) -> str:
    """Return the value of a group as filters have it."""
    if isinstance(value, str):
        return value
    return WorkflowExecutionStatus(value).name.title().replace("_", "")


class ExecutionPages(Generic[E_co]):
    """What a filter finds, page by page as it is asked for; a base of lists.

    Attributes:
        next_page_token: Where to go on behind the present page, for another list; None behind the last one.
    """

    scope: Callable[[Filter], Filter] = staticmethod(of_workflows)

    def __init__(
        self,
        connection: Connection,
        query: str | None,
        *,
        limit: int | None,
        page_size: int,
        next_page_token: bytes | None,
    ) -> None:
        self._connection = connection
        self._text = "" if query is None else query
        self._tree = type(self).scope(parse(self._text))
        self._query: ListQuery | None = None
        self._left = None if limit is None else check_number(limit, "limit", least=0)
        self._page_size = check_number(page_size, "page_size", least=1, most=MAX_PAGE)
        self.next_page_token = next_page_token
        self._page: Sequence[E_co] | None = None
        self._index = 0

    @property
    def current_page(self) -> Sequence[E_co] | None:
        """The page that is read now; None before the first one."""
        return self._page

    @property
    def current_page_index(self) -> int:
        """Which run of the present page comes next."""
        return self._index

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E_co:
        while True:
            if self._left == 0:
                raise StopAsyncIteration
            if self._page is not None and self._index < len(self._page):
                found = self._page[self._index]
                self._index += 1
                if self._left is not None:
                    self._left -= 1
                return found
            if self._page is not None and self.next_page_token is None:
                raise StopAsyncIteration
            await self.fetch_next_page()

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Read the next page, whatever is left of the present one.

        Args:
            page_size: How many runs it has at most; as the list was asked for by default.

        Raises:
            FilterError: The filter names what there is not, or the page token is not one of this filter.
            StoreUnavailableError: The database is away.
        """
        connection = self._connection
        size = (
            self._page_size
            if page_size is None
            else check_number(page_size, "page_size", least=1, most=MAX_PAGE)
        )
        if self._left is not None:
            size = max(1, min(size, self._left))
        if self._query is None:
            self._query = check_list(self._tree, await types_of(connection))
        query, token = self._query, self.next_page_token
        behind = None if token is None else decode_token(query, token)
        runs, last = await connection.patiently(partial(self._read, query, size, behind))
        self.next_page_token = None if last is None else encode_token(query, last)
        self._page, self._index = [self._shown(run) for run in runs], 0

    async def _read(
        self, query: ListQuery, size: int, behind: Position | None
    ) -> tuple[list[ListedRun], Position | None]:
        return await self._connection.store.list_runs(query, size, behind)

    def _shown(self, run: ListedRun) -> E_co:
        raise NotImplementedError


class WorkflowExecutionAsyncIterator(ExecutionPages[WorkflowExecution]):
    """The runs that a filter finds, page by page as they are asked for. `Client.list_workflows` makes it.

    A run that is started or closed meanwhile shifts nothing: each page begins behind the last run of the page before.

    Attributes:
        next_page_token: Where to go on behind the present page, for another `list_workflows`; None behind the last one.
    """

    def _shown(self, run: ListedRun) -> WorkflowExecution:
        connection = self._connection
        return execution_of(run, connection.namespace, connection.converter_for(run.workflow_id))

    async def map_histories(
        self, *, event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT
    ) -> AsyncIterator[WorkflowHistory]:
        """Yield the whole log of each run, for a `Replayer` or an archive.

        Runs that were deleted meanwhile are left out.

        Args:
            event_filter_type: CLOSE_EVENT for nothing but the events that closed them.

        Raises:
            HistoryError: A log cannot be read by this release.
            Exception: As the list itself.
        """
        async for run in self:
            handle = WorkflowHandle[object, object](self._connection, run.id, run_id=run.run_id)
            try:
                history = await handle.fetch_history(event_filter_type=event_filter_type)
            except WorkflowNotFoundError:
                continue
            yield history


def check_number(value: object, name: str, *, least: int, most: int | None = None) -> int:
    """Return a whole number that is within bounds.

    Raises:
        TypeError: It is none.
        ValueError: It is out of bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if value < least or (most is not None and value > most):
        wanted = f"from {least} to {most}" if most is not None else f"at least {least}"
        raise ValueError(f"{name} must be {wanted}, not {shown(value)}")
    return value
