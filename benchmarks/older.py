"""Ten minutes of load, beside a transaction that was open before it began, and without one: what that costs, and what is left behind.

Two databases of one server take turns every few seconds, so that what else the machine does falls on both. In one of them a session has
read something and stays in its transaction: nothing that has died since can be removed there, and whoever updates the same row again
and again reads through all its versions. The other one shows what dies at all, and whether autovacuum keeps up.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import asyncpg

from benchmarks import steps
from benchmarks._bench import ALL_POINTS, Bench
from benchmarks._databases import NAMESPACE, check_histories, connect, is_postgres
from benchmarks._figures import Figures, figure
from benchmarks._programs import side_database
from benchmarks._workflows import count_up, increment, step_latencies
from durable import Client, Worker

SECONDS = 600.0
"""Of load on each of the two."""

TURNS = 60
SHORTEST = 0.6
"""Seconds of load, where next to nothing is to be done."""

AT_ONCE = 50

DEAD = f"""
select coalesce(sum(n_dead_tup), 0)::bigint as dead, coalesce(sum(n_dead_tup) filter (where relname = 'events'), 0)::bigint as events,
    coalesce(sum(n_tup_upd + n_tup_del), 0)::bigint as changed
from pg_stat_user_tables where schemaname = '{NAMESPACE}'
"""


def run(bench: Bench) -> Figures:
    """Measure PostgreSQL, once: what counts is how it ends."""
    found: Figures = {}
    for kind, url in bench.urls.items():
        if is_postgres(url):
            with side_database(url) as plain, side_database(url) as held:
                found[kind] = asyncio.run(_measure(bench, plain, held))
    return found


async def _measure(bench: Bench, plain: str, held: str) -> Figures:
    seconds = SECONDS * bench.scale if bench.scale >= ALL_POINTS else SHORTEST
    turns = max(3, round(TURNS * min(1.0, bench.scale)))
    rates: dict[str, list[float]] = {plain: [], held: []}
    runs: dict[str, list[str]] = {plain: [], held: []}
    dead: list[int] = []
    async with _working(plain) as one, _working(held) as other, _open_transaction(held):
        for number in range(turns):
            places = ((plain, one), (held, other))
            for url, client in places if number % 2 == 0 else reversed(places):
                rate, run_ids = await _turn(client, seconds / turns, len(runs[url]))
                rates[url].append(rate)
                runs[url] += run_ids
            dead.append((await _dead(plain))["dead"])
        await check_histories(one, plain, runs[plain], 2 * steps.STEPS + 2)
        await check_histories(other, held, runs[held], 2 * steps.STEPS + 2)
    left, kept = await _dead(plain), await _dead(held)
    half, third = turns // 2, turns // 3
    return {
        "seconds": seconds,
        "rate": figure(rates[plain], "steps/s"),
        "rate beside an older transaction": figure(rates[held], "steps/s"),
        "share of the rate, second half": figure(
            [sum(rates[held][half:]) / sum(rates[plain][half:])], "ratio"
        ),
        "updates and deletes per run of ten steps": figure([left["changed"] / len(runs[plain])], "rows"),
        "dead rows of events": figure([max(left["events"], kept["events"])], "rows", lower_is_better=True),
        "most dead rows of all tables, last third to the one before": figure(
            [max(dead[-third:]) / max(1, *dead[-2 * third : -third])], "ratio", lower_is_better=True
        ),
        "dead rows after each turn": dead,
        "dead rows that the older transaction keeps, per run": figure(
            [kept["dead"] / len(runs[held])], "rows", lower_is_better=True
        ),
    }


@contextlib.asynccontextmanager
async def _working(url: str) -> AsyncIterator[Client]:
    async with (
        connect(url) as client,
        Worker(client, workflows=[count_up], activities=[increment], max_concurrent_activities=AT_ONCE),
    ):
        await client.execute_workflow(count_up(0, steps.STEPS))
        yield client


@contextlib.asynccontextmanager
async def _open_transaction(url: str) -> AsyncIterator[None]:
    """A session that has read something, has an id of its own, and does not end its transaction."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.fetch(f"select count(*), txid_current() from {NAMESPACE}.runs")
            yield
    finally:
        await connection.close()


async def _turn(client: Client, seconds: float, first: int) -> tuple[float, list[str]]:
    """Keep so many workflows going for a while; return the steps per second, and the runs."""
    run_ids: list[str] = []
    began = time.perf_counter()

    async def one_after_the_other(place: int) -> None:
        number = place
        while time.perf_counter() - began < seconds or number == place:
            handle = await client.start_workflow(count_up(first + number, steps.STEPS))
            assert await handle.result() == steps.STEPS
            assert handle.result_run_id is not None
            run_ids.append(handle.result_run_id)
            number += AT_ONCE

    await asyncio.gather(*(one_after_the_other(place) for place in range(AT_ONCE)))
    rate = len(run_ids) * steps.STEPS / (time.perf_counter() - began)
    step_latencies()
    return rate, run_ids


async def _dead(url: str) -> dict[str, int]:
    connection = await asyncpg.connect(url)
    try:
        return dict(await connection.fetchrow(DEAD))
    finally:
        await connection.close()
