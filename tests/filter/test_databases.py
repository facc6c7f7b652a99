"""What both databases find is what three-valued logic in Python finds, page by page."""

from __future__ import annotations

import itertools
import json
import random
import re
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from durable.store import open_store
from durable.store._filter import (
    POSTGRES,
    SQLITE,
    Dialect,
    FilterError,
    ListQuery,
    Statement,
    attribute_rows,
    check_count,
    check_list,
    count_statement,
    decode_token,
    encode_token,
    list_statement,
    of_workflows,
    parse,
)
from durable.store._filter._syntax import Expression, Filter, Name, Order, to_text
from durable.store._migrate import load
from tests.filter.oracle import CUSTOM, NOTE, Run, found, random_filter, runs

POOL = runs(seed=7, count=300)
SORTABLE = [name for name in POOL[0].seen if name not in ("Tags", NOTE, "TemporalReportedProblems")]


class Database:
    """A database with the runs of `POOL` in it."""

    dialect: Dialect

    async def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        raise NotImplementedError

    async def list(self, text: str, limit: int = 1000, token: bytes | None = None) -> tuple[list[str], bytes]:
        query = check_list(parse(text), CUSTOM)
        rows = await self.page(query, limit, token)
        return [str(row[0]) for row in rows], encode_token(query, rows[-1][1:]) if rows else b""

    async def page(self, query: ListQuery, limit: int, token: bytes | None = None) -> list[tuple[Any, ...]]:
        behind = None if token is None else decode_token(query, token)
        return await self.rows(list_statement(query, self.dialect, limit, behind))

    async def count(self, text: str) -> list[tuple[Any, ...]]:
        return await self.rows(count_statement(check_count(parse(text), CUSTOM), self.dialect))


class SQLiteDatabase(Database):
    dialect = SQLITE

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:")
        for migration in load("durable.store.sqlite"):
            self.db.executescript(migration.sql)

    def fill(self, pool: list[Run]) -> None:
        for run in pool:
            closed = run.row["closed_at"] is not None
            row = {
                **run.row,
                "priority": 3,
                "format": 1,
                "history_length": run.events if closed else None,
                "history_size": 3 * run.events if closed else None,
            }
            self.db.execute(insert("runs", row, "?"), tuple(row.values()))
            for value in attribute_rows(run.attributes):
                self.db.execute(
                    "insert into search_attributes values (?, ?, ?, ?, ?, ?)",
                    (
                        run.row["run_id"],
                        value.name,
                        value.position,
                        value.text_value,
                        value.int_value,
                        value.float_value,
                    ),
                )

    async def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        return self.db.execute(statement.sql, statement.parameters).fetchall()

    async def plan(self, statement: Statement) -> str:
        explained = self.db.execute(f"explain query plan {statement.sql}", statement.parameters)
        return "\n".join(row[3] for row in explained)

    async def effort(self, statement: Statement) -> tuple[int, int]:
        """How many runs are found, and about how many rows are read for it: at least ten instructions for each."""
        calls = itertools.count()
        self.db.set_progress_handler(lambda: next(calls) < 0, 10)
        try:
            found = len(await self.rows(statement))
        finally:
            self.db.set_progress_handler(None, 0)
        return found, next(calls)


class PostgresDatabase(Database):
    dialect = POSTGRES

    def __init__(self, db: asyncpg.Connection[Any]) -> None:
        self.db = db

    async def fill(self, pool: list[Run]) -> None:
        columns = [name for name in pool[0].row if name != "reason"]
        await self.db.executemany(
            insert("durable.runs", dict.fromkeys(columns), "$"),
            [[run.row[name] for name in columns] for run in pool],
        )
        await self.db.executemany(
            "insert into durable.run_data (run_id, info, reason) values ($1, $2, $3)",
            [(run.row["run_id"], b"{}", run.row["reason"]) for run in pool],
        )
        await self.db.executemany(
            "insert into durable.events (run_id, seq, task, type, time, data) values ($1, $2, 1, 1, 0, $3)",
            [(run.row["run_id"], seq, b"123") for run in pool for seq in range(1, run.events + 1)],
        )
        await self.db.executemany(
            "insert into durable.search_attributes (run_id, name, position, text_value, int_value, float_value) "
            "values ($1, $2, $3, $4, $5, $6)",
            [
                (
                    run.row["run_id"],
                    value.name,
                    value.position,
                    value.text_value,
                    value.int_value,
                    value.float_value,
                )
                for run in pool
                for value in attribute_rows(run.attributes)
            ],
        )

    async def rows(self, statement: Statement) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self.db.fetch(statement.sql, *statement.parameters)]

    async def plan(self, statement: Statement) -> str:
        explained = await self.db.fetch(f"explain {statement.sql}", *statement.parameters)
        return "\n".join(row[0] for row in explained)

    async def effort(self, statement: Statement) -> tuple[int, int]:
        """How many runs are found, and how many rows are read for it."""
        sql = f"explain (analyze, timing off, format json) {statement.sql}"
        plan = json.loads(await self.db.fetchval(sql, *statement.parameters))[0]["Plan"]
        return plan["Actual Rows"], max(_rows_read(plan))


def _rows_read(node: dict[str, Any]) -> Iterator[int]:
    """What each node of a plan has read, whether or not it went on with it."""
    yield node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
    for below in node.get("Plans", []):
        yield from _rows_read(below)


def insert(table: str, row: dict[str, Any], sign: str) -> str:
    values = ", ".join(f"{sign}{n}" for n in range(1, len(row) + 1))
    return f"insert into {table} ({', '.join(row)}) values ({values})"


async def connect(url: str) -> asyncpg.Connection[Any]:
    store = await open_store(url)
    await store.aclose()
    db: asyncpg.Connection[Any] = await asyncpg.connect(url)
    return db


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    db = await connect(postgres_url)
    try:
        database = PostgresDatabase(db)
        await database.fill(POOL)
        yield database
    finally:
        await db.close()


@pytest.fixture
def sqlite_database() -> SQLiteDatabase:
    database = SQLiteDatabase()
    database.fill(POOL)
    return database


@pytest.fixture(params=["sqlite_database", "postgres_database"])
def database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue(request.param)
    return found


# --- the same runs ---


@pytest.mark.parametrize("seed", range(4))
async def test_random_filters_find_what_logic_finds(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "durable.store._filter._compile.FEW_RUNS", [5_000, 40][seed % 2]
    )  # each way of reading
    chosen = random.Random(seed)
    sizes: list[int] = []
    for _ in range(150):
        tree = Filter(random_filter(chosen, POOL))
        text = to_text(tree)
        expected = found(tree, POOL)
        sizes.append(len(expected))
        assert (await database.list(text))[0] == expected, text
        assert await database.count(text) == [(len(expected),)], text
    assert sum(0 < size < len(POOL) for size in sizes) > 75  # else these filters would prove little


@pytest.mark.parametrize("seed", range(2))
async def test_pages_are_the_list_in_order(
    database: Database, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("durable.store._filter._compile.FEW_RUNS", [5_000, 40][seed % 2])
    chosen = random.Random(seed)
    for _ in range(20):
        where: Expression | None = random_filter(chosen, POOL) if chosen.random() < 0.5 else None
        names = chosen.sample(SORTABLE, k=chosen.randrange(4))
        tree = Filter(where, order_by=tuple(Order(Name(name), chosen.random() < 0.5) for name in names))
        text = to_text(tree)
        listed: list[str] = []
        token: bytes | None = None
        while True:
            page, token = await database.list(text, 23, token)
            listed += page
            if len(page) < 23:
                break
        assert listed == found(tree, POOL), text


# --- the status of paused runs, which are Running too ---


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("ExecutionStatus = 'Paused'", "Hold = 'paused'"),
        ("ExecutionStatus IN ('WORKFLOW_EXECUTION_STATUS_PAUSED')", "Hold = 'paused'"),
        ("ExecutionStatus IN ('paused', 'Failed')", "Hold = 'paused' OR ExecutionStatus = 'Failed'"),
        ("ExecutionStatus != 'Paused'", "Hold IS NULL OR Hold != 'paused'"),
        ("NOT ExecutionStatus = 'Paused'", "Hold IS NULL OR Hold != 'paused'"),
        ("NOT ExecutionStatus != 'Paused'", "Hold = 'paused'"),
        (
            "ExecutionStatus NOT IN ('Failed', 'Paused')",
            "ExecutionStatus != 'Failed' AND (Hold IS NULL OR Hold != 'paused')",
        ),
    ],
)
async def test_paused_is_a_status(database: Database, text: str, same: str) -> None:
    listed, _ = await database.list(text)
    assert listed == (await database.list(same))[0]
    assert 0 < len(listed) < len(POOL)


# --- what is unset ---


@pytest.mark.parametrize(
    ("name", "value"),
    [("Region", "'a'"), ("Items", "1"), ("Amount", "1.5"), ("Vip", "true"), ("Tags", "'a'"), (f"`{NOTE.replace('`', '``')}`", "'late'"),
     ("Due", "'2024-03-01T00:01:00Z'"), ("HistoryLength", "2"), ("Hold", "'blocked'")],
)  # fmt: skip
async def test_an_unset_attribute_matches_no_comparison_and_no_negation(
    database: Database, name: str, value: str
) -> None:
    unset, _ = await database.list(f"{name} IS NULL")
    there, _ = await database.list(f"{name} IS NOT NULL")
    equal, _ = await database.list(f"{name} = {value}")
    unequal, _ = await database.list(f"{name} != {value}")
    assert (await database.list(f"NOT {name} = {value}"))[0] == unequal
    assert (await database.list(f"NOT (TaskQueue = 'none' OR {name} = {value})"))[0] == unequal
    assert unset
    assert equal
    assert unequal
    assert Counter(equal + unequal) == Counter(there)
    assert not {*unset} & {*there}
    assert len(unset) + len(there) == len(POOL)


# --- counts ---


@pytest.mark.parametrize("name", ["ExecutionStatus", "WorkflowType", "TaskQueue"])
async def test_counts_by_group(database: Database, name: str) -> None:
    groups = await database.count(f"WorkflowType != 'ship' GROUP BY {name}")
    counted = Counter(run.seen[name] for run in POOL if run.seen["WorkflowType"] != "ship")
    assert dict(groups) == counted
    assert [count for _, count in groups] == sorted(counted.values(), reverse=True)


# --- nothing of a filter is SQL ---

INJECTIONS = [
    "x' OR '1'='1",
    "x'; drop table runs; --",
    "x\\'; drop table runs; --",
    'x" or 1=1 --',
    "$1",
    "?1",
    "x' union select 1,2,3 --",
    "durable.",
    "%",
    "{0}",
    "%s",
]


@pytest.mark.parametrize("hostile", INJECTIONS)
async def test_values_stay_values(database: Database, hostile: str) -> None:
    written = "'" + hostile.replace("\\", "\\\\").replace("'", "''") + "'"
    for condition in (
        f"WorkflowId = {written}",
        f"Region IN ({written}, {written})",
        f"Tags = {written}",
        f"Region STARTS_WITH {written}",
        f"HoldReason BETWEEN {written} AND {written}",
    ):
        query = check_list(parse(condition), CUSTOM)
        statement = list_statement(query, database.dialect, 1000)
        assert hostile not in statement.sql or hostile in ("$1", "?1", "durable.")
        assert (await database.list(condition))[0] == found(parse(condition), POOL)
    assert (await database.count(""))[0] == (len(POOL),)


async def test_names_stay_names(database: Database) -> None:
    for hostile in INJECTIONS:
        name = "`" + hostile.replace("`", "``") + "`"
        with pytest.raises(FilterError, match="there is no attribute"):
            check_list(parse(f"{name} = 1"), CUSTOM)
        query = check_list(parse(f"{name} = 'x' ORDER BY {name}"), {hostile: CUSTOM["Region"]})
        statement = list_statement(query, database.dialect, 10)
        assert hostile in statement.parameters
        assert await database.rows(statement) == []


# --- conditions are index scans ---

CONDITIONS = [
    ("Region = 'r7'", "search_attributes_text"),
    ("Region IN ('r7', 'r8')", "search_attributes_text"),
    ("Region > 'r9990'", "search_attributes_text"),
    ("Region BETWEEN 'r70' AND 'r71'", "search_attributes_text"),
    ("Region STARTS_WITH 'r777'", "search_attributes_text"),
    ("Tags = 't7'", "search_attributes_text"),
    ("Tags IN ('t7', 't8')", "search_attributes_text"),
    ("Items = 7", "search_attributes_int"),
    ("Items >= 9995", "search_attributes_int"),
    ("Due > '2024-03-01T00:00:00Z'", "search_attributes_int"),
    ("Amount < 5", "search_attributes_float"),
    ("Amount IN (7, 8.5)", "search_attributes_float"),
    ("WorkflowId = 'w7'", "runs_"),
    ("WorkflowId STARTS_WITH 'w777'", "runs_"),
    ("ParentWorkflowId = 'w7'", "runs_parent_workflow"),
    ("RunId = '00000000-0000-0000-0000-000000000007'", "runs_pkey|PRIMARY KEY"),
    ("StartTime > '2024-03-01T00:00:00Z'", "runs_started"),
]
MANY = 10_000

OLD_STATES: dict[int, dict[str, Any]] = {
    1: {"status": 3},
    2: {"status": 1, "hold": 1, "wake_at": 2**60, "closed_at": None},
    3: {"status": 1, "hold": 3, "closed_at": None},
}
"""What is true of ten old runs each, among `MANY`."""

OLD = [
    ("WorkflowId STARTS_WITH 'w100'", 11),
    ("WorkflowId BETWEEN 'w20' AND 'w2001'", 4),
    ("WorkflowId BETWEEN 'w1' AND 'w1999'", 1111),
    ("Region BETWEEN 'r1' AND 'r1099'", 112),
    ("WorkflowType STARTS_WITH 'r'", 30),
    ("ExecutionStatus = 'Failed'", 10),
    ("ExecutionStatus IN ('Failed', 'TimedOut')", 10),
    ("WorkflowType IN ('common', 'rare') AND ExecutionStatus = 'Failed'", 10),
    ("ExecutionStatus = 'Running'", 20),
    ("ExecutionStatus = 'Paused'", 10),
    ("Hold = 'blocked'", 10),
    ("Hold IN ('paused')", 10),
    ("TemporalReportedProblems = 'category=WorkflowTaskFailed'", 10),
    ("RootWorkflowId = 'w30'", 3),
    ("RootWorkflowId IN ('w30', 'w31')", 4),
    ("CloseTime < '1970-01-01T01:00:00Z'", 4),
    ("CloseTime BETWEEN '1970-01-01T00:10:00Z' AND '1970-01-01T01:00:00Z'", 3),
    ("CloseTime = '1970-01-01T01:06:40.000001Z'", 1),
    ("CloseTime > '1970-04-26T17:00:00Z'", 2),
    ("Region BETWEEN 'r100' AND 'r1000'", 2),
    ("Tags = 'every' AND WorkflowId STARTS_WITH 'w100'", 11),
    ("Items < 5 AND ExecutionStatus = 'Completed'", 5),
    ("Hold = 'blocked' ORDER BY WorkflowType, WorkflowId DESC", 10),
]
"""Filters, and how many of `MANY` runs they find; nearly all of these started long ago."""


async def many(database: Database) -> None:
    """`MANY` runs, each with an attribute of each type, made by the database."""
    runs: list[dict[str, Any]] = []
    attributes: list[tuple[Any, ...]] = []
    for n in range(MANY):
        run_id = f"00000000-0000-0000-0000-{n:012}"
        base = {
            **POOL[0].row,
            "status": 2,
            "hold": 0,
            "reason": "",
            "started_at": n * 1_000_000_000,
            "closed_at": n * 1_000_000_000 + 1,
            "workflow_type": "rare" if n < 30 else "common",
            "execution_at": None,
            "root_workflow_id": "w30" if n in (40, 50) else None,
            "gate": None,
            "owner": None,
            "wake_at": None,
            **OLD_STATES.get(n // 10, {}),
        }
        parent = f"w{n - 1}" if n % 20 == 8 else None
        runs.append(
            {
                **base,
                "run_id": run_id,
                "workflow_id": f"w{n}",
                "parent_workflow_id": parent,
                "parent_run_id": None,
            }
        )
        attributes += [
            (run_id, "Region", 0, f"r{n}", None, None),
            (run_id, "Tags", 0, f"t{n}", None, None),
            (run_id, "Tags", 1, "every", None, None),
            (run_id, "Items", 0, None, n, None),
            (run_id, "Due", 0, None, n, None),
            (run_id, "Amount", 0, None, None, float(n)),
        ]
    columns = [name for name in runs[0] if name != "reason"]
    if isinstance(database, PostgresDatabase):
        await database.db.execute("truncate durable.runs, durable.search_attributes")
        await database.db.copy_records_to_table(
            "runs",
            schema_name="durable",
            columns=columns,
            records=[[run[name] for name in columns] for run in runs],
        )
        names = ["run_id", "name", "position", "text_value", "int_value", "float_value"]
        await database.db.copy_records_to_table(
            "search_attributes", schema_name="durable", columns=names, records=attributes
        )
        await database.db.execute("vacuum analyze durable.runs, durable.search_attributes")
    elif isinstance(database, SQLiteDatabase):
        database.db.executescript("delete from search_attributes; delete from runs")
        rows = [{**run, "priority": 3, "format": 1} for run in runs]
        database.db.executemany(insert("runs", rows[0], "?"), [tuple(row.values()) for row in rows])
        database.db.executemany("insert into search_attributes values (?, ?, ?, ?, ?, ?)", attributes)


async def test_conditions_are_index_scans(database: Database) -> None:
    assert isinstance(database, SQLiteDatabase | PostgresDatabase)
    await many(database)
    for condition, index in CONDITIONS:
        # A page may also be read in its order, with a look at each run's attributes by key: the planner's choice.
        plan = await database.plan(list_statement(check_list(parse(condition), CUSTOM), database.dialect, 20))
        assert not re.search(r"Seq Scan|SCAN [rs]\b(?! USING)", plan), f"{condition}\n{plan}"
        plan = await database.plan(count_statement(check_count(parse(condition), CUSTOM), database.dialect))
        assert re.search(index, plan), f"{condition}\n{plan}"
        assert not re.search(r"Seq Scan on search_attributes|SCAN s\b", plan), f"{condition}\n{plan}"


async def test_what_few_old_runs_are_is_found_without_a_look_at_the_others(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted is what the database does, not how long that takes."""
    monkeypatch.setattr("durable.store._filter._compile.FEW_RUNS", 2_000)
    assert isinstance(database, SQLiteDatabase | PostgresDatabase)
    await many(database)
    for text, expected in OLD:
        statement = list_statement(check_list(of_workflows(parse(text)), CUSTOM), database.dialect, 20)
        found, rows = await database.effort(statement)
        assert found == min(expected, 20), text
        assert rows < MANY / 2, f"{text}\n{await database.plan(statement)}"


async def test_the_next_page_is_a_range_of_the_index(database: Database) -> None:
    assert isinstance(database, SQLiteDatabase | PostgresDatabase)
    await many(database)
    query = check_list(parse(""), CUSTOM)
    page = await database.page(query, 20)
    behind = decode_token(query, encode_token(query, page[-1][1:]))
    plan = await database.plan(list_statement(query, database.dialect, 20, behind))
    assert re.search(r"runs_started \(|Index Cond", plan), plan
    assert not re.search(r"Sort|TEMP B-TREE", plan), plan


async def test_a_filter_as_large_as_it_may_be_is_planned_and_run(database: Database) -> None:
    began = time.perf_counter()
    for text in (
        " AND ".join(f"Region != 'r{n}'" for n in range(100)),
        " OR ".join(f"Tags NOT IN ('t{n}', 'x')" for n in range(100)),
        "Items IN (" + ", ".join(str(n) for n in range(1000)) + ")",
        "NOT (" * 24 + "NOT (Items = 1 AND Vip = true)" + ")" * 24,
    ):
        assert (await database.list(text))[0] == found(parse(text), POOL), text
    assert time.perf_counter() - began < 60
