"""`durable version`."""

from __future__ import annotations

import argparse
from importlib import metadata

from durable.cli._context import Context
from durable.cli._exits import ExitCode


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options: none."""
    parser.set_defaults(run=version)


async def version(context: Context) -> ExitCode:
    """Print the version."""
    context.out.line(metadata.version("durable"))
    return ExitCode.OK
