"""Nothing readable in the database: a payload codec that compresses and encrypts, with a key for each tenant.

The cipher below is a toy, made of what Python brings along, so that this file runs anywhere: use AES-GCM of the
`cryptography` package in its place, and keep the rest. Message texts of failures are hidden by the failure converter.
"""

import asyncio
import hashlib
import hmac
import os
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from durable import Client, Worker, activity, workflow
from durable.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    Payload,
    PayloadCodec,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.store import beneath

ENCODING = "binary/encrypted"
LARGEST = 16 * 1024 * 1024  # what one payload may be unpacked to


def keystream(key: bytes, nonce: bytes, size: int) -> bytes:
    blocks = (hashlib.blake2b(nonce + i.to_bytes(8), key=key).digest() for i in range(size // 64 + 1))
    return b"".join(blocks)[:size]


def seal(key: bytes, data: bytes, whose: bytes) -> bytes:
    nonce = os.urandom(16)
    hidden = bytes(a ^ b for a, b in zip(data, keystream(key, nonce, len(data)), strict=True))
    return nonce + hmac.digest(key, whose + nonce + hidden, "sha256") + hidden


def unseal(key: bytes, data: bytes, whose: bytes) -> bytes:
    nonce, tag, hidden = data[:16], data[16:48], data[48:]
    if not hmac.compare_digest(tag, hmac.digest(key, whose + nonce + hidden, "sha256")):
        raise ValueError("the payload was changed, or belongs to another workflow")
    return bytes(a ^ b for a, b in zip(hidden, keystream(key, nonce, len(hidden)), strict=True))


class EncryptionCodec(PayloadCodec, WithSerializationContext):
    """Encrypts each payload with the newest key of its tenant, and reads what any of its keys wrote."""

    def __init__(self, keys: dict[str, dict[str, bytes]], workflow_id: str = "") -> None:
        self.keys = keys
        self.workflow_id = workflow_id

    def with_context(self, context: SerializationContext) -> "EncryptionCodec":
        assert isinstance(context, WorkflowSerializationContext)
        return EncryptionCodec(self.keys, context.workflow_id)

    async def key(self, key_id: str | None = None) -> tuple[str, bytes]:
        tenant, _, _ = self.workflow_id.partition("-")
        await asyncio.sleep(0)  # a key service is asked here; while it is away, the tenant's runs wait
        keys = self.keys[tenant]
        key_id = key_id or max(keys)
        return key_id, keys[key_id]

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        key_id, key = await self.key()
        metadata = {"key": key_id.encode()}
        return [
            Payload(seal(key, zlib.compress(pack(payload)), self.workflow_id.encode()), ENCODING, metadata)
            for payload in payloads
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        decoded: list[Payload] = []
        for payload in payloads:
            if payload.encoding == ENCODING:  # what was stored before there was a codec stays as it is
                _, key = await self.key(payload.metadata["key"].decode())
                packed = unseal(key, payload.data, self.workflow_id.encode())
                payload = unpack(decompress(packed))
            decoded.append(payload)
        return decoded


def decompress(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    plain = stream.decompress(data, LARGEST)
    if not stream.eof:
        raise ValueError(f"the payload is cut off, or unpacks to more than {LARGEST} bytes")
    return plain


def pack(payload: Payload) -> bytes:
    return (
        payload.encoding.encode() + b"\n" + payload.data
    )  # a converter that sets metadata needs it here, too


def unpack(data: bytes) -> Payload:
    encoding, _, rest = data.partition(b"\n")
    return Payload(rest, encoding.decode())


@dataclass
class Patient:
    name: str
    born: int


@activity.defn
async def admit(patient: Patient) -> str:
    return f"{patient.name} is in room {patient.born % 100}"


@workflow.defn
async def admission(patient: Patient) -> str:
    return await admit(patient)


async def main(url: str) -> None:
    keys = {"acme": {"2026-01": b"old key of acme", "2026-06": b"new key of acme"}}
    converter = DataConverter(
        payload_codec=EncryptionCodec(keys),
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    async with Client.connect(url, data_converter=converter) as client, Worker(client):
        handle = await client.start_workflow(admission(Patient("Ada", 1815)), id="acme-1")
        print(await handle.result())
        stored = await beneath(client.store).read_events(handle.result_run_id or "")
        print("readable in the database:", any(b"Ada" in event.data for event in stored))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
