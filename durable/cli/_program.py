"""The program: its commands, its parser, and what becomes of errors."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple, NoReturn, TextIO

from durable.cli._context import Context
from durable.cli._exits import ExitCode, code_of
from durable.cli._output import Form, Output


class Command(NamedTuple):
    """A command: the module that has it, and what it does, in a line."""

    module: str
    help: str


COMMANDS = {
    "init": Command("durable.cli._init", "write a first program into this directory"),
    "doctor": Command("durable.cli._doctor", "find out what is wrong, and what to do about it"),
    "workflow": Command(
        "durable.cli._workflow", "start workflows, look at them, tell them something, put them right"
    ),
    "worker": Command("durable.cli._worker", "run workers until told to stop"),
    "migrate": Command("durable.cli._migrate", "make the tables, or bring them up to date"),
    "replay": Command("durable.cli._replay", "replay histories through the code as it is now"),
    "debug": Command("durable.cli._debug", "run a history again under a debugger, or tell it task by task"),
    "lint": Command("durable.cli._lint", "find what makes workflow code nondeterministic"),
    "schedule": Command("durable.cli._schedule", "what starts workflows by itself: create, look at, change"),
    "activity": Command("durable.cli._activity", "end an activity from outside, or operate on it"),
    "queue": Command("durable.cli._fleet", "task queues, and who serves them"),
    "keys": Command("durable.cli._keys", "with which keys what is stored is encrypted"),
    "retention": Command("durable.cli._retention", "how long closed workflows are kept"),
    "bench": Command("durable.cli._bench", "measure how many steps a second this database takes"),
    "gc": Command("durable.cli._gc", "remove workflows that closed long ago"),
    "completion": Command("durable.cli._completion", "print what a shell needs to complete commands"),
    "version": Command("durable.cli._version", "print the version"),
}
"""What there is. A module is imported when its command is called, or when all are asked for."""

DESCRIPTION = "Durable workflows in SQLite or PostgreSQL: run them, look at them, and put them right."

EPILOG = """\
The database is --db, else DURABLE_URL, else url in [tool.durable] of pyproject.toml. `durable COMMAND --help` says more.

exit codes:
""" + "\n".join(f"  {code.value:<4} {code.meaning}" for code in ExitCode)


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in a sentence, instead of all that would be right."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(
    arguments: Sequence[str] | None = None, *, out: TextIO | None = None, err: TextIO | None = None
) -> int:
    """Run a command, and return its exit code, one of `ExitCode`.

    Args:
        arguments: What stands behind the program's name; of this process by default.
        out: Where data goes; standard output by default.
        err: Where notes go; standard error by default.

    Raises:
        SystemExit: The command was called wrongly, or its help was asked for.
    """
    given = sys.argv[1:] if arguments is None else [*arguments]
    if len(given) > 1 and given[0] == "migrate" and "://" in given[1]:
        given.insert(1, "up")  # as release 0.1.0 had it
    data = out or _stream(sys.stdout)
    notes = err or _stream(sys.stderr)
    options = parser_for(given).parse_args(given)
    if "run" not in options:
        options.parser.print_help(notes)
        return ExitCode.USAGE
    form = Form(getattr(options, "form", None) or Form.TEXT)
    output = Output(form, data, notes, colour=not os.environ.get("NO_COLOR"))
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            code: int = runner.run(options.run(Context(options, output, given)))
        output.flush()
    except BrokenPipeError:
        # Whoever read along has gone, `head` for example. Python would fail again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except (Exception, KeyboardInterrupt) as error:
        found = code_of(error)
        if found is None or options.traceback:
            traceback.print_exception(error, file=notes)
            return found or ExitCode.FAILED
        if found is not ExitCode.INTERRUPTED:
            output.note(f"durable: {str(error) or type(error).__name__}")
        return found
    return code


def _stream(standard: TextIO | None) -> TextIO:
    """Return a standard stream, or what nobody reads when ours was closed: what is opened next would be in its place."""
    return open(os.devnull, "w", encoding="utf-8") if standard is None else standard


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return what makes the event loop: uvloop's, if that is installed; None for asyncio's own."""
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory


def parser_for(given: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser, with the commands that are named in these arguments; with all of them for None."""
    parser = Parser(
        prog="durable",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, command in COMMANDS.items():
        own = commands.add_parser(
            name, help=command.help, description=sentence(command.help), allow_abbrev=False
        )
        own.set_defaults(parser=own)
        if given is None or name in given:
            import_module(command.module).add(own)
    return parser


def sentence(help: str) -> str:
    """Return a line of help as a description."""
    return f"{help[0].upper()}{help[1:]}."
