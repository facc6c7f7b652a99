"""`durable doctor`: what is wrong, and what to do about it."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from durable import store
from durable._internal.instants import to_datetime
from durable.cli._context import Context, hurried
from durable.cli._exits import ExitCode
from durable.cli._fleet import queues
from durable.cli._options import finish
from durable.cli._output import lasted
from durable.client import Client
from durable.testing.invariants import INVARIANTS, verify

SKEW = 2.0
"""Seconds by which two clocks may differ: the database's decides, but people compare times in logs."""

SLOW = 0.1
"""Seconds that a round trip to the database may take: each step of a workflow is one."""

NAMED = 3
"""Workflows that are named as examples."""


MOST = 100
"""Violations of invariants that are shown."""


class Finding(NamedTuple):
    """What one check has found: "ok", "warning" or "problem", and a sentence."""

    check: str
    state: str
    message: str


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Check the database, its tables and settings, the workers, and whether workflows are stuck. The exit code is 1 when "
        "something is wrong; what is only worth knowing is a warning."
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="also read every history, and hold it against the invariants; nothing is locked, but it takes its time",
    )
    finish(parser, doctor)


async def doctor(context: Context) -> ExitCode:
    """Check everything."""
    warned = _Warnings()
    logger = logging.getLogger("durable.store")
    logger.addHandler(warned)
    logger.propagate = False  # they are among the findings
    try:
        settings = context.settings
        found = _schema(
            await store.migrations(settings.url, namespace=settings.get("namespace"), **hurried(settings.url))
        )
        if all(one.state != "problem" for one in found):
            async with context.client() as client:
                found += [*await _database(client), *await _workers(client), *await _workflows(client)]
                if context.options.verify:
                    found += await _invariants(client)
        found += [Finding("settings", "warning", one) for one in warned.messages] or [
            Finding("settings", "ok", "nothing that would lose data")
        ]
    finally:
        logger.removeHandler(warned)
        logger.propagate = True

    async def records() -> AsyncIterator[dict[str, str]]:
        for one in found:
            yield one._asdict()

    def cells(one: dict[str, str]) -> Sequence[str]:
        return one["state"], one["check"], one["message"]

    await context.out.records("findings", records(), ("state", "check", "message"), cells)
    return ExitCode.FAILED if any(one.state == "problem" for one in found) else ExitCode.OK


class _Warnings(logging.Handler):
    """Gathers what the store warns of when it is opened."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def _schema(migrations: Sequence[store.MigrationStatus]) -> list[Finding]:
    missing = [one.name for one in migrations if not one.made and not one.after]
    if missing:
        return [
            Finding("tables", "problem", f"{len(missing)} migrations are to be made; run: durable migrate up")
        ]
    if waiting := [one.name for one in migrations if not one.made]:
        text = f"{', '.join(waiting)} waits until no worker of the release before is left: durable migrate up --after"
        return [Finding("tables", "warning", text)]
    return [Finding("tables", "ok", "up to date")]


async def _database(client: Client) -> list[Finding]:
    begun = time.monotonic()
    there = to_datetime(await client.store.now())
    took = max(time.monotonic() - begun, 0.001)
    skew = abs((datetime.now(UTC) - there).total_seconds())
    slow = "each step of a workflow is one; are the workers near the database?"
    return [
        Finding("database", "ok", f"answers in {lasted(took)}")
        if took < SLOW
        else Finding("database", "warning", f"takes {lasted(took)} to answer: {slow}"),
        Finding("clock", "ok", "the same as the database's")
        if skew < SKEW
        else Finding("clock", "warning", f"{lasted(skew)} apart from the database's, which decides"),
    ]


async def _workers(client: Client) -> list[Finding]:
    found: list[Finding] = []
    workers = await client.list_workers()
    for worker in workers:
        if not worker.alive:
            what = f"{worker.identity} is silent; others take over what it had"
            found.append(Finding("workers", "warning", what))
    for name, queue in (await queues(client)).items():
        if queue["state"] != "open":
            what = f"task queue {name!r} is {queue['state']}, nothing of it is begun; end it: durable queue unpause {name}"
            found.append(Finding("queues", "warning", what))
        if queue["open"] and not queue["workers"]:
            what = f"no worker serves task queue {name!r}, where {queue['open']} workflows are open"
            found.append(
                Finding("workers", "problem", f"{what}; start one: durable worker -q {name} -A MODULE")
            )
    number = sum(worker.alive for worker in workers)
    return found or [
        Finding("workers", "ok", f"{number} alive, and every queue with open workflows is served")
    ]


async def _workflows(client: Client) -> list[Finding]:
    found: list[Finding] = []
    for hold, state, what in (
        ("blocked", "problem", "their code is at fault"),
        ("quarantined", "problem", "they killed their workers"),
        ("paused", "warning", "an operator has paused them"),
    ):
        query = f"Hold = '{hold}'"
        if number := (await client.count_workflows(query)).count:
            some = [run.id async for run in client.list_workflows(query, limit=NAMED)]
            more = ", ..." if number > len(some) else ""
            text = f"{number} {hold}, {what}: {', '.join(some)}{more}; look at one: durable workflow show {some[0]}"
            found.append(Finding("workflows", state, text))
    return found or [Finding("workflows", "ok", "none is blocked, quarantined or paused")]


async def _invariants(client: Client) -> list[Finding]:
    sentences = {one.id: one.sentence for one in INVARIANTS}
    found: list[Finding] = []
    runs = broken = 0
    async for count, violations in verify(client.store):
        runs += count
        broken += len(violations)
        for one in violations[: MOST - len(found)]:
            what = f"{one.where}: {one.what}. It should be so: {sentences[one.invariant]} Please report it"
            found.append(Finding(f"invariant {one.invariant}", "problem", what))
    if broken > len(found):
        found.append(Finding("invariants", "problem", f"{broken - len(found)} more violations, not shown"))
    return found or [Finding("invariants", "ok", f"hold for the histories of {runs} runs")]
