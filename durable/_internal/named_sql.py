"""SQL kept as SQL: files of named queries, read once."""

from __future__ import annotations

import re
from importlib import resources
from typing import Final

_HEADER: Final = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(package: str, file: str) -> dict[str, str]:
    """Return the queries of an `.sql` file in `package`, by name.

    A query begins behind a line `-- name: claim_runs` and ends at the next such line. Comments stay in: they are seen
    by whoever reads the database's log.

    Raises:
        ValueError: Two queries of the file have one name, or text stands before the first name.
    """
    text = resources.files(package).joinpath(file).read_text("utf-8")
    before, *parts = _HEADER.split(text)
    if any(line.strip() and not line.startswith("--") for line in before.splitlines()):
        raise ValueError(f"{package}/{file}: text before the first '-- name:' line")
    queries: dict[str, str] = {}
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        if name in queries:
            raise ValueError(f"{package}/{file}: two queries are named {name}")
        queries[name] = body.strip()
    return queries
