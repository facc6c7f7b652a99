"""The parts of docs/cli.md that are made from the parsers: `python -m tests.cli.reference` writes them anew."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from durable.cli import ExitCode
from durable.cli._completion import walk
from durable.cli._program import parser_for

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"

COMMON = {"help", "url", "namespace", "converter", "identity", "traceback", "form", "app"}
"""What every command has, and what the page says once."""


def exits() -> str:
    return "\n".join(
        ["| Code | |", "|--:|---|", *(f"| {code.value} | {code.meaning} |" for code in ExitCode)]
    )


def reference() -> str:
    return "\n".join(
        _command(path, parser) for path, parser, _ in walk(parser_for(None)) if "run" in parser._defaults
    )


def _command(path: str, parser: argparse.ArgumentParser) -> str:
    rows = [*_rows(parser)]
    table = ["", "| | |", "|---|---|", *rows] if rows else []
    return "\n".join([f"### durable{path}", "", parser.description or "", *table, ""])


def _rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if action.dest in COMMON or isinstance(action, argparse._SubParsersAction):
            continue
        shown = ", ".join(f"`{flag}`" for flag in action.option_strings)
        takes = action.metavar or (None if action.nargs == 0 else action.dest.upper())
        if action.choices is not None:
            takes = " ".join(map(str, action.choices))
        shown = f"{shown} `{takes}`".strip() if takes else shown
        yield f"| {shown} | {(action.help or '').replace('|', chr(92) + '|')} |"


def made(text: str) -> str:
    """Return the page with these parts as they are to be."""
    head, _, rest = text.partition("## Exit codes\n")
    _, _, rest = rest.partition("## Commands\n")
    intro = rest.strip().partition("\n\n")[0]
    return f"{head}## Exit codes\n\n{exits()}\n\n## Commands\n\n{intro}\n\n{reference()}".rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text("utf-8")), "utf-8")
