"""Where the figures come from: machine, versions, settings and the revision that was measured."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg

ROOT = Path(__file__).resolve().parent.parent

POSTGRES_SETTINGS = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
)


MEASURED = ("durable", "benchmarks", ":(exclude)benchmarks/results")
"""Where a change makes a figure another one."""


def environment() -> dict[str, Any]:
    """What was measured, where and when, but for the databases."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no", "--", *MEASURED)),
        "machine": {
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "cpu": _cpu(),
            "memory_bytes": _memory(),
            "load_before": round(os.getloadavg()[0], 2),
            "system": platform.platform(),
        },
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: version(name) for name in ("asyncpg", "msgspec")},
    }


def sqlite_settings() -> dict[str, Any]:
    """What the library sets on every connection; the floor does the same."""
    return {"version": sqlite3.sqlite_version, "journal_mode": "wal", "synchronous": "full"}


async def postgres_settings(url: str) -> dict[str, Any]:
    """What the server says of itself; the first lines to read when figures differ."""
    connection = await asyncpg.connect(url)
    try:
        settings = {
            name: await connection.fetchval("select current_setting($1)", name) for name in POSTGRES_SETTINGS
        }
    finally:
        await connection.close()
    return {"version": settings.pop("server_version"), **settings}


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def _cpu() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
