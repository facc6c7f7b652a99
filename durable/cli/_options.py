"""Options that several commands have, and what they may be."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._output import Form
from durable.cli._settings import SETTINGS

Run = Callable[[Context], Awaitable[ExitCode]]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)?")


def verb(
    verbs: Any, name: str, run: Run, help: str, *, app: bool = False, data: bool = True, description: str = ""
) -> argparse.ArgumentParser:
    """Add a command below a noun, `durable NOUN NAME`, and return its parser."""
    text = description or f"{help[0].upper()}{help[1:]}."
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=help, description=text, allow_abbrev=False)
    return finish(parser, run, app=app, data=data)


def verbs_of(parser: argparse.ArgumentParser) -> Any:
    """Return where the verbs of a noun are added."""
    return parser.add_subparsers(title="commands", metavar="COMMAND")


def finish(
    parser: argparse.ArgumentParser, run: Run, *, app: bool = False, data: bool = True
) -> argparse.ArgumentParser:
    """Give a parser its handler and the options that all commands have.

    Args:
        parser: Its parser.
        run: Its handler.
        app: Whether it can make use of the application's code.
        data: Whether it writes data, in forms that can be chosen.
    """
    common = parser.add_argument_group("options of all commands")
    common.add_argument("--db", "--url", dest="url", metavar="URL", help=SETTINGS["url"])
    common.add_argument("-n", "--namespace", help=SETTINGS["namespace"])
    if app:
        common.add_argument("-A", "--app", metavar="MODULE[:NAME]", help=SETTINGS["app"])
    common.add_argument("--converter", metavar="MODULE:NAME", help=SETTINGS["converter"])
    common.add_argument("--identity", help=SETTINGS["identity"])
    if data:
        forms = common.add_mutually_exclusive_group()
        for form, help in (
            (Form.JSON, "write one JSON document"),
            (Form.JSONL, "write a JSON document per line"),
        ):
            forms.add_argument(f"--{form.value}", dest="form", action="store_const", const=form, help=help)
    common.add_argument("--traceback", action="store_true", help="show where an error comes from")
    parser.set_defaults(run=run, parser=parser)
    return parser


def duration(text: str) -> timedelta:
    """Read a duration: seconds, or a number with one of the units ms, s, m, h, d, w; several add up, as in 1h30m."""
    place, seconds = 0, 0.0
    while match := _DURATION.match(text, place):
        seconds += float(match[1]) * _UNITS[match[2] or "s"]
        place = match.end()
    if not text or place != len(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no duration; write for example 500ms, 30s, 1h30m or 7d"
        )
    return timedelta(seconds=seconds)


def instant(text: str) -> datetime:
    """Read an instant: ISO 8601, UTC unless it says otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no instant; write for example 2026-01-31T12:00:00Z"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def value(text: str) -> Any:
    """Read a value: JSON, or @FILE with JSON in it. A text needs its quotes, so that 007 and true are what they say."""
    source = text
    if text.startswith("@"):
        try:
            source = Path(text[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise argparse.ArgumentTypeError(f"{text[1:]}: {error}") from None
    try:
        return json.loads(source, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        hint = f"; a text is written with quotes: '{json.dumps(text)}'" if source is text else ""
        raise argparse.ArgumentTypeError(f"{text} is no JSON ({error}){hint}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"there is no {name} in JSON")


def add_input(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Give a command the arguments of the application's own: behind its name, or each behind `-i`."""
    parser.add_argument(
        "input", nargs="*", type=value, metavar="JSON", help=f"its arguments, as JSON or @FILE{more}"
    )
    add_inputs(parser)


def add_inputs(parser: argparse.ArgumentParser) -> None:
    """Let the arguments of the application's own be given by `-i`."""
    parser.add_argument(
        "-i",
        "--input",
        dest="inputs",
        action="append",
        default=[],
        type=value,
        metavar="JSON",
        help="a further argument; several times for several",
    )


def input_of(options: argparse.Namespace) -> list[Any]:
    """Return the arguments of the application's own."""
    return [*options.input, *options.inputs]


def whole(text: str) -> int:
    """Read a whole number that is not negative."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def some(text: str) -> int:
    """Read a whole number that is not 0."""
    if (number := whole(text)) == 0:
        raise argparse.ArgumentTypeError("there must be at least 1")
    return number


def ask_before(parser: argparse._ActionsContainer) -> None:
    """Give a command that asks before it acts the option not to."""
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def confirm(context: Context, question: str) -> None:
    """Return only if it is meant.

    Raises:
        ValueError: It is not, or nobody can be asked.
    """
    if context.options.yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"{question} Nobody can be asked here: say --yes")
    context.out.note(f"{question} [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ValueError("nothing was done")
