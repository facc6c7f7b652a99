"""What runs are found by, and lists and counts of what a filter finds."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from durable._engine.records import Hold, ListedRun, RunStatus, Upsert
from durable._engine.versioning import queue_of
from durable.history import Payload
from durable.history._search_attributes import decode_search_attributes
from durable.store._filter import (
    SQLITE,
    CountQuery,
    ListQuery,
    Position,
    attribute_rows,
    count_statement,
    list_statement,
)
from durable.store.sqlite import _rows
from durable.store.sqlite._rows import Many

SQL = _rows.queries("search")
_add_types = Many(SQL["add_types"])
_drop = Many(SQL["drop_attributes"])
_insert = Many(SQL["insert_attributes"])


def types(db: sqlite3.Connection) -> dict[str, int]:
    """The types of search attributes, by name."""
    return dict(db.execute(SQL["types"]).fetchall())


def add_types(db: sqlite3.Connection, wanted: Mapping[str, int]) -> dict[str, int]:
    """Give search attributes a type that have none; return all types."""
    _add_types(db, list(wanted.items()))
    return types(db)


def write(db: sqlite3.Connection, found: Sequence[tuple[str, Mapping[str, Payload]]]) -> None:
    """Write what runs are found by that have no rows for these attributes. A value of another type than its name's is not
    found."""
    if not found:
        return
    rows = [
        (run_id, row) for run_id, change in found for row in attribute_rows(decode_search_attributes(change))
    ]
    known = add_types(db, {row.name: row.type for _, row in rows})
    _insert(
        db,
        [
            (run_id, row.name, row.position, row.text_value, row.int_value, row.float_value)
            for run_id, row in rows
            if known[row.name] == row.type
        ],
    )


def upsert(db: sqlite3.Connection, upserts: Sequence[tuple[str, Upsert]]) -> None:
    """Change what runs are found by, and what is shown of them."""
    changes = [(run_id, change.search_attributes) for run_id, change in upserts]
    _drop(db, [(run_id, name) for run_id, change in changes for name in change])
    write(db, changes)
    for run_id, change in upserts:
        db.execute(SQL["set_info"], (change.info, run_id))


def list_runs(
    db: sqlite3.Connection, query: ListQuery, limit: int, behind: Position | None
) -> tuple[list[ListedRun], Position | None]:
    """See `Store.list_runs`."""
    statement = list_statement(query, SQLITE, limit, behind)
    rows = db.execute(SQL["list_runs"].replace(":page", statement.sql), statement.parameters).fetchall()
    keys = len(query.order)
    found = [_listed(row[2 + keys :]) for row in rows]
    return found, rows[-1][2 : 2 + keys] if len(rows) == limit else None


def _listed(row: Sequence[object]) -> ListedRun:
    values: list[object] = list(row)
    values[3] = queue_of(str(values[3]))
    values[4] = RunStatus(int(str(values[4])))
    values[17] = Hold(int(str(values[17])))
    return ListedRun(*values)  # type: ignore[arg-type]


def count_runs(db: sqlite3.Connection, query: CountQuery) -> list[tuple[str | int | None, int]]:
    """See `Store.count_runs`."""
    statement = count_statement(query, SQLITE)
    rows = db.execute(statement.sql, statement.parameters).fetchall()
    return [(None if query.group_by is None else row[0], row[-1]) for row in rows]
