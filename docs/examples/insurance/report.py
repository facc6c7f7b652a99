"""What became of it all: sums over the log, the tables and the gateway's ledger, held against the CSV.

Nothing here was counted while the program ran. Rows are read from the database and lines from the ledger, after the end;
take one away, or add one, and the report says so.

    python report.py DIRECTORY      # of a run that was kept with `demo.py --keep DIRECTORY`
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from database import Database, open_database
from gateway import Call, read_ledger
from place import Place
from policies import Policy, euros, read_policies

from durable.common import WorkflowExecutionStatus
from durable.history import EventType

KILLS = 2
"""How many workers a run kills."""


@dataclass
class Report:
    """The table, and what is wrong with it."""

    lines: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    faults: list[str] = field(default_factory=list[str])
    doubles: int = 0
    lost: int = 0

    def sum(self, what: str, expected: int, found: int, *, money: bool = False) -> None:
        """Add a line whose two numbers must be the same."""
        show = euros if money else "{:,}".format
        self.lines.append((what, show(expected), show(found)))
        if found != expected:
            self.faults.append(f"{what}: {show(expected)} expected, {show(found)} found")

    def fact(self, what: str, found: int) -> None:
        """Add a line with a number that may be any."""
        self.lines.append((what, "", f"{found:,}"))

    def each_once(self, what: str, expected: Mapping[Hashable, int], found: Mapping[Hashable, int]) -> None:
        """Count what is there too often, and what is missing."""
        doubles = {key: n - expected.get(key, 0) for key, n in found.items() if n > expected.get(key, 0)}
        lost = {key: n - found.get(key, 0) for key, n in expected.items() if n > found.get(key, 0)}
        self.doubles += sum(doubles.values())
        self.lost += sum(lost.values())
        self.faults += [f"{what}: {key} is there {n} times too often" for key, n in doubles.items()]
        self.faults += [f"{what}: {key} is missing" for key in lost]


async def make_report(database: Database, ledger: Path, policies: list[Policy]) -> Report:
    """Hold what is there against what the CSV lets expect."""
    report = Report()
    calls = read_ledger(ledger)
    await _log(report, database, policies)
    await _business(report, database, calls, policies)
    await _trouble(report, database, calls)
    report.sum("doubles", 0, report.doubles)
    report.sum("lost", 0, report.lost)
    return report


async def _log(report: Report, database: Database, policies: list[Policy]) -> None:
    """Every policy is a workflow that completed; its log has one beginning, one end, no gap and no outcome twice."""
    completed = await _count(
        database, "select count(*) from runs where status = $1", int(WorkflowExecutionStatus.COMPLETED)
    )
    report.sum("policies", len(policies), completed)
    each_policy: dict[Hashable, int] = {policy.id: 1 for policy in policies}
    for what, first, last in (
        ("beginning", EventType.WORKFLOW_EXECUTION_STARTED, EventType.WORKFLOW_EXECUTION_STARTED),
        ("end", EventType.WORKFLOW_EXECUTION_COMPLETED, EventType.WORKFLOW_EXECUTION_TIMED_OUT),
    ):
        rows = await database.fetch(
            "select policy, count(*) from log where type between $1 and $2 group by policy",
            int(first),
            int(last),
        )
        report.each_once(f"the {what} of a policy's log", each_policy, dict(rows))
    rows = await database.fetch("select policy, max(seq), count(*) from log group by policy")
    report.each_once(
        "events",
        {policy: highest for policy, highest, _ in rows},
        {policy: count for policy, _, count in rows},
    )
    scheduled = await _per_activity(
        database, EventType.ACTIVITY_TASK_SCHEDULED, EventType.ACTIVITY_TASK_SCHEDULED
    )
    outcomes = await _per_activity(
        database, EventType.ACTIVITY_TASK_COMPLETED, EventType.ACTIVITY_TASK_CANCELED
    )
    report.each_once("outcome of an activity", scheduled, outcomes)


async def _business(report: Report, database: Database, calls: list[Call], policies: list[Policy]) -> None:
    """Every month has its invoice, and every invoice that could be paid its payment and its charge."""
    invoices: dict[Hashable, int] = {}
    payments: dict[Hashable, int] = {}
    cents = 0
    for policy in policies:
        months = [f"{policy.id}/{month:02}" for month in range(1, policy.expected_invoices + 1)]
        invoices.update(dict.fromkeys(months, 1))
        payments.update(dict.fromkeys(months[: policy.expected_payments], 1))
        cents += policy.premium_cents * policy.expected_payments
    charges = [call for call in calls if call.effect == "charged"]

    report.sum("invoices", len(invoices), await _count(database, "select count(*) from invoices"))
    report.sum("payments", len(payments), await _count(database, "select count(*) from payments"))
    report.sum("charges in the gateway's ledger", len(payments), len(charges))
    report.sum("amount paid", cents, await _count(database, "select sum(cents) from payments"), money=True)
    report.sum("amount charged", cents, sum(call.cents for call in charges), money=True)
    report.sum(
        "cancelled for want of a card",
        sum(policy.ends_early for policy in policies),
        await _count(database, "select count(distinct policy) from letters where kind = 'cancellation'"),
    )
    rows = await database.fetch("select number, count(*) from invoices group by number")
    report.each_once("invoice", invoices, dict(rows))
    rows = await database.fetch("select invoice, count(*) from payments group by invoice")
    report.each_once("payment", payments, dict(rows))
    report.each_once("charge", payments, Counter(call.invoice for call in charges))


async def _trouble(report: Report, database: Database, calls: list[Call]) -> None:
    """What went wrong on the way, and was dealt with."""
    report.sum("workers killed", KILLS, await _count(database, "select count(*) from kills"))
    retries = await _count(
        database,
        "select sum(attempt - 1) from log where type between $1 and $2",
        int(EventType.ACTIVITY_TASK_COMPLETED),
        int(EventType.ACTIVITY_TASK_CANCELED),
    )
    report.fact("retries of activities", retries)
    report.fact("gateway calls", len(calls))
    report.fact("  turned away", sum(call.effect == "refused" for call in calls))
    report.fact(
        "  answer lost on the way", sum(call.effect != "refused" and not call.answered for call in calls)
    )
    report.fact("  repeated, absorbed by the key", sum(call.effect == "repeated" for call in calls))


async def _per_activity(database: Database, first: EventType, last: EventType) -> dict[Hashable, int]:
    rows = await database.fetch(
        "select policy, id, count(*) from log where type between $1 and $2 group by policy, id",
        int(first),
        int(last),
    )
    return {(policy, id): count for policy, id, count in rows}


async def _count(database: Database, sql: str, *values: int) -> int:
    return int((await database.fetch(sql, *values))[0][0] or 0)


def print_report(report: Report) -> None:
    """Print the table, and the faults if there are any."""
    width = max(len(what) for what, _, _ in report.lines)
    print(f"{'':{width}}  {'expected':>12}  {'found':>12}")
    for what, expected, found in report.lines:
        print(f"{what:{width}}  {expected:>12}  {found:>12}")
    if report.faults:
        print("\nThis does not add up:")
        for fault in report.faults[:20]:
            print(f"  {fault}")
        if len(report.faults) > 20:
            print(f"  ... and {len(report.faults) - 20} more")


async def main() -> int:
    parser = argparse.ArgumentParser(description="Check the run that was kept in a directory.")
    parser.add_argument("directory", type=Path)
    place = Place.kept(parser.parse_args().directory)
    async with open_database(place.url, place.namespace) as database:
        report = await make_report(database, place.ledger, read_policies(place.policies))
    print_report(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
