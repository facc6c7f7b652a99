"""`durable retention`: how long closed workflows are kept."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import duration, verb, verbs_of
from durable.cli._output import lasted


def add(parser: argparse.ArgumentParser) -> None:
    """Give `durable retention` its verbs."""
    verbs = verbs_of(parser)
    verb(verbs, "list", list_, "list how long closed workflows are kept")
    setting = verb(
        verbs,
        "set",
        set_,
        "let workers remove what has been closed for so long",
        data=False,
        description="Let workers remove workflows that have been closed for so long, with their histories. It holds at once, for what "
        "has closed before, too; `durable workflow count --query \"CloseTime < '...'\"` says how many that are.",
    )
    setting.add_argument("keep", metavar="TIME", help="how long they are kept: 30d, 12h; or forever")
    _add_type(setting)
    setting.add_argument(
        "--export",
        action="store_true",
        help="only by who exports them before: workers with an archive, and durable gc --export",
    )
    _add_type(
        verb(
            verbs,
            "clear",
            clear,
            "take a setting back: a type is kept as all others then, all others for ever",
            data=False,
        )
    )


def _add_type(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--type", metavar="NAME", help="for this type; all that have no setting of their own by default"
    )


async def list_(context: Context) -> ExitCode:
    """List what is set."""
    async with context.client() as client:
        found = await client.retention()

    async def records() -> AsyncIterator[dict[str, Any]]:
        for one in found:
            yield {
                "workflow_type": one.workflow_type,
                "keep_seconds": None if one.keep is None else one.keep.total_seconds(),
                "export": one.export,
            }

    def cells(one: dict[str, Any]) -> Sequence[str]:
        keep = one["keep_seconds"]
        return (
            one["workflow_type"] or "(all others)",
            "forever" if keep is None else lasted(keep),
            "exported before" if one["export"] else "",
        )

    await context.out.records("retention", records(), ("type", "kept", ""), cells)
    return ExitCode.OK


async def set_(context: Context) -> ExitCode:
    """Set how long."""
    options = context.options
    keep = None if options.keep == "forever" else _time(options.keep)
    async with context.client() as client:
        await client.set_retention(keep, workflow_type=options.type, export=options.export)
    return ExitCode.OK


def _time(text: str) -> Any:
    try:
        return duration(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{error}; or forever") from None


async def clear(context: Context) -> ExitCode:
    """Take it back."""
    async with context.client() as client:
        await client.clear_retention(workflow_type=context.options.type)
    return ExitCode.OK
