"""F37 of the faults: somebody has changed histories in the database, past everything that checks.

No worker ends by it and no other run is held up. A run that was changed goes on to its right end, if what was changed can
be made up for, or is held with a reason; it never goes on to a wrong one. (A payload that was changed into another valid one
is told by an encrypting codec only.) `DURABLE_TAMPERED=1000` changes a thousand of them.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import asyncpg

from durable import Client, Signal, Worker, activity, workflow
from durable.client import WorkflowHandle
from tests.crash.harness import until

TAMPERED = int(os.environ.get("DURABLE_TAMPERED", 0)) or 30

go: Signal[int] = Signal("tampered.go", int)


@activity.defn(name="tampered.step")
async def step(number: int) -> int:
    return number * 10


@workflow.defn(name="tampered.run")
async def steps(number: int) -> list[int]:
    found = [await step(number + i) for i in range(2)]
    await workflow.sleep(0.001)
    return [*found, await step(number), await go.receive()]


def right(number: int) -> list[int]:
    return [number * 10, (number + 1) * 10, number * 10, number]


class Row(NamedTuple):
    """An event in the database, without its time."""

    seq: int
    task: int
    type: int
    data: bytes


Change = Callable[[list[Row], random.Random], list[Row]]


def removed(rows: list[Row], chance: random.Random) -> list[Row]:
    gone = chance.choice(rows)
    return [row for row in rows if row is not gone]


def tail_removed(rows: list[Row], chance: random.Random) -> list[Row]:
    return rows[: chance.randrange(1, len(rows))]


def exchanged(rows: list[Row], chance: random.Random) -> list[Row]:
    """Two events in each other's places."""
    one, other = chance.sample(rows, 2)
    places = {one.seq: other, other.seq: one}
    return [places.get(row.seq, row)._replace(seq=row.seq) for row in rows]


def _changed(rows: list[Row], chance: random.Random, **new: Any) -> list[Row]:
    victim = chance.choice(rows)
    return [row._replace(**{k: v(row) for k, v in new.items()}) if row is victim else row for row in rows]


def cut_off(rows: list[Row], chance: random.Random) -> list[Row]:
    return _changed(rows, chance, data=lambda row: row.data[: len(row.data) // 2])


def no_json(rows: list[Row], chance: random.Random) -> list[Row]:
    return _changed(rows, chance, data=lambda row: chance.randbytes(len(row.data)))


def empty(rows: list[Row], chance: random.Random) -> list[Row]:
    return _changed(rows, chance, data=lambda row: chance.choice([b"", b"{}", b"[]", b"null", b'"x"']))


def another_type(rows: list[Row], chance: random.Random) -> list[Row]:
    return _changed(rows, chance, type=lambda row: chance.choice([0, 1, 3, 10, 11, 12, 17, 30_000]))


def another_task(rows: list[Row], chance: random.Random) -> list[Row]:
    return _changed(rows, chance, task=lambda row: max(1, row.task + chance.choice([-1, 1, 100])))


def flipped(rows: list[Row], chance: random.Random) -> list[Row]:
    def flip(row: Row) -> bytes:
        data = bytearray(row.data)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(data)

    return _changed(rows, chance, data=flip)


CHANGES: list[Change] = [
    removed, tail_removed, exchanged, cut_off, no_json, empty, another_type, another_task, flipped,
]  # fmt: skip

MAY_BE_VALID: set[Change] = {empty, flipped}
"""What may leave an event that is as good as any: an answer that is None, or another digit."""


async def test_f37_histories_that_were_tampered_with(store_url: str) -> None:
    chance = random.Random(37)
    async with Client.connect(store_url) as client:
        numbers = range(TAMPERED)
        async with _worker(client):
            handles = [await client.start_workflow(steps(n), id=f"run-{n}") for n in numbers]
            healthy = await client.start_workflow(steps(7), id="healthy")
            for handle in (*handles, healthy):
                await until("it waits", lambda handle=handle: _waits(handle))
        ways: dict[int, Change] = {}
        for n, handle in zip(numbers, handles, strict=True):
            ways[n] = CHANGES[n % len(CHANGES)]
            await _rewrite(store_url, handle.result_run_id or "", ways[n], chance)
        ends: Counter[tuple[str, str]] = Counter()
        async with _worker(client) as worker:
            for n, handle in ((7, healthy), *zip(numbers, handles, strict=True)):
                await handle.signal(go(n))
            assert await healthy.result(timeout=60) == right(7)
            for n, handle in zip(numbers, handles, strict=True):
                end = await until(f"run {n} ends or is held", lambda handle=handle: _end(handle))
                ends[ways[n].__name__, end if isinstance(end, str) else "result"] += 1
                if isinstance(end, list) and ways[n] not in MAY_BE_VALID:
                    assert end == right(n), ways[n]
            assert worker.is_running
            assert await client.execute_workflow(step_only(), id="behind") == 10
            assert len([one async for one in client.list_workflows()]) == TAMPERED + 2
    print(dict(ends))
    assert {end for _, end in ends} >= {"result", "held"}


@workflow.defn(name="tampered.alone")
async def step_only() -> int:
    return await step(1)


def _worker(client: Client) -> Worker:
    return Worker(
        client, workflows=[steps, step_only], activities=[step], poll_interval=0.1, lease_duration=2
    )


async def _waits(handle: WorkflowHandle[Any, Any]) -> bool:
    return len((await handle.fetch_history()).events) >= 9


async def _end(handle: WorkflowHandle[Any, Any]) -> Any:
    """What became of it: its result, "failed", "held" with a reason, or None for not yet."""
    record = await handle._connection.store.find_run(handle.id, handle.result_run_id)
    assert record is not None
    if record.hold:
        assert record.reason
        return "held"
    if record.status.name == "RUNNING":
        return None
    return await handle.result(timeout=60)


async def _rewrite(url: str, run_id: str, change: Change, chance: random.Random) -> None:
    if url.startswith("sqlite"):
        db = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=10)
        with db:
            found = db.execute(
                "SELECT seq, task, type, data, time FROM events WHERE run_id = ? ORDER BY seq", (run_id,)
            ).fetchall()
            db.execute("DELETE FROM events WHERE run_id = ?", (run_id,))
            for row, time in _with_times(change([Row(*one[:4]) for one in found], chance), found):
                db.execute(
                    "INSERT INTO events (run_id, seq, task, type, data, time) VALUES (?, ?, ?, ?, ?, ?)",
                    (run_id, *row, time),
                )
        db.close()
        return
    connection = await asyncpg.connect(url.partition("?")[0])
    try:
        async with connection.transaction():
            found = await connection.fetch(
                "SELECT seq, task, type, data, time FROM durable.events WHERE run_id = $1 ORDER BY seq",
                run_id,
            )
            await connection.execute("DELETE FROM durable.events WHERE run_id = $1", run_id)
            for row, time in _with_times(change([Row(*one[:4]) for one in map(tuple, found)], chance), found):
                await connection.execute(
                    "INSERT INTO durable.events (run_id, seq, task, type, data, time) VALUES ($1, $2, $3, $4, $5, $6)",
                    run_id, *row, time,
                )  # fmt: skip
    finally:
        await connection.close()


def _with_times(rows: list[Row], found: Any) -> list[tuple[Row, int]]:
    times = {one[0]: one[4] for one in found}
    return [(row, times[row.seq]) for row in rows]
