"""Programs in processes of their own: peers, and the second process of what needs two."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from benchmarks._databases import is_postgres, path_of
from benchmarks._environment import ROOT

LIMIT = 600
"""Seconds after which a program is not waited for."""


class ProgramError(Exception):
    """A program ended without an answer; the text is the last thing it said."""


def ask(program: str, *arguments: object) -> dict[str, Any]:
    """Run a module of `benchmarks` and return what it printed last.

    Raises:
        ProgramError: It failed, or took too long.
    """
    command = [sys.executable, "-m", f"benchmarks.{program}", *map(str, arguments)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"no answer in {LIMIT} s") from error
    if done.returncode:
        raise ProgramError((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])


@contextlib.contextmanager
def side_database(url: str, *, wal: bool = False) -> Iterator[str]:
    """Yield a database of its own on the same server or the same disk, for who brings tables of theirs.

    Args:
        url: That of the measured database.
        wal: Whether an SQLite file is in WAL mode, which it then keeps.
    """
    name = f"durable_bench_{secrets.token_hex(4)}"
    if not is_postgres(url):
        path = path_of(url).with_name(f"{name}.db")
        if wal:
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.execute("pragma journal_mode = wal")
        try:
            yield f"sqlite:///{path}"
        finally:
            for one in path.parent.glob(f"{name}.db*"):
                one.unlink()
        return
    asyncio.run(_execute(url, f'create database "{name}"'))
    try:
        yield urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    finally:
        asyncio.run(_execute(url, f'drop database "{name}" with (force)'))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
