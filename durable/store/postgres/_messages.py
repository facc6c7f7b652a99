"""Putting messages into inboxes, and reading them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from durable._engine.records import Message, SendOutcome, UpdateOutcome, UpdateStage
from durable.store.postgres import _rows
from durable.store.postgres._part import Part
from durable.store.postgres._pool import Pool

_SWEPT = 1000  # inbox rows looked at by one step of the sweep: well below a millisecond's work
_START = (str(uuid.UUID(int=0)), 0)


class Messages(Part):
    """The port's methods about messages."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._swept_to = _START

    async def send(self, messages: Sequence[Message]) -> list[SendOutcome]:
        """Put messages into inboxes of open runs; each stands or falls alone."""
        known = [message for message in messages if _rows.is_run_id(message.run_id)]
        if not known:
            return [SendOutcome.NOT_FOUND] * len(messages)
        ((told,),) = await self._fetch(
            "send",
            [message.run_id for message in known],
            [message.message_id for message in known],
            [message.type for message in known],
            [message.internal for message in known],
            [message.data for message in known],
        )
        outcomes = iter([SendOutcome(outcome) for outcome in told])
        return [
            next(outcomes) if _rows.is_run_id(message.run_id) else SendOutcome.NOT_FOUND
            for message in messages
        ]

    async def read_messages(self, run_ids: Sequence[str]) -> list[Message]:
        """Return all unread messages of these runs, by position."""
        known = [run_id for run_id in run_ids if _rows.is_run_id(run_id)]
        return [_rows.message(row) for row in await self._read("read_messages", known)] if known else []

    async def read_owned_messages(self, worker_id: str, limit: int) -> list[Message]:
        """Return unread messages of runs this worker owns, by position: what hints would have told."""
        return [_rows.message(row) for row in await self._read("read_owned_messages", worker_id, limit)]

    async def find_update(self, run_id: str, message_id: str) -> UpdateOutcome | None:
        """Return how far an update has come: its outcome, ADMITTED while it is unread, None if it is unknown."""
        if not _rows.is_run_id(run_id):
            return None
        rows = await self._read("find_update", run_id, message_id)
        return UpdateOutcome(message_id, UpdateStage(rows[0]["stage"]), rows[0]["data"]) if rows else None

    async def _sweep(self) -> None:
        """Look at the next page of the inbox for messages to runs that have closed, and delete those.

        Where it goes on is only a convenience: behind the last page it begins again, so nothing is passed over for good.
        """
        rows = await self._fetch("sweep_messages", *self._swept_to, _SWEPT)
        self._swept_to = (str(rows[0]["run_id"]), rows[0]["position"]) if rows else _START
