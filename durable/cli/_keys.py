"""`durable keys`: with which keys what is stored is encrypted, before one of them is taken away."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import verb, verbs_of
from durable.cli._output import iso

PLAIN = "(not encrypted)"


def add(parser: argparse.ArgumentParser) -> None:
    """Give `durable keys` its verbs."""
    verbs = verbs_of(parser)
    listing = verb(
        verbs,
        "list",
        list_,
        "count the workflows that each key is needed for",
        description="Count the workflows and schedules that each key of durable.contrib.encryption is needed for. It reads what is "
        "stored and needs no key.",
    )
    _add_query(listing)
    affected = verb(
        verbs,
        "affected",
        affected_,
        "list the workflows that could not be read without a key",
        description="List the workflows and schedules that could not be read without a key: before it is taken away, there shall be "
        "none.",
    )
    affected.add_argument("key", metavar="KEY", help="the id of the key")
    _add_query(affected)


def _add_query(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-q", "--query", metavar="FILTER", help="only workflows that a list filter finds, and no schedules"
    )


async def _found(context: Context) -> AsyncIterator[dict[str, Any]]:
    try:
        # A part of the library that only programs with an encryption have all parts of.
        from durable.contrib.encryption import keys_in_use  # noqa: PLC0415
    except ImportError as error:
        raise ValueError(
            f"this needs the library that encrypts ({error}): pip install durable[crypto]"
        ) from None
    async with context.client() as client:
        async for one in keys_in_use(client, context.options.query or ""):
            yield {
                "kind": one.kind,
                "id": one.id,
                "run_id": one.run_id,
                "open": one.open,
                "start_time": one.start_time,
                "keys": sorted(key for key in one.keys if key is not None),
                "plaintext": None in one.keys,
            }


async def list_(context: Context) -> ExitCode:
    """Count for each key."""
    counted: dict[str | None, dict[str, Any]] = {}
    async for one in _found(context):
        for key in (*one["keys"], *([None] if one["plaintext"] else [])):
            count = counted.setdefault(
                key, {"key": key, "workflows": 0, "open": 0, "schedules": 0, "newest": None}
            )
            if one["kind"] == "schedule":
                count["schedules"] += 1
                continue
            count["workflows"] += 1
            count["open"] += one["open"]
            count["newest"] = max(count["newest"] or one["start_time"], one["start_time"])

    async def records() -> AsyncIterator[dict[str, Any]]:
        for key in sorted(counted, key=lambda key: key or ""):
            yield counted[key]

    def cells(one: dict[str, Any]) -> Sequence[str]:
        newest = "" if one["newest"] is None else iso(one["newest"])
        return one["key"] or PLAIN, str(one["workflows"]), str(one["open"]), str(one["schedules"]), newest

    columns = ("key", "workflows", "open", "schedules", "newest")
    await context.out.records("keys", records(), columns, cells)
    return ExitCode.OK


async def affected_(context: Context) -> ExitCode:
    """List those that need one."""

    async def records() -> AsyncIterator[dict[str, Any]]:
        async for one in _found(context):
            if context.options.key in one["keys"]:
                yield {name: value for name, value in one.items() if name != "plaintext"}

    def cells(one: dict[str, Any]) -> Sequence[str]:
        return one["kind"], one["id"], one["run_id"] or "", "open" if one["open"] else ""

    await context.out.records("affected", records(), ("kind", "id", "run", ""), cells)
    return ExitCode.OK
