"""Where one run of the demo keeps its things."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class Place:
    """A directory, and a database: a file in it, or a schema of its own in PostgreSQL."""

    directory: Path
    url: str
    namespace: str | None
    policies: int

    @classmethod
    def new(cls, directory: Path, url: str | None, policies: int) -> Place:
        """Return the place of a new run.

        Raises:
            FileExistsError: There is one in this directory already.
        """
        if (directory / "run.json").exists():
            raise FileExistsError(f"{directory} holds an earlier run; remove it, or name another directory")
        directory.mkdir(parents=True, exist_ok=True)
        namespace = None
        if url is None or not url.startswith("postgres"):
            url = sqlite_url(directory)
        else:
            namespace = f"insurance_{secrets.token_hex(4)}"
        place = cls(directory, url, namespace, policies)
        (directory / "run.json").write_text(json.dumps({"namespace": namespace, "policies": policies}))
        return place

    @classmethod
    def kept(cls, directory: Path) -> Place:
        """Return the place of a run that was kept. One in PostgreSQL needs `DURABLE_URL` again: it is not written down."""
        kept = json.loads((directory / "run.json").read_text())
        url = sqlite_url(directory) if kept["namespace"] is None else os.environ["DURABLE_URL"]
        return cls(directory, url, kept["namespace"], kept["policies"])

    @property
    def ledger(self) -> Path:
        """The gateway's own file."""
        return self.directory / "gateway.jsonl"

    @property
    def log(self) -> Path:
        """What the library had to say, in all processes."""
        return self.directory / "workers.log"


def sqlite_url(directory: Path) -> str:
    return f"sqlite:///{quote(str(directory.resolve() / 'insurance.db'))}"
