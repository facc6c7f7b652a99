"""Reading what a live database holds, page by page: nothing is locked, and nothing waits for it.

The statements are the same for both databases, which name their tables alike. A page is read in one snapshot: on
PostgreSQL in one statement, on SQLite in one transaction of the connection that only reads. What its runs speak of, their
children and successors, is read behind it; so what seems wrong is looked at once more before anybody is told.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from durable.history import CLOSING, EventRow, StartChildWorkflowExecutionInitiated
from durable.store import Store, beneath
from durable.testing.invariants._evidence import (
    Holders,
    MessageRow,
    RunFacts,
    RunRow,
    Snapshot,
    TaskRow,
    UpdateRow,
)
from durable.testing.invariants._table import Violation, check_runs

RUNS_PER_PAGE = 200
EVENTS_PER_PAGE = 20_000
"""How much is in memory at a time; one run is never split."""

LOOKS = 3
BETWEEN = 0.3
"""How often, and seconds between, what seems wrong is looked at before it counts."""

_PAGE = (
    "SELECT {run} FROM durable.runs WHERE {page} ORDER BY run_id",
    "SELECT run_id, seq, task, type, time, data FROM durable.events WHERE {page} ORDER BY run_id, seq",
    "SELECT run_id, position, message_id, type, internal, data FROM durable.inbox WHERE {page} ORDER BY position",
    "SELECT run_id, id, state, attempt, worker FROM durable.activity_tasks WHERE {page} ORDER BY run_id, id",
    "SELECT run_id, message_id, stage FROM durable.update_outcomes WHERE {page}",
    "SELECT worker_id FROM durable.workers",
)
_SIZES = """SELECT run_id, (SELECT count(*) FROM durable.events WHERE events.run_id = runs.run_id) FROM durable.runs
    WHERE run_id > {0} ORDER BY run_id LIMIT {1}"""
_RELATED = """SELECT {run} FROM durable.runs WHERE run_id IN {ids}
    UNION SELECT {run} FROM durable.runs WHERE status = 1 AND workflow_id IN {texts}"""
_HOLDERS = """SELECT 1, limit_key, {held} FROM durable.runs WHERE status = 1 AND gate = 2 AND limit_key IS NOT NULL
    GROUP BY limit_key
    UNION ALL SELECT 2, limit_key, {held} FROM durable.activity_tasks
    WHERE (state = 2 OR outside_since IS NOT NULL) AND limit_key IS NOT NULL GROUP BY limit_key"""
_SET = "SELECT kind, key, most FROM durable.limit_keys WHERE kind > 0 AND most IS NOT NULL"

_PARTS = {
    "run": "run_id, workflow_id, workflow_type, status, hold, {reason} AS reason, owner, epoch, wake_at, deaths, "
    "first_run_id, parent_run_id, parent_close_policy, gate",
    "page": "run_id >= {0} AND run_id <= {1}",
    "held": "sum(coalesce(limit_weight, 1)), max(limit_most) AS most",
}
"""What several statements have in common."""
_OF_SQLITE = {
    "reason": "reason",
    "ids": "(SELECT value FROM json_each(?1))",
    "texts": "(SELECT value FROM json_each(?2))",
    "0": "?1",
    "1": "?2",
}
_OF_POSTGRES = {
    "reason": "(SELECT d.reason FROM durable.run_data d WHERE d.run_id = runs.run_id)",
    "ids": "(SELECT unnest($1::uuid[]))",
    "texts": "(SELECT unnest($2::text[]))",
    "0": "$1",
    "1": "$2",
}
"""What the databases say differently."""

Rows = list[Sequence[Any]]


class _SQLite:
    """Statements for SQLite."""

    lowest = ""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def ask(self, statements: Sequence[str], *values: Any) -> list[Rows]:
        given = [json.dumps(value) if isinstance(value, list) else value for value in values]
        asked = [_written(one, _OF_SQLITE).replace(" durable.", " ") for one in statements]

        def read(db: Any) -> list[Rows]:
            if not db.in_transaction:
                db.execute("BEGIN")
            return [db.execute(one, given[: ("?1" in one) + ("?2" in one)]).fetchall() for one in asked]

        found: list[Rows] = await self._store._read(read)
        return found


class _Postgres:
    """Statements for PostgreSQL: all of them together are one, and so one snapshot."""

    lowest = "00000000-0000-0000-0000-000000000000"

    def __init__(self, store: Any) -> None:
        self._pool = store._pool

    async def ask(self, statements: Sequence[str], *values: Any) -> list[Rows]:
        asked = [_written(one, _OF_POSTGRES) for one in statements]
        together = ", ".join(f"(SELECT json_agg(answer) FROM ({one}) AS answer)" for one in asked)  # noqa: S608
        (row,) = await self._pool.fetch(self._pool.settings.qualify(f"SELECT {together}"), *values, read=True)
        return [
            [[_bytes(value) for value in one.values()] for one in json.loads(rows or "[]")] for rows in row
        ]


def _written(statement: str, differently: dict[str, str]) -> str:
    for name, text in (*_PARTS.items(), *differently.items()):
        statement = statement.replace(f"{{{name}}}", text)
    return statement


def _bytes(value: Any) -> Any:
    """Bytes come as text in JSON; no other text of these tables begins so but one that was made to."""
    return bytes.fromhex(value[2:]) if isinstance(value, str) and value.startswith("\\x") else value


def _database(store: Store) -> _SQLite | _Postgres:
    at_bottom: Any = beneath(store)
    return _Postgres(at_bottom) if hasattr(at_bottom, "_pool") else _SQLite(at_bottom)


async def _read_page(store: Store, first: str, last: str) -> Snapshot:
    """Return the runs from one to another, both included."""
    database = _database(store)
    runs, events, *others, workers = await database.ask(_PAGE, first, last)
    beside: tuple[dict[str, list[Any]], ...] = ({}, {}, {}, {})
    for run_id, seq, task, type, time, data in events:
        beside[0].setdefault(run_id, []).append(EventRow(seq, task, type, data, time))
    for found, kind, rows in zip(beside[1:], (MessageRow, TaskRow, UpdateRow), others, strict=True):
        for row in rows:
            found.setdefault(row[0], []).append(kind(*row))
    facts = {row[0]: RunFacts(_run(row), *(found.get(row[0], ()) for found in beside)) for row in runs}
    ids, workflow_ids = _spoken_of(facts.values())
    (related,) = await database.ask((_RELATED,), ids, workflow_ids)
    return Snapshot(
        await store.now(),
        facts,
        frozenset(row[0] for row in workers),
        {row[0]: _run(row) for row in related if row[0] not in facts},
        whole=False,
    )


def _run(row: Sequence[Any]) -> RunRow:
    values: list[Any] = [*row[:10], row[10] or "", *row[11:]]
    return RunRow(*values)


def _spoken_of(runs: Iterable[RunFacts]) -> tuple[list[str], list[str]]:
    """The ids of runs, and the workflow ids of children, that runs speak of."""
    ids: set[str] = set()
    workflow_ids: set[str] = set()
    for run in runs:
        if run.row.parent_run_id:
            ids.add(run.row.parent_run_id)
        if run.decoded:
            first, last = run.decoded[0].data, run.decoded[-1].data
            ids.add(getattr(first, "continued_run_id", ""))
            if isinstance(last, CLOSING):
                ids |= {getattr(last, "new_run_id", ""), getattr(last, "reset_run_id", "")}
        for event in run.decoded if run.row.open else ():
            if isinstance(event.data, StartChildWorkflowExecutionInitiated):
                ids.add(event.data.run_id)
                workflow_ids.add(event.data.workflow_id)
    return sorted(ids - {""}), sorted(workflow_ids)


async def read_holders(store: Store) -> list[Holders]:
    """Return how much of each concurrency key is taken."""
    held, set_to = await _database(store).ask((_HOLDERS, _SET))
    limits = {(kind, key): most for kind, key, most in set_to}
    return [
        Holders(kind, key, held, max(most or 0, limits.get((kind, key), 0)))
        for kind, key, held, most in held
        if most is not None or (kind, key) in limits
    ]


async def read_pages(store: Store) -> AsyncGenerator[Snapshot]:
    """Return what a database holds, some runs at a time; each page is one instant."""
    after = _database(store).lowest
    while True:
        (sizes,) = await _database(store).ask((_SIZES,), after, RUNS_PER_PAGE)
        if not sizes:
            return
        last, events = sizes[0][0], 0
        for run_id, count in sizes:
            events += count
            if events > EVENTS_PER_PAGE and run_id != sizes[0][0]:
                break
            last = run_id
        yield await _read_page(store, sizes[0][0], last)
        after = last


async def read_snapshot(store: Store) -> Snapshot:
    """Return all that a database holds; for tests, where nothing is written meanwhile, and nothing was deleted."""
    runs: dict[str, RunFacts] = {}
    workers: frozenset[str] = frozenset()
    related: dict[str, RunRow] = {}
    async for page in read_pages(store):
        runs.update(page.runs)
        related.update(page.related)
        workers |= page.workers
    related = {run_id: row for run_id, row in related.items() if run_id not in runs}
    return Snapshot(await store.now(), runs, workers, related, await read_holders(store))


async def verify(store: Store) -> AsyncGenerator[tuple[int, list[Violation]]]:
    """Hold every run of a live database against the invariants that its tables can tell of.

    It only reads, some runs at a time, and holds up nobody. What seems wrong is looked at again, since children and
    parents are read one behind the other; so what is found was there for about a second.

    Yields:
        How many runs were looked at, and what is wrong with them, page by page; at last 0 runs, with the concurrency keys
        that are held too often.
    """
    async for page in read_pages(store):
        found = check_runs(page)
        for _ in range(LOOKS - 1):
            if not found:
                break
            await asyncio.sleep(BETWEEN)
            again = [await _read_page(store, run_id, run_id) for run_id in {one.where for one in found}]
            found = [one for snapshot in again for one in check_runs(snapshot) if one in found]
        yield len(page.runs), found
    if over := [one for one in await read_holders(store) if one.held > one.most]:
        await asyncio.sleep(BETWEEN)
        still = await read_holders(store)
        over = [one for one in over if one in still]
    yield 0, [Violation("I28", one.key, f"{one.held} of {one.most} are held") for one in over]
