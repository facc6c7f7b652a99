"""`durable lint`: what makes workflow code nondeterministic."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import dedent, indent

from durable.cli._context import Context
from durable.cli._exits import ExitCode
from durable.cli._options import finish
from durable.cli._output import Form
from durable.lint import RULES, Config, Finding, Where, check, check_code, find_config

SOURCES = ("", "src")
"""Where the module is looked for that -A names."""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the command its options."""
    parser.description = (
        "Find what makes workflow code nondeterministic. Files are read and not imported. The exit code is 7 when a replay may "
        "part from its history, 1 when only signatures or activities are at fault."
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="files and folders; those of -A by default, or this folder",
    )
    parser.add_argument("--select", metavar="CODES", help="only these rules, such as DUR1,DUR501")
    parser.add_argument("--ignore", metavar="CODES", help="all but these rules")
    parser.add_argument(
        "--explain", metavar="CODE", help="show a rule with a bad and a good example, and check nothing"
    )
    parser.add_argument("--rules", action="store_true", help="list the rules, and check nothing")
    finish(parser, lint, app=True)


async def lint(context: Context) -> ExitCode:
    """Check, and say what was found."""
    options, out = context.options, context.out
    if options.rules:
        for rule in RULES:
            out.line(f"{rule.code} {rule.name}: {rule.summary()}")
        return ExitCode.OK
    if options.explain is not None:
        out.line(_explained(options.explain))
        return ExitCode.OK
    paths = options.paths or [_place(context.settings.get("app"))]
    findings = check(paths, _config(options, paths[0]))
    if out.form is Form.TEXT:
        for one in findings:
            out.line(str(one))
        out.note(_summary(findings))
    elif out.form is Form.JSONL:
        for one in findings:
            out.document(asdict(one))
    else:
        out.document({"findings": [asdict(one) for one in findings]})
    return _exit_code(findings)


def _place(app: str | None) -> Path:
    """Where the module of an application is, seen from here."""
    if app is None:
        return Path()
    parts = app.partition(":")[0].split(".")
    for source in SOURCES:
        folder = Path(source, *parts)
        for path in (folder, folder.with_suffix(".py")):
            if path.exists():
                return path
    raise ValueError(f"-A {app}: there is no {'/'.join(parts)}.py here, and no such folder; name the paths")


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


def _explained(code: str) -> str:
    rule = next((one for one in RULES if code in (one.code, one.name)), None)
    if rule is None:
        raise ValueError(f"there is no rule {code!r}; --rules lists them")
    examples = [
        f"{title}\n\n{indent(dedent(example).strip(), '    ')}"
        for title, example in (("Not so:", rule.bad), ("But so:", rule.good))
    ]
    head = f"{rule.code} {rule.name}: {rule.summary()}\nIt looks at {rule.where.value}."
    return "\n\n".join([head, *examples])


def _summary(findings: Sequence[Finding]) -> str:
    if not findings:
        return "Nothing found."
    files = len({one.path for one in findings})
    return f"{len(findings)} found in {files} file{'s' if files > 1 else ''}."


def _exit_code(findings: Sequence[Finding]) -> ExitCode:
    of_workflows = {rule.code for rule in RULES if rule.where is Where.WORKFLOW}
    if any(one.code in of_workflows for one in findings):
        return ExitCode.NONDETERMINISM
    return ExitCode.FAILED if findings else ExitCode.OK
