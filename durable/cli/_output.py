"""Where output goes, and how it looks: data to standard output, notes to standard error.

Three forms. `--json` is one document, `--jsonl` a document per line; both are described by docs/cli.schema.json. The third is
for people: aligned, with relative times, on a terminal; else tab-separated lines without a header, with times in ISO 8601.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from importlib import import_module
from importlib.util import find_spec
from math import isfinite
from typing import Any, TextIO

from durable.client import BatchProgress

Record = Mapping[str, Any]

CHUNK = 200
"""Rows whose widths are looked at together, so that a long list begins before its end is known."""

EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal to draw a bar on."""

GAP = "  "

_STYLES = {
    "Running": "cyan",
    "Completed": "green",
    "Failed": "red",
    "TimedOut": "red",
    "Blocked": "yellow",
    "Quarantined": "yellow",
    "Paused": "magenta",
    "Terminated": "dim",
    "Canceled": "dim",
}


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters but tabs and new lines."""


class Form(Enum):
    """How data is written."""

    TEXT = "text"
    JSON = "json"
    JSONL = "jsonl"


class Output:
    """The two streams of a command, and the form it writes in."""

    def __init__(self, form: Form, out: TextIO, err: TextIO, *, colour: bool = True) -> None:
        self.form = form
        self._out = out
        self._err = err
        self._colour = colour

    @property
    def terminal(self) -> bool:
        """Whether a person is looking."""
        return self.form is Form.TEXT and self._out.isatty()

    # ------------------------------------------------------------------ what is written

    def note(self, text: str) -> None:
        """Say something that is no data."""
        print(text, file=self._err, flush=True)

    def line(self, text: str) -> None:
        """Write a line of text as it is."""
        print(text, file=self._out)

    def flush(self) -> None:
        """Hand over what was written."""
        self._out.flush()

    def document(self, record: Any) -> None:
        """Write a value as JSON: indented in `--json`, on one line in `--jsonl`."""
        indent = None if self.form is Form.JSONL else 2
        self.line(json.dumps(plain(record), ensure_ascii=False, indent=indent))

    def cells(self, cells: Sequence[str]) -> None:
        """Write a line for programs: what stands in it is divided by tabs."""
        self.line("\t".join(" ".join(visible(cell).split()) for cell in cells))

    def fields(self, record: Record, shown: Sequence[tuple[str, str]]) -> None:
        """Write one thing: its record as a document, or some lines with a name and a text each."""
        if self.form is not Form.TEXT:
            self.document(record)
            return
        shown = [(name, visible(text)) for name, text in shown if text]
        width = max((len(name) for name, _ in shown), default=0)
        for name, text in shown:
            first, *others = text.splitlines() or [""]
            self.line(f"{name:<{width}}{GAP}{first}")
            for other in others:
                self.line(f"{'':<{width}}{GAP}{other}")

    async def records(
        self,
        name: str,
        records: AsyncIterable[Record],
        columns: Sequence[str],
        cells: Callable[[Any], Sequence[str]],
    ) -> int:
        """Write many things as they come, and return how many there were.

        Args:
            name: What they are called in a document: `{name: [...]}`.
            records: They.
            columns: The columns of a table on a terminal.
            cells: What stands in them.
        """
        count = 0
        rows: list[Sequence[str]] = []
        head = f'{{"{name}": ['  # behind the first record, since a wrong filter is found with that
        async for record in records:
            if self.form is Form.JSON:
                before = "," if count else head
                self._out.write(f"{before}\n  {json.dumps(plain(record), ensure_ascii=False)}")
            elif self.form is Form.JSONL:
                self.document(record)
            elif not self.terminal:
                self.cells(cells(record))
            else:
                rows.append(cells(record))
                if len(rows) == CHUNK:
                    self._table(columns if count < CHUNK else None, rows)
                    rows = []
            count += 1
        if self.form is Form.JSON:
            self.line("\n]}" if count else f"{head}]}}")
        elif rows:
            self._table(columns if count <= CHUNK else None, rows)
        return count

    def _table(self, columns: Sequence[str] | None, rows: Sequence[Sequence[str]]) -> None:
        """Write rows under each other. Nothing is wrapped or cut: what is copied from a terminal is to be whole."""
        head = [] if columns is None else [[one.upper() for one in columns]]
        shown = head + [[visible(cell) for cell in row] for row in rows]
        widths = [max(len(row[at]) for row in shown) for at in range(len(shown[0]))]
        for row in shown:
            line = GAP.join(
                self.styled(cell, _STYLES.get(cell), width) for cell, width in zip(row, widths, strict=True)
            )
            self.line(line.rstrip())

    def styled(self, text: str, style: str | None, width: int = 0) -> str:
        """Return text for a terminal, coloured if it has a style and colours are wanted."""
        padded = f"{text:<{width}}"
        if not text or style is None or not self._colour or not self.terminal:
            return padded
        number = {"dim": 2, "bold": 1, "red": 31, "green": 32, "yellow": 33, "magenta": 35, "cyan": 36}[style]
        return f"\x1b[{number}m{text}\x1b[0m{padded[len(text) :]}"

    def when(self, instant: datetime | None) -> str:
        """Return an instant: how long ago for a person, else in ISO 8601."""
        if instant is None:
            return ""
        if not self.terminal:
            return iso(instant)
        seconds = (datetime.now(UTC) - instant).total_seconds()
        return f"{lasted(seconds)} ago" if seconds >= 0 else f"in {lasted(-seconds)}"

    # ------------------------------------------------------------------ long work

    def progress(self, what: str) -> Progress:
        """Return what shows how far something long is."""
        return Progress(self, what)


class Progress:
    """How far something is: a bar on a terminal (with the extra `cli`), else a line now and then."""

    def __init__(self, out: Output, what: str) -> None:
        self._out = out
        self._what = what
        self._begun = self._told = time.monotonic()
        self._bar: Any = None
        if out.form is Form.TEXT and out._err.isatty() and find_spec("rich"):
            rich: Any = import_module("rich.progress")
            console: Any = import_module("rich.console").Console(file=out._err)
            self._bar = rich.Progress(*rich.Progress.get_default_columns(), console=console)
            self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def batch(self, progress: BatchProgress) -> None:
        """Show how far a batch is."""
        self.at(progress.done + progress.skipped + progress.failed, progress.total)

    def at(self, done: int, total: int | None) -> None:
        """Show that so many of so many are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
            return
        now = time.monotonic()
        if self._out.form is Form.TEXT and now - self._told >= EVERY:
            self._told = now
            rate = done / (now - self._begun)
            left = f", {lasted((total - done) / rate)} left" if total is not None and rate else ""
            self._out.note(f"{self._what}: {done} of {'?' if total is None else total}, {rate:.0f}/s{left}")


def visible(text: str) -> str:
    """Return text without what would do something to a terminal: it may come from anybody."""
    return _CONTROL.sub("?", text)


def iso(instant: datetime) -> str:
    """Return an instant in ISO 8601, to the millisecond, in UTC."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lasted(seconds: float) -> str:
    """Return a duration for people: two units at most."""
    if seconds < 0.001:
        return "0s"
    if seconds < 1:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 10:
        return f"{seconds:.1f}s".replace(".0s", "s")
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    for size, unit, below, smaller in ((60, "m", 1, "s"), (3600, "h", 60, "m"), (86400, "d", 3600, "h")):
        if whole < size * {"m": 60, "h": 24, "d": 10**9}[unit]:
            rest = whole % size // below
            return f"{whole // size}{unit}" + (f" {rest}{smaller}" if rest else "")
    return f"{whole}s"


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; what it has no form for is shown as Python would."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, Mapping):
        entries: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {str(key): plain(one) for key, one in entries.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items: Sequence[Any] = [*value]  # pyright: ignore[reportUnknownVariableType]
        return [plain(one) for one in items]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value)):
        return value
    return repr(value)
