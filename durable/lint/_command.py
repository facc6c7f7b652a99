"""The command `durable lint`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import dedent, indent
from typing import TextIO

from durable.lint._check import check
from durable.lint._config import Config, ConfigError, check_code, find_config
from durable.lint._rule import Finding, Where
from durable.lint.rules import RULES

OK, FOUND, USAGE, NONDETERMINISM = 0, 1, 2, 7
"""What the command exits with; NONDETERMINISM when a replay may part from its history."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say which arguments the command has."""
    parser.add_argument(
        "paths", nargs="*", default=["."], metavar="PATH", help="files and folders; this folder by default"
    )
    parser.add_argument(
        "--select", metavar="CODES", help="only these rules, by code or by its beginning: DUR1,DUR501"
    )
    parser.add_argument(
        "--ignore", metavar="CODES", help="all but these rules, in addition to those of pyproject.toml"
    )
    parser.add_argument("--json", action="store_true", help="one document with all findings")
    parser.add_argument(
        "--explain", metavar="CODE", help="show a rule with a bad and a good example, and check nothing"
    )
    parser.add_argument("--rules", action="store_true", help="show the rules, and check nothing")


def run(options: argparse.Namespace, *, out: TextIO, err: TextIO) -> int:
    """Run the command and return its exit code."""
    if options.rules:
        print("\n".join(f"{rule.code} {rule.name}: {rule.summary()}" for rule in RULES), file=out)
        return OK
    if options.explain is not None:
        return _explain(options.explain, out, err)
    paths = [Path(one) for one in options.paths]
    try:
        findings = check(paths, _config(options, paths[0]))
    except (ConfigError, FileNotFoundError) as error:
        print(error, file=err)
        return USAGE
    if options.json:
        print(json.dumps({"findings": [asdict(one) for one in findings]}, indent=1), file=out)
    else:
        for one in findings:
            print(one, file=out)
        print(_summary(findings), file=err)
    return _exit_code(findings)


def _explain(code: str, out: TextIO, err: TextIO) -> int:
    rule = next((one for one in RULES if code in (one.code, one.name)), None)
    if rule is None:
        print(f"there is no rule {code!r}; --rules lists them", file=err)
        return USAGE
    print(f"{rule.code} {rule.name}: {rule.summary()}\nIt looks at {rule.where.value}.", file=out)
    for title, example in (("Not so:", rule.bad), ("But so:", rule.good)):
        print(f"\n{title}\n\n{indent(dedent(example).strip(), '    ')}", file=out)
    return OK


def _config(options: argparse.Namespace, path: Path) -> Config:
    config = find_config(path if path.is_dir() else path.parent)
    if options.select is not None:
        config = replace(config, select=_split("--select", options.select))
    if options.ignore is not None:
        config = replace(config, ignore=(*config.ignore, *_split("--ignore", options.ignore)))
    return config


def _split(option: str, given: str) -> tuple[str, ...]:
    codes = tuple(one.strip() for one in given.split(","))
    for code in codes:
        check_code(code, option)
    return codes


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing found."
    files = len({one.path for one in findings})
    return f"{len(findings)} found in {files} file{'s' if files > 1 else ''}."


def _exit_code(findings: Sequence[Finding]) -> int:
    workflow = {rule.code for rule in RULES if rule.where is Where.WORKFLOW}
    if any(one.code in workflow for one in findings):
        return NONDETERMINISM
    return FOUND if findings else OK


def main(
    arguments: Sequence[str] | None = None, *, out: TextIO | None = None, err: TextIO | None = None
) -> int:
    """Run `python -m durable.lint` and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m durable.lint",
        description="Find what makes workflow code nondeterministic, without running it.",
    )
    add_arguments(parser)
    return run(parser.parse_args(arguments), out=out or sys.stdout, err=err or sys.stderr)
