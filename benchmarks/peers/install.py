"""`python -m benchmarks.peers.install`: bring every peer that can be had here, each on its own, so that one that cannot costs no other."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks._environment import ROOT

NODE = Path(sys.prefix, "share", "bench-node")
"""Where npm puts what it installs; it goes with the environment."""

RESTATE_SERVER = str(NODE / "node_modules" / ".bin" / "restate-server")

NPM = "@restatedev/restate-server"

ABSURD_SCHEMA = "django-absurd==1.0.1"
"""The package that carries absurd's tables as SQL. Nothing of it is imported, so neither Django nor its Python is needed."""


def main() -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
    for requirement in requirements():
        _try(requirement, [*pip, requirement])
    _try(ABSURD_SCHEMA, [*pip, "--no-deps", "--ignore-requires-python", ABSURD_SCHEMA])
    _try(NPM, ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(NODE), NPM])


def requirements() -> list[str]:
    """Return the peers of the group `bench`, without what the group includes."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    return [one for one in groups["bench"] if isinstance(one, str)]


def _try(what: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        print(f"not installed: {what} ({error})")
        return
    if done.returncode:
        print(f"not installed: {what} ({(done.stderr.strip() or done.stdout.strip()).splitlines()[-1]})")


if __name__ == "__main__":
    main()
