"""`durable gc`: old histories are removed."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import duration, finish
from durable.cli._output import iso
from durable.cli._workflow_operate import add_batch, carry_out
from durable.client import BatchProgress, Client


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Remove workflows that closed long ago for good, with their histories, some at a time, so that nobody waits for it. "
        "`durable workflow export` keeps one before."
    )
    parser.add_argument(
        "--older-than", type=duration, metavar="TIME", help="those that closed so long ago: 30d, 12h"
    )
    parser.add_argument("--before", metavar="TIME", help="those that closed before this instant, in ISO 8601")
    parser.add_argument("-q", "--query", metavar="FILTER", help="of these only what a list filter finds")
    add_batch(parser)
    finish(parser, gc)


async def gc(context: Context) -> ExitCode:
    """Remove them."""
    options = context.options
    if (options.older_than is None) == (options.before is None):
        raise ValueError("say how old: either --older-than, such as 30d, or --before")
    before = options.before or iso(datetime.now(UTC) - options.older_than)
    query = f"CloseTime < '{before}'" + (f" AND ({options.query})" if options.query else "")
    return await carry_out(context, "delete", _delete, query)


async def _delete(context: Context, client: Client, query: str, how: Any) -> BatchProgress:
    return await client.delete_workflows(query, reason="gc", **how)
