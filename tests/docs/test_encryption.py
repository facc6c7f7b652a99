"""The codec of the encryption example does what an encrypting codec has to do."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path
from typing import Any

import pytest

from durable.converter import Payload, WorkflowSerializationContext

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "encryption.py"
KEYS = {"acme": {"1": b"one"}, "other": {"1": b"another"}}
PAYLOADS = [Payload(b'"Ada"'), Payload(b"", "binary/null"), Payload(b"\x00\n\xff", "binary/plain")]


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("encryption_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def codec(example: Any, workflow_id: str, keys: Any = KEYS) -> Any:
    return example.EncryptionCodec(keys).with_context(WorkflowSerializationContext("default", workflow_id))


@pytest.mark.temporal("data/encryption")
async def test_payloads_come_back_and_are_never_written_twice_alike(example: Any) -> None:
    mine = codec(example, "acme-1")
    first, second = await mine.encode(PAYLOADS), await mine.encode(PAYLOADS)
    assert all(payload.encoding == "binary/encrypted" for payload in first)
    assert not any(b"Ada" in payload.data for payload in first)
    assert all(one.data != other.data for one, other in zip(first, second, strict=True))
    assert await mine.decode([*first, Payload(b"1")]) == [*PAYLOADS, Payload(b"1")]


async def test_keys_are_rotated_while_old_payloads_stay_readable(example: Any) -> None:
    before = await codec(example, "acme-1").encode(PAYLOADS)
    rotated = codec(example, "acme-1", {"acme": {"1": b"one", "2": b"two"}})
    after = await rotated.encode(PAYLOADS)
    assert {payload.metadata["key"] for payload in after} == {b"2"}
    assert await rotated.decode(before + after) == PAYLOADS * 2
    with pytest.raises(KeyError):
        await codec(example, "acme-1", {"acme": {"2": b"two"}}).decode(before)


async def test_a_payload_of_another_workflow_or_a_changed_one_is_refused(example: Any) -> None:
    stored = await codec(example, "acme-1").encode(PAYLOADS[:1])
    for reader in ("acme-2", "other-1"):
        with pytest.raises(ValueError, match="belongs to another workflow"):
            await codec(example, reader).decode(stored)
    for position in range(0, len(stored[0].data), 7):
        data = bytearray(stored[0].data)
        data[position] ^= 1
        with pytest.raises(ValueError, match="was changed"):
            await codec(example, "acme-1").decode(
                [Payload(bytes(data), stored[0].encoding, stored[0].metadata)]
            )


def test_what_unpacks_to_too_much_is_refused(example: Any) -> None:
    assert example.decompress(zlib.compress(b"x" * 1000)) == b"x" * 1000
    for data in (zlib.compress(bytes(example.LARGEST + 1)), zlib.compress(b"x")[:-1]):
        with pytest.raises(ValueError, match="cut off, or unpacks to more"):
            example.decompress(data)
