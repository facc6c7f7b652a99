"""How PostgreSQL carries out every statement of clients and workers: EXPLAIN of all of them beside ten parked runs, and beside a million.

A client and a worker do a little of everything, and the server explains each statement as it runs, those inside of functions too
(`auto_explain`, for which one has to be a superuser). What grows with the runs must be read by an index, a few rows at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from benchmarks._bench import ALL_POINTS, Bench
from benchmarks._databases import connect, is_postgres
from benchmarks._figures import Figures, figure
from benchmarks._programs import side_database
from benchmarks._seeding import Template, copies, real, settled
from benchmarks._workflows import increment
from durable import Worker, workflow
from durable.exceptions import WorkflowFailureError

FEW, MANY = 10, 1_000_000
"""Parked runs."""

OFTEN, LEAST = 12, 2
"""How often everything is done: until a statement has the plan that it keeps, and then some. Where little is to be done, less."""

OTHER = "bench-plans-other"
"""The task queue of activities that are not the owner's."""

GROWS = frozenset(
    {"runs", "run_data", "events", "inbox", "activity_tasks", "update_outcomes", "search_attributes"}
)
"""Tables with rows for each run."""

SETTINGS = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
    "client_min_messages": "log",
}

SHOWN = 160
"""Characters of a statement that tell it from others."""

PLAN = re.compile(r"^duration: .*? plan:\s*(\{.*\})\s*$", re.DOTALL)

Statements = dict[str, dict[str, int]]
"""For each statement, how it reads tables that grow, and how many rows of them at most."""


@workflow.defn(name="bench.parked")
async def parked() -> None:
    """Wait for long."""
    await workflow.sleep(timedelta(days=365))


@workflow.defn(name="bench.child")
async def child(number: int) -> int:
    """One step."""
    return await increment(number)


@workflow.defn(name="bench.again")
async def again(left: int) -> None:
    """Continue as new."""
    if left:
        workflow.continue_as_new(left - 1)


@workflow.defn(name="bench.everything")
class Everything:
    """A little of everything."""

    def __init__(self) -> None:
        self._told = self._asked = False

    @workflow.run
    async def run(self) -> int:
        done = await increment(0)
        done = await increment.options(task_queue=OTHER)(done)
        done = await workflow.execute_child_workflow(child(done))
        await workflow.sleep(0.01)
        await workflow.wait_condition(lambda: self._told and self._asked)
        return done

    @workflow.signal
    async def tell(self) -> None:
        self._told = True

    @workflow.update
    async def ask(self) -> bool:
        self._asked = True
        return self._told

    @workflow.query
    def told(self) -> bool:
        return self._told


def run(bench: Bench) -> Figures:
    """Explain on PostgreSQL."""
    found: Figures = {}
    for kind, url in bench.urls.items():
        if is_postgres(url):
            with side_database(url) as place:
                found[kind] = asyncio.run(_measure(bench, place))
    return found


async def _measure(bench: Bench, url: str) -> Figures:
    many = bench.amount(MANY, least=2 * FEW)
    often = OFTEN if bench.scale >= ALL_POINTS else LEAST
    await _explained(url)
    template = await real(url, "parked", parked, parked())
    few_plans = await _plans(url, template, 1, FEW, often)
    many_plans = await _plans(url, template, FEW + 1, many, often)
    both = sorted(few_plans.keys() & many_plans.keys())
    return {
        "parked runs": many,
        "statements": len(many_plans),
        # A table of one page is best read whole, whatever it is indexed by: what counts is how much of it there was.
        "most rows read by a sequential scan": figure([_most(many_plans, "Seq Scan")], "rows"),
        "most rows read by a statement": figure([_most(many_plans)], "rows"),
        f"most rows read by a statement, beside {FEW}": figure([_most(few_plans)], "rows"),
        "statements with another plan than beside the few": [
            one for one in both if few_plans[one].keys() != many_plans[one].keys()
        ],
        "plans": many_plans,
    }


def _most(statements: Statements, how: str = "") -> int:
    """The most rows of one table that a statement looks at in this way."""
    return max(
        (rows for reads in statements.values() for read, rows in reads.items() if read.startswith(how)),
        default=0,
    )


async def _explained(url: str) -> None:
    """Have the server explain what new sessions of the database do."""
    connection = await asyncpg.connect(url)
    try:
        name = await connection.fetchval("select quote_ident(current_database())")
        for setting, value in SETTINGS.items():
            await connection.execute(f"alter database {name} set {setting} = '{value}'")
    finally:
        await connection.close()


async def _plans(url: str, template: Template, first: int, last: int, often: int) -> Statements:
    """Park runs of these numbers, do everything, and return the plans that statements have by then."""
    await copies(url, template, first, last - first + 1, wake_at=template.wake_at)
    await settled(url)
    with _recorded() as said:
        async with (
            connect(url) as client,
            Worker(client, workflows=[Everything, again, child, parked], activities=[increment]),
            Worker(client, task_queue=OTHER, activities=[increment]),
        ):
            for number in range(often):
                if number == often // 2:
                    said.clear()
                await _everything(url, f"everything-{last}-{number}")
    found: Statements = {}
    for text in said:
        if (plan := PLAN.match(text)) is not None:
            explained = msgspec.json.decode(plan[1])
            reads = found.setdefault(" ".join(explained["Query Text"].split())[:SHOWN], {})
            for how, rows in _read(explained["Plan"]):
                reads[how] = max(round(rows), reads.get(how, 0))
    assert found, "the server explains nothing: one has to be a superuser"
    return {statement: reads for statement, reads in found.items() if reads}


@contextlib.contextmanager
def _recorded() -> Iterator[list[str]]:
    """Yield what the server tells all sessions that the library opens meanwhile."""
    said: list[str] = []
    connect = asyncpg.connect

    async def listening(*args: Any, **options: Any) -> asyncpg.Connection:
        connection = await connect(*args, **options)
        connection.add_log_listener(lambda _, message: said.append(message.message))
        return connection

    asyncpg.connect = listening
    try:
        yield said
    finally:
        asyncpg.connect = connect


async def _everything(url: str, workflow_id: str) -> None:
    """Do a little of everything from a process that has no worker, as far as the database can tell."""
    async with connect(url) as client:
        handle = await client.start_workflow(Everything.run(), id=workflow_id)
        await handle.signal(Everything.tell())
        await handle.execute_update(Everything.ask())
        assert await handle.query(Everything.told())
        assert await handle.result() == 3
        await handle.fetch_history()
        async for _ in client.list_workflows("WorkflowType = 'bench.everything'", limit=3):
            pass
        await client.execute_workflow(again(1))
        other = await client.start_workflow(parked(), id=f"{workflow_id}-parked")
        await other.cancel()
        with contextlib.suppress(WorkflowFailureError):
            await other.result()


def _read(plan: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield how a plan reads tables that grow, and how many rows of them it looks at."""
    if (table := plan.get("Relation Name")) in GROWS and plan["Node Type"] != "ModifyTable":
        index = f" by {plan['Index Name']}" if "Index Name" in plan else ""
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        yield f"{plan['Node Type']} of {table}{index}", (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    for part in plan.get("Plans", ()):
        yield from _read(part)
