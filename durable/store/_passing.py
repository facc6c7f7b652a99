"""How records pass a codec: all payloads of one workflow in one call; see `_encoded`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from durable._engine.records import AttemptOutcome, Message, Transition
from durable.converter import (
    PayloadCodec,
    WithPayloadFields,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.converter._codec import encoded
from durable.converter._context import in_context
from durable.exceptions import HistoryError, PayloadCodecError
from durable.history import Payload, decode_data
from durable.store._parcel import Parcel, Whose
from durable.store._protocol import Store

R = TypeVar("R")
Turn = Callable[[PayloadCodec, Sequence[Payload], str], Awaitable[list[Payload]]]

_MAX_KNOWN = 100_000
"""Runs of which the workflow is remembered, for codecs that want to know; the log tells about the others."""


class Passing:
    """A database, and the codec in front of it."""

    def __init__(self, stored: Store, codec: PayloadCodec, namespace: str) -> None:
        self.stored = stored
        self.url = stored.url
        self.transaction_types = stored.transaction_types
        self._codec = codec
        self._namespace = namespace
        self._takes_context = isinstance(codec, WithSerializationContext)
        self._workflows: dict[str, str] = {}

    async def encode_transition(self, transition: Transition) -> Transition:
        """Return a transition as it is to be written, by `stored.commit`, as often as that takes.

        Raises:
            PayloadCodecError: The codec failed.
        """
        return await self._pass(encoded, Parcel.transition, transition)

    async def encode_outcome(self, outcome: AttemptOutcome) -> AttemptOutcome:
        """Return the end of an attempt as it is to be written.

        Raises:
            PayloadCodecError: The codec failed.
        """
        return await self._pass(encoded, Parcel.outcome, outcome)

    async def encode_message(self, message: Message) -> Message:
        """Return a message as it is to be written.

        Raises:
            PayloadCodecError: The codec failed.
        """
        return await self._pass(encoded, Parcel.message, message)

    async def _pass(self, turn: Turn, walk: Callable[[Parcel, R], R], record: R) -> R:
        """Return a record with its payloads turned, all of one workflow in one call.

        Raises:
            PayloadCodecError: The codec failed.
        """
        parcel = Parcel()
        as_it_is = walk(parcel, record)
        contents = parcel.contents
        if not contents:
            return as_it_is
        made: list[list[Payload]] = []
        calls = [self._turn(turn, *entry, parcel.fields[entry[0]]) for entry in contents.items()]
        if len(calls) == 1:
            made = [await calls[0]]
        else:
            for answer in await asyncio.gather(*calls, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer
                made.append(answer)
        parcel.refill(dict(zip(contents, made, strict=True)))
        return walk(parcel, record)

    async def _turn(
        self, turn: Turn, whose: Whose, payloads: Sequence[Payload], fields: Sequence[str]
    ) -> list[Payload]:
        codec = self._codec
        if self._takes_context:
            workflow_id = whose.workflow_id or await self._workflow_of(whose.run_id)
            codec = in_context(codec, WorkflowSerializationContext(self._namespace, workflow_id))
        if isinstance(codec, WithPayloadFields):
            codec = codec.with_fields(fields)
        name = f"workflow {whose.workflow_id}" if whose.workflow_id else f"run {whose.run_id}"
        return await turn(codec, payloads, name)

    async def _each(
        self, turn: Turn, walk: Callable[[Parcel, R], R], records: Iterable[R]
    ) -> list[R | PayloadCodecError]:
        """Return each record with its payloads turned, all at the same time, or why the codec failed with it."""
        found: list[R | PayloadCodecError] = []
        calls = [self._pass(turn, walk, record) for record in records]
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, PayloadCodecError):
                raise answer
            found.append(answer)
        return found

    async def _all(self, turn: Turn, walk: Callable[[Parcel, R], R], records: Iterable[R]) -> list[R]:
        """Return each record with its payloads turned.

        Raises:
            PayloadCodecError: The codec failed with one of them.
        """
        made: list[R] = []
        for answer in await self._each(turn, walk, records):
            if isinstance(answer, PayloadCodecError):
                raise answer
            made.append(answer)
        return made

    # ---------------------------------------------------------------- whose runs are

    def _learn(self, run_id: str, workflow_id: str) -> None:
        if self._takes_context:
            if len(self._workflows) >= _MAX_KNOWN:
                self._workflows.clear()
            self._workflows[run_id] = workflow_id

    async def _workflow_of(self, run_id: str) -> str:
        """The id of the workflow that a run is of; empty for a run that does not exist."""
        known = self._workflows.get(run_id)
        if known is None:
            known = ""
            for row in await self.stored.read_events(run_id, 0, 1):
                with contextlib.suppress(HistoryError):  # whoever decodes the log says so
                    known = getattr(decode_data(row.type, row.data), "workflow_id", "")
                self._learn(run_id, known)
        return known
