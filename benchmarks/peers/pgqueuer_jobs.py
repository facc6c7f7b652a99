"""Jobs on PgQueuer, enqueued in bulk and then worked by this process alone, each leaving its rows in the log."""

from __future__ import annotations

import argparse
import asyncio

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

from benchmarks.peers._program import answer

BATCH = 200
CONSUMERS = 5
SETTINGS = (
    f"asyncpg, {CONSUMERS} consumers with a connection each (what its own benchmark does; one alone was slower), batches of "
    f"{BATCH}, durable tables, its settings of autovacuum"
)


async def measure(url: str, jobs: int) -> float:
    """Return the seconds between the first claim and the last completion, by the database's clock, as its log has them."""
    connections = [await asyncpg.connect(url) for _ in range(CONSUMERS)]
    queries = [Queries(AsyncpgDriver(connection)) for connection in connections]
    first = queries[0]
    if not await first.schema_is_installed():
        await first.install()
        await first.optimize_autovacuum()
    await first.clear_queue()
    await first.clear_queue_log()
    await first.enqueue(["identity"] * jobs, [str(number).encode() for number in range(jobs)], [0] * jobs)
    await asyncio.gather(*(_drain(one) for one in queries))
    for connection in connections:
        await connection.close()
    connection = await asyncpg.connect(url)
    try:
        done, seconds = await connection.fetchrow(
            """
            select count(*) filter (where status = 'successful'),
                extract(epoch from max(created) filter (where status = 'successful')
                    - min(created) filter (where status = 'picked'))
            from pgqueuer_log"""
        )
    finally:
        await connection.close()
    assert done == jobs
    return float(seconds)


async def _drain(queries: Queries) -> None:
    worker = PgQueuer(queries.driver, queries=queries)

    @worker.entrypoint("identity")
    async def identity(job: Job) -> None:
        assert job.payload is not None
        int(job.payload)

    await worker.run(batch_size=BATCH, mode=QueueExecutionMode.drain)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("jobs", type=int)
    options = parser.parse_args()
    answer("pgqueuer", SETTINGS, seconds=asyncio.run(measure(options.url, options.jobs)))
