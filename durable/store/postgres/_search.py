"""What runs are found by, and lists and counts of what a filter finds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from durable._engine.records import Hold, ListedRun, RunStatus
from durable._engine.versioning import queue_of
from durable.history import Payload
from durable.history._search_attributes import decode_search_attributes
from durable.store._filter import (
    POSTGRES,
    CountQuery,
    ListQuery,
    Position,
    Statement,
    count_statement,
    list_statement,
)
from durable.store.postgres._part import Part
from durable.store.postgres._pool import Pool
from durable.store.postgres._session import Row


class Search(Part):
    """The port's methods about lists."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._types: dict[str, int] = {}  # a type never changes

    async def attribute_types(self, wanted: Mapping[str, int] = MappingProxyType({})) -> dict[str, int]:
        """Give search attributes a type, and return the types of those that have one, by name."""
        if not wanted or not wanted.keys() <= self._types.keys():
            names = sorted(wanted)
            if names:
                await self._fetch("add_attribute_types", names, [wanted[name] for name in names])
            self._types = {row["name"]: row["type"] for row in await self._read("attribute_types")}
        return self._types

    async def _learn(self, changes: Iterable[Mapping[str, Payload]]) -> None:
        """Give attributes that are about to be written a type, if they have none."""
        unknown: dict[str, int] = {}
        for attributes in changes:
            if not attributes.keys() <= self._types.keys():
                unknown |= types_of(attributes)
        if unknown:
            await self.attribute_types(unknown)

    async def list_runs(
        self, query: ListQuery, limit: int, behind: Position | None = None
    ) -> tuple[list[ListedRun], Position | None]:
        """Return a page of the runs a query finds, in its order, and where it ended; None when it is the last one."""
        statement = list_statement(query, POSTGRES, limit, behind)
        keys = len(query.order)
        names = ", ".join(f"key_{n}" for n in range(keys))
        sql = self._sql["list_runs"].replace(":page", statement.sql).replace(":keys", names)
        rows = await self._ask(Statement(sql, statement.parameters))
        found = [_listed(row) for row in rows]
        return found, _position(rows[-1], keys) if len(rows) == limit else None

    async def count_runs(self, query: CountQuery) -> list[tuple[str | int | None, int]]:
        """Return how many runs a query finds, for each group, the largest first; without groups for None."""
        rows = await self._ask(count_statement(query, POSTGRES))
        return [(None if query.group_by is None else row[0], row[-1]) for row in rows]

    async def _ask(self, statement: Statement) -> Sequence[Row]:
        sql = self._pool.settings.qualify(statement.sql)
        return await self._pool.fetch(sql, *statement.parameters, read=True)


def types_of(attributes: Mapping[str, Payload]) -> dict[str, int]:
    """The types of attributes as they are set."""
    return {key.name: int(key.indexed_value_type) for key, _ in decode_search_attributes(attributes)}


def _position(row: Row, keys: int) -> Position:
    """The values a row is ordered by, which stand in front, behind its number and its run id."""
    values = list(row.values())[2 : 2 + keys]
    return tuple([value if isinstance(value, str | int | float | None) else str(value) for value in values])


def _listed(row: Row) -> ListedRun:
    return ListedRun(
        run_id=str(row["listed_id"]),
        workflow_id=row["workflow_id"],
        workflow_type=row["workflow_type"],
        task_queue=queue_of(row["task_queue"]),
        status=RunStatus(row["status"]),
        started_at=row["started_at"],
        execution_at=row["begins_at"],
        closed_at=row["closed_at"],
        history_length=row["length"],
        first_run_id=str(row["first_id"]),
        parent_workflow_id=row["parent_workflow_id"],
        parent_run_id=None if row["parent_run_id"] is None else str(row["parent_run_id"]),
        root_workflow_id=row["root_workflow"],
        root_run_id=str(row["root_run"]),
        info=row["info"],
        version=row["version"] or "",
        behavior=row["behavior"] or 0,
        hold=Hold(row["held"]),
        reason=row["reason"],
    )
