"""The codec of the encryption example does what an encrypting codec has to do, and what `docs/encryption.md` shows runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from durable import Worker, workflow
from durable.contrib.encryption import ENCODING, PayloadIntegrityError, UnknownKeyError, encrypting, key_id_of
from durable.converter import Payload, WorkflowSerializationContext

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "encryption.py"
ONE, TWO = bytes(32), bytes(range(32))
KEYS = {"acme": {"1": ONE}, "other": {"1": TWO}}
PAYLOADS = [Payload(b'"Ada"'), Payload(b"", "binary/null"), Payload(b"\x00\n\xff", "binary/plain")]


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("encryption_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def codec(kind: Any, workflow_id: str, keys: Any = KEYS) -> Any:
    return kind(keys).with_context(WorkflowSerializationContext("default", workflow_id))


@pytest.mark.temporal("data/encryption")
async def test_payloads_come_back_and_are_never_written_twice_alike(example: Any) -> None:
    mine = codec(example.TenantKeys, "acme-1")
    first, second = await mine.encode(PAYLOADS), await mine.encode(PAYLOADS)
    assert all(payload.encoding == ENCODING for payload in first)
    assert not any(b"Ada" in payload.data for payload in first)
    assert all(one.data != other.data for one, other in zip(first, second, strict=True))
    assert await mine.decode([*first, Payload(b"1")]) == [*PAYLOADS, Payload(b"1")]


async def test_keys_are_rotated_while_old_payloads_stay_readable(example: Any) -> None:
    before = await codec(example.TenantKeys, "acme-1").encode(PAYLOADS)
    rotated = codec(example.TenantKeys, "acme-1", {"acme": {"1": ONE, "2": TWO}})
    after = await rotated.encode(PAYLOADS)
    assert {key_id_of(payload) for payload in after} == {"2"}
    assert await rotated.decode(before + after) == PAYLOADS * 2
    with pytest.raises(UnknownKeyError):
        await codec(example.TenantKeys, "acme-1", {"acme": {"2": TWO}}).decode(before)


async def test_a_payload_of_another_workflow_is_refused(example: Any) -> None:
    stored = await codec(example.TenantKeys, "acme-1").encode(PAYLOADS[:1])
    for reader in ("acme-2", "other-1"):
        with pytest.raises(PayloadIntegrityError, match="moved from another workflow"):
            await codec(example.TenantKeys, reader).decode(stored)


@workflow.defn(name="doc.enc.greet")
async def greet(name: str) -> str:
    return f"hello {name}"


async def test_what_the_page_shows_runs(store_url: str) -> None:
    page = DOCS / "encryption.md"
    names: dict[str, Any] = {"__name__": "shown"}
    for text in re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        exec(compile(text, str(page), "exec"), names)
    async with await names["connect"](store_url) as client:
        converter = client.data_converter
        assert (
            converter.failure_converter_class is encrypting(converter.payload_codec).failure_converter_class
        )
        async with Worker(client, workflows=[greet], activities=[]):
            assert await client.execute_workflow(greet("Ada")) == "hello Ada"
    shown = codec(names["TenantKeys"], "acme-1")
    assert await shown.decode(await shown.encode(PAYLOADS)) == PAYLOADS
