"""Codecs for tests: they hide bytes, not well."""

from __future__ import annotations

import os
from collections.abc import Sequence

from durable.converter import Payload, PayloadCodec


class Nonces(PayloadCodec):
    """Reverses bytes and adds a number, another one each time unless `fixed`; leaves alone what it did not write."""

    def __init__(self, *, fixed: bool = False) -> None:
        self.count = 0
        self.fixed = fixed

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        made = []
        for payload in payloads:
            self.count += not self.fixed
            nonce = f"{0 if self.fixed else os.getpid()}-{self.count}"
            metadata = {"nonce": nonce.encode(), "was": payload.encoding.encode()}
            kept = {f"+{key}": value for key, value in payload.metadata.items()}
            made.append(Payload(b"*" + payload.data[::-1], "binary/nonces", {**metadata, **kept}))
        return made

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [
            payload
            if payload.encoding != "binary/nonces"
            else Payload(
                payload.data[1:][::-1],
                payload.metadata["was"].decode(),
                {key[1:]: value for key, value in payload.metadata.items() if key.startswith("+")},
            )
            for payload in payloads
        ]
