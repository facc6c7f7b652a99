"""How long closed workflows are kept, and the removal of those that have been kept for long enough.

What holds is in the database, so that it is the same for all workers, whatever code they have. Whichever worker finds that the
turn is free takes it, removes a batch, and gives it back: one at a time, at a rate that leaves the database to others.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from durable._engine.retention import OverdueRun, RetentionRow
from durable._internal.ids import check_name
from durable._internal.instants import SECOND, Duration, to_duration
from durable.client._connection import Connection
from durable.history import Event, decode_history, export_history
from durable.store import Store

BATCH = 100
"""Runs that are removed in one transaction, at most."""

EVENTS = 5000
"""Events that are removed in one transaction, at most: some ten milliseconds. A longer history goes in several."""

HOLD = 60 * SECOND
"""Microseconds that a worker has for one batch, the export included; then another one takes the turn."""

Archive: TypeAlias = Callable[[Sequence[str]], Awaitable[None]]
"""Keeps what is removed: called with runs, a line of JSON each. When it returns they are gone from the database, or will be
passed to it again."""


class Retention(NamedTuple):
    """How long the closed workflows of a type are kept.

    Attributes:
        workflow_type: The type; None for all that have no setting of their own.
        keep: How long, from when a run closed; None for ever.
        export: Whether they are removed only by who exports them before.
    """

    workflow_type: str | None
    keep: timedelta | None
    export: bool


class ClientRetention:
    """The part of a client that is about how long closed workflows are kept; see `Client`."""

    _connection: Connection

    async def set_retention(
        self, keep: Duration | None, *, workflow_type: str | None = None, export: bool = False
    ) -> None:
        """Let workers remove closed workflows that have been closed for so long, with all their rows.

        It holds for the whole namespace at once, for what has closed before, too, until it is set otherwise. See
        `docs/operations/retention.md` for what goes and what stays.

        Args:
            keep: How long a run is kept, from when it closed; None for ever.
            workflow_type: For which type; for all that have no setting of their own when None.
            export: Whether they are to be exported before: only workers with an `archive`, and `durable gc --export`, remove
                them then.

        Raises:
            TypeError: A value is of a wrong type.
            ValueError: The time is negative, or the type cannot be one.
            StoreUnavailableError: The database is away; it may or may not have been set.
        """
        name = _type(workflow_type)
        kept = None if keep is None else to_duration(keep, "keep")
        if not isinstance(export, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"export must be a bool, not {type(export).__name__}")
        store = self._connection.store
        await self._connection.patiently(lambda: store.set_retention(RetentionRow(name, kept, export)))

    async def clear_retention(self, *, workflow_type: str | None = None) -> None:
        """Take back what was set for a type, which then is kept as all others are; or for all others, kept for ever then.

        Raises:
            TypeError: The type is not a string.
            ValueError: It cannot be one.
            StoreUnavailableError: The database is away; it may or may not have been taken back.
        """
        name = _type(workflow_type)
        store = self._connection.store
        await self._connection.patiently(lambda: store.clear_retention(name))

    async def retention(self) -> list[Retention]:
        """Return what is set; the one for all other types is the first.

        Raises:
            StoreUnavailableError: The database is away.
        """
        store = self._connection.store
        return [
            Retention(
                row.workflow_type or None,
                None if row.keep is None else timedelta(microseconds=row.keep),
                row.export,
            )
            for row in await self._connection.patiently(store.read_retention)
        ]


def _type(workflow_type: str | None) -> str:
    return "" if workflow_type is None else check_name(workflow_type, "workflow_type")


class Sweeper:
    """Removes what has been kept for long enough, batch by batch."""

    def __init__(self, store: Store, namespace: str, archive: Archive | None) -> None:
        self._store = store
        self._namespace = namespace
        self._archive = archive

    async def sweep(self, pause: float) -> int | None:
        """Remove a batch, and keep everybody from the next one for `pause` seconds.

        Returns:
            How many runs were removed, or -1 if only a rest of a long history was; None when there is nothing to do, or it is
            somebody else's turn.

        Raises:
            Exception: As the archive; nothing was removed then.
            StoreUnavailableError: The database is away; the batch may or may not be gone.
        """
        found = await self._store.take_retention_turn(BATCH, exports=self._archive is not None, hold=HOLD)
        if found is None:
            return None
        runs = at_once(found)
        try:
            if runs and self._archive is not None:
                await self._archive([await self.line(run) for run in runs])
        except BaseException:
            await self._store.retire([], events=1, pause=0)
            raise
        rest = await self._store.retire(
            [run.run_id for run in runs], events=EVENTS, pause=round(pause * SECOND)
        )
        return len(runs) or (-1 if rest else None)

    async def line(self, run: OverdueRun) -> str:
        """Return a run as a line of JSON: its history as `durable workflow export` writes it."""
        events: list[Event] = decode_history(await self._store.read_events(run.run_id))
        record = export_history(run.workflow_id, run.run_id, self._namespace, events)
        return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def at_once(found: Sequence[OverdueRun]) -> list[OverdueRun]:
    """Return the first of these whose histories make one transaction; one at least."""
    taken: list[OverdueRun] = []
    events = 0
    for run in found:
        events += min(run.length, EVENTS)
        if taken and events > EVENTS:
            break
        taken.append(run)
    return taken
