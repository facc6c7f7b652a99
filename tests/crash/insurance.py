"""The insurance example in a process that is killed: one process is a billing worker, the office and the customers at once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from durable import Client, Worker, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.exceptions import WorkflowAlreadyStartedError

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "insurance"
if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))

# The example is a program of its own: its modules know each other by their plain names.
from activities import Billing, Office  # noqa: E402
from customers import answer_letters  # noqa: E402
from database import create_tables, open_database  # noqa: E402
from gateway import Gateway  # noqa: E402
from policies import BILLING, OFFICE, Card, Pace, Policy  # noqa: E402
from report import make_report  # noqa: E402
from workflows import insure  # noqa: E402

MONTH = 0.02
TIME_ENOUGH, NO_ANSWER = Pace(MONTH, deadline=120.0), Pace(MONTH, deadline=1.0)
"""Who answers has time enough, also when the process is killed before it can; whoever does not is not waited for long."""

POLICIES = [
    # Surveyed, declined in its second month, and paid with another card.
    Policy("P-1", "ada", "house", 1970, 3, Card("1", 1), needs_survey=True, renews_card=True),
    # Declined, and nobody answers.
    Policy("P-2", "eve", "boat", 880, 3, Card("2", 1), needs_survey=False, renews_card=False),
]


async def prepare(url: str, namespace: str | None) -> None:
    """Make both kinds of tables."""
    async with Client.connect(url, namespace=namespace), open_database(url, namespace) as database:
        await create_tables(database)


async def drive(client: Client, url: str, namespace: str | None, directory: Path, lease: float) -> list[Any]:
    """Work until all policies have ended; start them first, unless they have been."""
    async with open_database(url, namespace) as database:
        billing, office = Billing(database, Gateway(directory / "gateway")), Office(database)
        given: dict[str, Any] = {"lease_duration": lease, "poll_interval": 0.1}
        async with (
            Worker(client, task_queue=BILLING, workflows=[insure], activities=[billing], **given),
            Worker(client, task_queue=OFFICE, workflows=[], activities=[office], **given),
        ):
            customers = asyncio.create_task(answer_letters(client, database, POLICIES))
            try:
                return await asyncio.gather(*[_insured(client, policy) for policy in POLICIES])
            finally:
                customers.cancel()


async def _insured(client: Client, policy: Policy) -> Any:
    try:
        handle = await client.start_workflow(
            insure(policy, TIME_ENOUGH if policy.renews_card else NO_ANSWER),
            id=policy.id,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        )
    except WorkflowAlreadyStartedError:
        return await client.get_workflow_handle_for(insure, policy.id).result()
    return await handle.result()


async def faults(url: str, namespace: str | None, directory: Path) -> list[str]:
    """What does not add up in log, tables and the gateway's ledger; how many workers the demo kills is another matter."""
    async with open_database(url, namespace) as database:
        report = await make_report(database, directory / "gateway", POLICIES)
    return [fault for fault in report.faults if not fault.startswith("workers killed")]


__all__ = ["POLICIES", "drive", "faults", "insure", "prepare"]
