"""Programs in a folder of their own, and what the lint finds in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

from durable.lint import Config, Finding, check


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), "utf-8")


def lint(
    folder: Path,
    *texts: str,
    paths: tuple[str, ...] = (),
    files: dict[str, str] | None = None,
    **options: Any,
) -> list[Finding]:
    """Check a program: `program.py` with the texts one after the other, or the files, of which `paths` are checked."""
    write(folder, {"program.py": "\n".join(dedent(one) for one in texts)} if files is None else files)
    config = replace(Config(folder), **options)
    return check([folder / one for one in paths] or [folder], config)


def codes(found: list[Finding]) -> list[str]:
    return [one.code for one in found]


def lines(found: list[Finding]) -> list[tuple[int, str]]:
    return [(one.line, one.code) for one in found]


def flow(body: str, head: str = "") -> str:
    """A workflow with this body, behind what most programs import; its first line is the tenth."""
    text = "\n".join(f"    {line}".rstrip() for line in dedent(body).strip("\n").splitlines())
    return f"{HEAD}{dedent(head)}\n@workflow.defn\nasync def flow(names: set[str], words: list[str]) -> object:\n{text}\n"


HEAD = """\
import asyncio, os, random, sys, threading, time, uuid
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from durable import ActivityError, Signal, activity, workflow

@activity.defn
async def act(word: object = None) -> str: ...
"""
