"""Parked runs by the hundred thousand, as real ones would have left them.

One real run is started, parks and is given up by its worker; then its rows are copied as they stand, but for its ids, which
are replaced wherever they stand, and its instants, which are moved. So a copy goes on, replays and closes as the real one
would; what runs of it in a benchmark is the proof.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import dataclass
from typing import Any

import asyncpg

from benchmarks._databases import NAMESPACE, connect, is_postgres, path_of
from durable import Worker
from durable.workflow._calls import WorkflowCall

DIGITS = 8
AT_ONCE = 50_000
"""Copies in one transaction."""

_POSTGRES = """
with new as materialized (
    select ('019ad' || lpad(to_hex(n), 7, '0') || '7' || substr(md5(n::text || $2), 1, 3) || 'a'
            || substr(md5($2 || n::text), 1, 15))::uuid as run_id, $2 || lpad(n::text, 8, '0') as workflow_id,
        $5::bigint + ($6::float8 * (n - $3))::bigint as wake_at
    from generate_series($3::integer, $4::integer) n),
copied as (
    insert into durable.runs
        select (jsonb_populate_record(r, jsonb_build_object('run_id', new.run_id, 'workflow_id', new.workflow_id,
            'wake_at', new.wake_at))).*
        from new, durable.runs r where r.run_id = $1::uuid),
described as (
    insert into durable.run_data (run_id, info, reason)
        select new.run_id, d.info, d.reason from new, durable.run_data d where d.run_id = $1::uuid)
insert into durable.events (run_id, seq, task, type, time, data)
    select new.run_id, e.seq, e.task, e.type, e.time + coalesce(new.wake_at - $8::bigint, 0),
        convert_to(replace(replace(convert_from(e.data, 'UTF8'), $1::text, new.run_id::text), $7, new.workflow_id), 'UTF8')
    from new, durable.events e where e.run_id = $1::uuid
"""

_UUID = (
    "'019ad' || substr(printf('%07x', n), 1, 3) || '-' || substr(printf('%07x', n), 4) || '-7' || "
    "substr(lower(hex(randomblob(2))), 2) || '-a' || substr(lower(hex(randomblob(2))), 2) || '-' || "
    "lower(hex(randomblob(6)))"
)
"""In the order of their numbers, as those of real starts are in the order of their time."""

_SQLITE = (
    "CREATE TEMP TABLE IF NOT EXISTS fresh (run_id TEXT, workflow_id TEXT, wake_at INTEGER)",
    "DELETE FROM fresh",
    f"""
    WITH RECURSIVE numbers (n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last)
    INSERT INTO fresh SELECT {_UUID}, :prefix || printf('%08d', n), :wake_at + CAST(:gap * (n - :first) AS INTEGER)
    FROM numbers""",
    "INSERT INTO runs ({columns}) SELECT {values} FROM fresh, runs r WHERE r.run_id = :template",
    "INSERT INTO run_data (run_id, info) SELECT fresh.run_id, d.info FROM fresh, run_data d WHERE d.run_id = :template",
    """
    INSERT INTO events (run_id, seq, task, type, time, data)
    SELECT fresh.run_id, e.seq, e.task, e.type, e.time + coalesce(fresh.wake_at - :template_wake_at, 0), CAST(replace(replace(
        CAST(e.data AS TEXT), :template, fresh.run_id), :template_id, fresh.workflow_id) AS BLOB)
    FROM fresh, events e WHERE e.run_id = :template""",
)


@dataclass(frozen=True)
class Template:
    """A real run that is parked, and has no owner."""

    run_id: str
    workflow_id: str
    wake_at: int | None

    @property
    def prefix(self) -> str:
        """What the ids of its copies begin with."""
        return self.workflow_id[:-DIGITS]


async def real(url: str, name: str, definition: Any, call: WorkflowCall, *, events: int = 2) -> Template:
    """Start a run, see it park, and have its worker give it up."""
    workflow_id = f"{name}-{'0' * DIGITS}"
    async with connect(url) as client:
        async with Worker(client, workflows=[definition], activities=[]):
            handle = await client.start_workflow(call, id=workflow_id)
            while (await handle.describe()).history_length < events:
                await asyncio.sleep(0.01)
        record = await client.store.find_run(workflow_id)
        assert record is not None
        assert record.owner is None
        return Template(record.run_id, workflow_id, record.wake_at)


async def copies(
    url: str, template: Template, first: int, count: int, *, wake_at: int | None, gap: float = 0.0
) -> None:
    """Copy a parked run.

    Args:
        url: Where.
        template: It.
        first: The number of the first copy; ids end with it.
        count: How many.
        wake_at: When they wake; None for those that wait for a message.
        gap: Microseconds between one and the next.
    """
    for start in range(first, first + count, AT_ONCE):
        last = min(start + AT_ONCE, first + count) - 1
        at = None if wake_at is None else wake_at + round(gap * (start - first))
        if is_postgres(url):
            await _on_postgres(url, template, start, last, at, gap)
        else:
            _on_sqlite(url, template, start, last, at, gap)


async def _on_postgres(
    url: str, template: Template, first: int, last: int, wake_at: int | None, gap: float
) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            _POSTGRES.replace("durable.", f"{NAMESPACE}."),
            template.run_id,
            template.prefix,
            first,
            last,
            wake_at,
            gap,
            template.workflow_id,
            template.wake_at,
        )
    finally:
        await connection.close()


def _on_sqlite(url: str, template: Template, first: int, last: int, wake_at: int | None, gap: float) -> None:
    with contextlib.closing(sqlite3.connect(path_of(url), isolation_level=None)) as db:
        names = [row[1] for row in db.execute("PRAGMA table_info(runs)")]
        values = [
            f"fresh.{name}" if name in ("run_id", "workflow_id", "wake_at") else f"r.{name}" for name in names
        ]
        given = {
            "first": first,
            "last": last,
            "prefix": template.prefix,
            "wake_at": wake_at,
            "gap": gap,
            "template": template.run_id,
            "template_id": template.workflow_id,
            "template_wake_at": template.wake_at,
        }
        db.execute("BEGIN IMMEDIATE")
        for statement in _SQLITE:
            sql = statement.replace("{columns}", ", ".join(names)).replace("{values}", ", ".join(values))
            db.execute(sql, given if ":" in sql else ())
        db.execute("COMMIT")


async def settled(url: str) -> None:
    """Let the database know what is there: in production autovacuum has seen a million rows long ago."""
    if is_postgres(url):
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("vacuum analyze")
        finally:
            await connection.close()
