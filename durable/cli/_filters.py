"""Which workflows a command is for: options, and the list filter that they amount to."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import Any

from durable.cli._options import duration
from durable.cli._output import iso

HOLDS = ("blocked", "quarantined", "paused")
STATUSES = ("running", "completed", "failed", "canceled", "terminated", "timedout", "continuedasnew")

_NAMES = dict(
    zip(
        STATUSES,
        ("Running", "Completed", "Failed", "Canceled", "Terminated", "TimedOut", "ContinuedAsNew"),
        strict=True,
    )
)


def add_filter(parser: argparse._ActionsContainer) -> None:
    """Give a command the options that choose workflows."""
    parser.add_argument(
        "-q",
        "--query",
        metavar="FILTER",
        help="a list filter, such as \"WorkflowType = 'checkout' AND Region = 'EU'\"",
    )
    parser.add_argument("--type", metavar="NAME", help="only workflows of this type")
    parser.add_argument(
        "--status",
        choices=[*HOLDS, *STATUSES],
        type=lambda text: text.lower().replace("-", "").replace("_", ""),
        help="only those in this state; blocked is one whose code is at fault",
    )
    parser.add_argument(
        "--since", type=duration, metavar="TIME", help="only those started so long ago at most: 30m, 1d"
    )


def filter_of(options: Any) -> str | None:
    """Return the filter that the options amount to, None when they choose nothing."""
    parts = [f"({options.query})"] if options.query else []
    if options.type:
        parts.append(f"WorkflowType = {quoted(options.type)}")
    if options.status:
        name = _NAMES.get(options.status)
        parts.append(f"ExecutionStatus = '{name}'" if name else f"Hold = '{options.status}'")
    if options.since is not None:
        parts.append(f"StartTime >= '{iso(datetime.now(UTC) - options.since)}'")
    if len(parts) == 1 and options.query:
        return str(
            options.query
        )  # as it was written, so that it may end with ORDER BY, and errors name its columns
    return " AND ".join(parts) or None


def quoted(text: str) -> str:
    """Return a text as filters write it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
