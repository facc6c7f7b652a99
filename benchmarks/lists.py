"""The first page of a list among a million workflows, by each kind of condition that has an index.

The runs are made by one statement, and have no histories: a list does not read them. They started a second after another. Half
of the filters find few runs, or only old ones; those are what an index is for.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Mapping

import asyncpg

from benchmarks._bench import Bench
from benchmarks._databases import NAMESPACE, connect, is_postgres, path_of
from benchmarks._figures import Figures, figure
from benchmarks._seeding import settled
from durable import Client

MANY = 1_000_000
LEAST = 2_000

PAGE = 100
"""Runs of a list, as `durable workflow list` shows."""

DAY = 86_400_000_000
HOUR = DAY // 24

FILTERS = (
    "",
    "ExecutionStatus = 'Running'",
    "ExecutionStatus = 'Failed'",
    "ExecutionStatus IN ('Canceled', 'TimedOut')",
    "WorkflowType = 'common' AND ExecutionStatus = 'Terminated'",
    "WorkflowType = 'rare'",
    "WorkflowType IN ('rare', 'none')",
    "Hold = 'blocked'",
    "TemporalReportedProblems = 'category=WorkflowTaskFailed'",
    "WorkflowId = '{prefix}00000007'",
    "WorkflowId STARTS_WITH '{prefix}000010'",
    "WorkflowId STARTS_WITH '{prefix}'",
    "StartTime < '{hour}'",
    "CloseTime < '{hour}'",
    "CloseTime > '{end}'",
    "ParentWorkflowId = '{prefix}00000001'",
    "RootWorkflowId = '{prefix}00000001'",
    "Region = 'few'",
    "Region = 'many'",
    "Region = 'many' AND WorkflowId STARTS_WITH '{prefix}000010'",
)
"""`{prefix}` begins all ids, `{hour}` is an hour after the first run started, `{end}` after the last one did."""

_STATUS = """case when n % 1000 = 1 then 3 when n % 5000 = 2 then 5 when n % 5000 = 3 then 7 when n % 5000 = 4 then 4
    when n % 100 = 7 then 1 else 2 end"""

_RUNS = """
insert into {runs} (run_id, workflow_id, workflow_type, task_queue, status, started_at, closed_at, hold, wake_at,
        parent_workflow_id, root_workflow_id, format, priority)
    select {run_id}, {name}, case when n % 1000 = 0 then 'rare' else 'common' end, '{prefix}', s,
        {first} + n * 1000000, case when s = 1 then null else {first} + n * 1000000 + 500000 end,
        case when s = 1 and n % 5000 = 7 then 1 else 0 end, case when s = 1 then {first} + 1000 * {day} end,
        case when n < 10 then '{prefix}00000001' end, case when n < 10 then '{prefix}00000001' end, 1, 3
    from (select n, {status} as s from {numbers}) numbered"""

_DATA = "insert into {data} (run_id, info) select run_id, {empty} from {runs} where task_queue = '{prefix}'"

_ATTRIBUTES = """
insert into {attributes} (run_id, name, position, text_value)
    select run_id, 'Region', 0, case when hold = 1 then 'few' else 'many' end
    from {runs} where task_queue = '{prefix}' and (hold = 1 or status = 3 or workflow_id like '%5')"""

_POSTGRES: Mapping[str, str] = {
    "runs": f"{NAMESPACE}.runs",
    "data": f"{NAMESPACE}.run_data",
    "attributes": f"{NAMESPACE}.search_attributes",
    "run_id": "('019ad' || lpad(to_hex(n), 7, '0') || '7000a' || substr(md5(random()::text), 1, 15))::uuid",
    "name": "'{prefix}' || lpad(n::text, 8, '0')",
    "empty": "'{}'::bytea",
    "numbers": "generate_series(1::bigint, {count}) n",
}
_SQLITE: Mapping[str, str] = {
    "runs": "runs",
    "data": "run_data",
    "attributes": "search_attributes",
    "run_id": "'019ad' || printf('%07x', n) || lower(hex(randomblob(8)))",
    "name": "'{prefix}' || printf('%08d', n)",
    "empty": "cast('{}' as blob)",
    "numbers": "(with recursive up (n) as (select 1 union all select n + 1 from up where n < {count}) select n from up)",
}


def run(bench: Bench) -> Figures:
    """Measure each database."""
    return {kind: asyncio.run(_measure(bench, url)) for kind, url in bench.urls.items()}


async def _measure(bench: Bench, url: str) -> Figures:
    count = bench.amount(MANY, least=LEAST)
    first = round(time.time() * 1_000_000) - count * 1_000_000
    async with connect(url) as client:
        await client.store.attribute_types({"Region": 2})
        await _fill(url, count, first)
        await settled(url)
        times = {
            text: [await _page(client, text, first, count) for _ in range(bench.repeats)] for text in FILTERS
        }
    return {
        "workflows": count,
        "the slowest": figure(
            [max(one) for one in zip(*times.values(), strict=True)], "ms", lower_is_better=True
        ),
        "filters": {text: figure(samples, "ms", lower_is_better=True) for text, samples in times.items()},
    }


async def _page(client: Client, text: str, first: int, count: int) -> float:
    """Milliseconds until a page has been read."""
    told = text.format(
        prefix=_prefix(first), hour=_instant(first + HOUR), end=_instant(first + count * 1_000_000 + HOUR)
    )
    begun = time.perf_counter()
    async for _ in client.list_workflows(told, limit=PAGE):
        pass
    return (time.perf_counter() - begun) * 1000


def _prefix(first: int) -> str:
    """What tells the workflows of this time from those of an earlier one in the same database."""
    return f"list-{first:x}-"


def _instant(micros: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(micros // 1_000_000))


async def _fill(url: str, count: int, first: int) -> None:
    postgres = is_postgres(url)
    names = {
        **(_POSTGRES if postgres else _SQLITE),
        "first": str(first),
        "day": str(DAY),
        "status": _STATUS,
        "prefix": _prefix(first),
    }
    names["numbers"] = names["numbers"].format(count=count)
    names["name"] = names["name"].format(prefix=_prefix(first))
    statements = [one.format(**names) for one in (_RUNS, _DATA, _ATTRIBUTES)]
    if postgres:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
        return
    with contextlib.closing(sqlite3.connect(path_of(url), isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        for statement in statements:
            db.execute(statement)
        db.execute("COMMIT")
