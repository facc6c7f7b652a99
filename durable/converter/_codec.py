"""Codecs: bytes to other bytes on their way to the database, and back. Encryption and compression are codecs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from durable.converter._text import clean, safe_str
from durable.exceptions import PayloadCodecError
from durable.history import JSON_PLAIN, Payload

CODEC_TIMEOUT = 10.0
"""Seconds that one call of a codec may take. A key service that hangs is one that is away."""

_MAX_TEXT = 500
"""Characters of what a codec says about its failure."""


class PayloadCodec(ABC):
    """Changes payloads before they are stored, and back after they were read, outside of workflow code.

    It may await, take its time and fail: whatever it raises holds up the runs it concerns, visibly, until it works
    again, and fails none of them. It is called with many payloads at once, for many runs at the same time.

    It must leave alone what it did not write, which it tells by `Payload.encoding`: a database may hold payloads from
    before it was used. What it makes need not be the same twice; what it was made from must come back to the byte.
    """

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return one encoded payload for each of these, in their order."""

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return one decoded payload for each of these, in their order; those it did not write as they are."""


async def encoded(codec: PayloadCodec, payloads: Sequence[Payload], whose: str) -> list[Payload]:
    """Return what a codec makes of payloads.

    Raises:
        PayloadCodecError: It cannot (now), or answers something that is no answer.
    """
    try:
        async with _limit():
            return _answer(await codec.encode(payloads), payloads)
    except Exception as error:
        raise _failed(codec, "encode", payloads, whose, error) from error


async def decoded(codec: PayloadCodec, payloads: Sequence[Payload], whose: str) -> list[Payload]:
    """Return what a codec had made these payloads from.

    Raises:
        PayloadCodecError: It cannot (now), or answers something that is no answer.
    """
    try:
        async with asyncio.timeout(CODEC_TIMEOUT):
            return _answer(await codec.decode(payloads), payloads)
    except Exception as error:
        raise _failed(codec, "decode", payloads, whose, error) from error


def _limit() -> AbstractAsyncContextManager[object]:
    """The time a codec has, where there is an event loop; a `SyncClient` has none, and lets no codec wait."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return nullcontext()
    return asyncio.timeout(CODEC_TIMEOUT)


def _answer(answer: Sequence[Payload], payloads: Sequence[Payload]) -> list[Payload]:
    if len(answer) != len(payloads):
        raise TypeError(
            f"it answered {len(answer)} payloads for {len(payloads)}; it must answer one for each"
        )
    made: list[Payload] = []
    for payload in answer:
        if not isinstance(payload, Payload):
            raise TypeError(f"it answered a {type(payload).__name__}; it must answer payloads")
        # Where a default is left out it is known by identity, and equal facts shall give equal bytes.
        usual = payload.encoding == JSON_PLAIN and payload.encoding is not JSON_PLAIN
        made.append(Payload(payload.data, JSON_PLAIN, payload.metadata) if usual else payload)
    return made


def _failed(
    codec: PayloadCodec, what: str, payloads: Sequence[Payload], whose: str, error: Exception
) -> PayloadCodecError:
    text = clean(safe_str(error), _MAX_TEXT)
    if isinstance(error, TimeoutError) and not text:
        text = f"no answer within {CODEC_TIMEOUT:g} s"
    return PayloadCodecError(
        f"the payload codec {type(codec).__name__} could not {what} {len(payloads)} payloads of {whose}: "
        f"{type(error).__name__}: {text}"
    )
