"""Three hundred insurance policies, in a few worker processes, two of which are killed on the way.

    python demo.py                                          # on SQLite, in a temporary directory
    DURABLE_URL=postgresql://user@host/database python demo.py
    python demo.py --keep DIRECTORY                         # leaves everything there, for report.py and for you

Exits with 1 if a single invoice, payment or event is missing or there twice.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from database import Database, create_tables, drop, open_database
from place import Place
from policies import Pace, Policy, read_policies
from processes import Processes
from report import KILLS, make_report, print_report
from timeline import print_timeline
from workflows import insure

from durable import Client, WorkflowIDConflictPolicy

BILLING_WORKERS = ("billing-1", "billing-2")


async def main() -> int:
    options = read_options()
    policies = read_policies(options.policies)
    async with AsyncExitStack() as stack:
        directory = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="insurance-"))
        )
        place = Place.new(directory, os.environ.get("DURABLE_URL"), len(policies))
        # What the library logs is for operators; here it would only be in the way.
        logging.basicConfig(
            filename=place.log, level=logging.INFO, format="%(asctime)s demo %(levelname)s %(message)s"
        )
        client = await stack.enter_async_context(Client.connect(place.url, namespace=place.namespace))
        database = await stack.enter_async_context(open_database(place.url, place.namespace))
        if place.namespace is not None and options.keep is None:
            stack.push_async_callback(drop, database, place.namespace)
        await create_tables(database)

        where = "SQLite" if place.namespace is None else "PostgreSQL"
        print(
            f"{len(policies)} policies on {where}; a month takes {options.month:g} s; workers will be killed"
        )
        began = time.monotonic()
        with Processes(place) as processes:
            for name in BILLING_WORKERS:
                processes.start("billing", name)
            processes.start("office", "office")
            try:
                async with asyncio.timeout(options.limit):
                    await start_policies(client, policies, Pace(options.month, options.deadline))
                    await watch(database, processes, policies)
            except TimeoutError:
                print(
                    f"\nnot finished after {options.limit:g} s; the workers' log ends with:\n{processes.last_words()}"
                )
                return 1
        print(f"done in {time.monotonic() - began:.1f} s; what is in the log, the tables and the ledger:\n")
        report = await make_report(database, place.ledger, policies)
        print_report(report)
        await print_timeline(client, database)
        if options.keep is not None:
            print(
                f"\nkept in {directory}; check it again with: python {Path(__file__).with_name('report.py')} {directory}"
            )
    return 1 if report.faults else 0


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--policies", type=int, metavar="N", help="only the first N policies")
    parser.add_argument("--month", type=float, default=0.5, metavar="SECONDS", help="how long a month takes")
    parser.add_argument(
        "--deadline",
        type=float,
        default=10.0,
        metavar="SECONDS",
        help="how long a customer may take for a new card",
    )
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="when to give up")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="work there, and leave everything")
    return parser.parse_args()


async def start_policies(client: Client, policies: list[Policy], pace: Pace) -> None:
    """Start a workflow for each policy. Starting one again is harmless: its id is the policy's."""
    await asyncio.gather(
        *(
            client.start_workflow(
                insure(policy, pace), id=policy.id, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
            )
            for policy in policies
        )
    )


async def watch(database: Database, processes: Processes, policies: list[Policy]) -> None:
    """Show how far it is, and kill workers on the way, until all policies have ended."""
    progress = Progress(len(policies), sum(policy.expected_payments for policy in policies))
    killed = ended = 0
    while ended < len(policies):
        await asyncio.sleep(0.1)
        ended, payments = (await database.fetch(PROGRESS))[0]
        progress.show(ended, payments)
        if killed < KILLS and payments > progress.payments * (killed + 1) // (KILLS + 1):
            await kill_one(database, processes, progress)
            killed += 1
    progress.finish()


async def kill_one(database: Database, processes: Processes, progress: Progress) -> None:
    """Kill the billing worker that has most policies in its hands, see that others take them over, start it again."""
    name, held = (await database.fetch(BUSIEST))[0]
    at = time.monotonic()
    pid = processes.kill(name)
    await database.execute(
        "insert into kills (worker, pid, policies, killed_at) values ($1, $2, $3, $4)",
        name,
        pid,
        held,
        time.time_ns() // 1000,
    )
    progress.say(f"{name} killed with SIGKILL, {held} policies in its hands")
    while (await database.fetch(HELD_BY, name))[0][0]:  # noqa: ASYNC110 - another process sees to it
        await asyncio.sleep(0.02)
    progress.say(f"taken over after {time.monotonic() - at:.1f} s; {name} starts again")
    processes.start("billing", name)


PROGRESS = """
select (select count(*) from runs where closed_at is not null), (select count(*) from payments)
"""

BUSIEST = """
select workers.identity, count(*)
from runs join workers on workers.worker_id = runs.owner
group by workers.identity order by count(*) desc limit 1
"""

HELD_BY = """
select count(*) from runs join workers on workers.worker_id = runs.owner where workers.identity = $1
"""


class Progress:
    """One line that changes on a terminal, a line every second elsewhere."""

    def __init__(self, policies: int, payments: int) -> None:
        self.policies = policies
        self.payments = payments
        self._began = self._last = time.monotonic()
        self._line = ""

    def show(self, ended: int, payments: int) -> None:
        """Show how far it is."""
        self._line = f"{self._seconds()}  {payments:,} of {self.payments:,} payments, {ended} of {self.policies} policies ended"
        if sys.stdout.isatty():
            print(f"\r{self._line}\x1b[K", end="", flush=True)
        elif time.monotonic() - self._last >= 1.0:
            self._last = time.monotonic()
            print(self._line, flush=True)

    def say(self, text: str) -> None:
        """Say something that stays."""
        start, end = ("\r", "\x1b[K") if sys.stdout.isatty() else ("", "")
        print(f"{start}{self._seconds()}  {text}{end}", flush=True)

    def finish(self) -> None:
        """Let the last line stay."""
        if sys.stdout.isatty():
            print()
        else:
            print(self._line, flush=True)

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._began:6.1f} s"


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except KeyboardInterrupt:
        print("\nstopped")
        sys.exit(130)
    except FileExistsError as error:
        sys.exit(str(error))
