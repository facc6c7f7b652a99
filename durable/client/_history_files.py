"""Files that keep the histories of workflows which are removed from the database."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from durable._internal.ids import uuid7


class HistoryFiles:
    """An archive in a directory: a file of JSON lines for each batch that is removed, a line for each run.

    When a call has returned, its file is on the disk under its name, whole. A batch whose removal failed afterwards is exported
    again, into another file. A line is a history as `durable workflow export` writes it.

        Worker(client, archive=HistoryFiles("/var/lib/shop/histories"))

    Args:
        directory: Where; it is made if it is missing.
        compress: Whether the files are compressed: `.jsonl.gz` instead of `.jsonl`.
    """

    def __init__(self, directory: str | os.PathLike[str], *, compress: bool = True) -> None:
        self._directory = Path(directory)
        self._compress = compress

    async def __call__(self, lines: Sequence[str]) -> None:
        """Write a file with these lines.

        Raises:
            OSError: It could not be written.
        """
        await asyncio.to_thread(self._write, lines)

    def _write(self, lines: Sequence[str]) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        data = "".join(f"{line}\n" for line in lines).encode()
        name = f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}-{uuid7()}.jsonl" + (".gz" if self._compress else "")
        partial = self._directory / f".{name}.partial"
        with partial.open("xb") as file:
            file.write(gzip.compress(data, mtime=0) if self._compress else data)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(self._directory / name)
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
