"""`durable init`: a first program."""

from __future__ import annotations

import argparse
from pathlib import Path

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import finish

PROGRAM = '''\
"""A workflow, and what it does. Run it: `durable worker`, and beside it
`durable workflow execute greet --input '"Ada"'`."""

from durable import RetryPolicy, activity, workflow


@activity.defn(retry_policy=RetryPolicy(maximum_attempts=5))
async def compose(name: str) -> str:
    """What may fail, take time or differ from time to time: calls of other services, files, clocks."""
    return f"Hello, {name}!"


@workflow.defn
async def greet(name: str) -> str:
    """What must survive: when its process is killed, another one goes on behind the last line that has returned."""
    return await compose(name)
'''

SETTINGS = """\
[tool.durable]
url = "sqlite:///durable.db"  # or postgresql://user@host/database
app = "workflows"
"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Write workflows.py, and where its database is into pyproject.toml. Nothing that is there is changed."
    )
    parser.add_argument("directory", nargs="?", type=Path, default=Path(), help="where; here by default")
    finish(parser, init, data=False)


async def init(context: Context) -> ExitCode:
    """Write a first program."""
    directory, out = context.options.directory, context.out
    program, settings = directory / "workflows.py", directory / "pyproject.toml"
    if program.exists():
        out.note(f"durable: {program} is there already")
        return ExitCode.CONFLICT
    directory.mkdir(parents=True, exist_ok=True)
    program.write_text(PROGRAM, "utf-8")
    out.line(f"wrote {program}")
    if settings.exists():
        out.note(f"{settings} is there already; put this into it:\n\n{SETTINGS}")
    else:
        settings.write_text(SETTINGS, "utf-8")
        out.line(f"wrote {settings}")
    out.note("next: durable worker, and beside it: durable workflow execute greet --input '\"Ada\"'")
    return ExitCode.OK
