"""S5 to S7: what `durable.contrib.encryption` writes, what it is bound to, and what becomes of it when keys change."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from durable.contrib import encryption
from durable.contrib.encryption import (
    ENCODING,
    EncryptionCodec,
    PayloadIntegrityError,
    UnknownKeyError,
    encrypting,
    key_id_of,
)
from durable.converter import ActivitySerializationContext, Payload, WorkflowSerializationContext

ONE, TWO = bytes(range(32)), bytes(range(32, 64))
PAYLOADS = [
    Payload(b'"canary"'),
    Payload(b"", "binary/null"),
    Payload(bytes(range(256)), "binary/plain", {"type": b"\x00\xff"}),
]
OWN = WorkflowSerializationContext("shop", "order-1")
MANY = int(os.environ.get("DURABLE_NONCES", "5000"))
"""How many encryptions are looked at for a nonce that comes twice; the full form is 1,000,000."""


STORED_1 = "4452424c0101026b31f1b171bc00ed0b7f29a38f111c6867b680e9d6836efeb22debc4ed84138188dbb5cbf90ca29b42c01fb70d393153e5c44c0e9e62f05aab3302c76fef437863c9ef2ae6c8a22d4b04007cdf90ff3bbf17ef8d1cdef5fc73afb2c7d1e5bac606c868ae0df6a7fc8fedebd1256e8b0308bc52b76580ca8272db83b5878c11aa69559d1dfc7752961ead3283e7d6c05e4268be63f662ac1ccabd03b81c1af2d0c1debba3bdfba558a2a5484aefa85ae818446f3798adf24cf696d873192b4407b75753e13f63a776c42424b9980eef43a82d1706e090b6f4379ee4ab4685a8d80f09bb40d512c2937d1e7d6bf802c26eae754ef0954331df57590ec7b0f1718e3897f3de28d4dec0d79090a18c41ec5d4ba2b55898604abd1533d4a7948c53d5f500f3a08216b29e99417d4031ca5176a02b4b1c7ee75ca34e"
STORED_2 = "4452424c0102026b31307bf6f6f3ab31a7bd2043ccc2655705a322fb0ff6e1b14f13782f105b3e5800e102b9a8619e63d71956426187fc0e740379263fa4abeb2f363e29768a0ca839c7aab7da5ed5b1fc47f1a17567762b4a776d8c98e781e48e8ee7848af03047b204134a27db11592f8af0a1e9aba597987404e8ff74f527c5d50443fc79ecc9566e871dd8603b85d08fab9a0e388e46a982ff46fa1818c85b33a3a22f6b8301f54611c4b2611950467fdd148690cf11b14b8d37ecbf1c7416f03155f14e041b349a8ca326e5e05a9544a3a322e23f3c0239e498870440e44a06d4b837482073a2bb5cc60ee9c1270153b89c2458b158bbef88aa89485626ae9cda4fc50afb46161b4c63e69ecd28a57f6296c2167f375af2da33b93f77b7b2c17f7af6e28132f830341d5e2d6b5fd1ef0868ae1b1abca4d50f7fbecfd5948883120c9215b925ab9bf6c0e9d184bf"


def codec(
    keys: dict[str, bytes] | None = None,
    fields: Sequence[str] = ("input",) * len(PAYLOADS),
    *,
    context: WorkflowSerializationContext = OWN,
    algorithm: int | None = None,
    **options: object,
) -> EncryptionCodec:
    made = EncryptionCodec({"k1": ONE} if keys is None else keys, **options)  # type: ignore[arg-type]
    if algorithm is not None:
        made._algorithm = algorithm
    return made.with_context(context).with_fields(fields)


def test_s5_the_cipher_is_that_of_rfc_8452() -> None:
    """Appendix C.2, AES-256: the second test with data."""
    key = bytes.fromhex("01" + "00" * 31)
    nonce = bytes.fromhex("03" + "00" * 11)
    plain = bytes.fromhex("0100000000000000")
    assert (
        AESGCMSIV(key).encrypt(nonce, plain, None).hex() == "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"
    )


@pytest.mark.parametrize("algorithm", [1, 2])
async def test_s5_what_is_written_is_pinned(algorithm: int) -> None:
    """Bytes of this release, which every later one has to read."""
    stored = {1: STORED_1, 2: STORED_2}[algorithm]
    payload = Payload(bytes.fromhex(stored), ENCODING)
    assert await codec(fields=["result"]).decode([payload]) == [PAYLOADS[2]]
    assert stored.startswith(b"DRBL\x01".hex() + f"{algorithm:02x}02" + b"k1".hex())
    assert key_id_of(payload) == "k1"
    assert key_id_of(PAYLOADS[0]) is None


@pytest.mark.parametrize("algorithm", [1, 2])
async def test_s5_each_algorithm_reads_the_other(algorithm: int) -> None:
    stored = await codec(algorithm=algorithm).encode(PAYLOADS)
    assert all(b"canary" not in payload.data and payload.encoding == ENCODING for payload in stored)
    assert await codec(algorithm=3 - algorithm).decode(stored) == PAYLOADS


@pytest.mark.parametrize("algorithm", [1, 2])
async def test_s5_no_nonce_comes_twice(algorithm: int) -> None:
    made = codec(fields=["input"] * MANY, algorithm=algorithm)
    stored = await made.encode([PAYLOADS[1]] * MANY)
    size = {1: 12, 2: 28}[algorithm]
    head = len(b"DRBL\x01") + 2 + len("k1")
    assert len({payload.data[head : head + size] for payload in stored}) == MANY


async def test_s5_without_gcm_siv_the_other_algorithm_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(key: bytes) -> None:
        raise encryption.UnsupportedAlgorithm("too old")

    with monkeypatch.context() as patch:
        patch.setattr(encryption, "AESGCMSIV", refuse)
        (stored,) = await codec(fields=["input"]).encode(PAYLOADS[:1])
    assert stored.data[5] == 2
    assert await codec(fields=["input"]).decode([stored]) == PAYLOADS[:1]


@pytest.mark.parametrize(
    "reader",
    [
        codec(context=WorkflowSerializationContext("shop", "order-2")),
        codec(context=WorkflowSerializationContext("bank", "order-1")),
        codec(context=WorkflowSerializationContext("shoporder-1", "")),
        codec(fields=["result"] * 3),
        codec({"k1": TWO}),
    ],
    ids=["workflow", "namespace", "both as one text", "field", "key"],
)
async def test_s6_what_is_moved_is_refused(reader: EncryptionCodec) -> None:
    for payload in await codec().encode(PAYLOADS):
        with pytest.raises(PayloadIntegrityError, match="changed, or moved"):
            await reader.with_fields(reader._fields_of(PAYLOADS)[:1]).decode([payload])


@pytest.mark.parametrize("algorithm", [1, 2])
async def test_s6_no_bit_may_change(algorithm: int) -> None:
    one = codec({"k1": ONE, "k2": ONE}, ["input"], newest="k1", algorithm=algorithm)
    (stored,) = await one.encode(PAYLOADS[:1])
    for position in range(len(stored.data)):
        for bit in (1, 128):
            data = bytearray(stored.data)
            data[position] ^= bit
            with pytest.raises((PayloadIntegrityError, UnknownKeyError)):
                await one.decode([Payload(bytes(data), ENCODING)])
        with pytest.raises((PayloadIntegrityError, UnknownKeyError)):
            await one.decode([Payload(stored.data[:position], ENCODING)])


async def test_s6_text_that_is_not_encrypted_is_taken_only_when_said() -> None:
    assert await codec().decode(PAYLOADS) == PAYLOADS
    with pytest.raises(PayloadIntegrityError, match=r"not encrypted .*'json/plain'.*reads_plaintext=True"):
        await codec(reads_plaintext=False).decode(PAYLOADS)


async def test_s7_the_newest_key_encrypts_and_any_decrypts() -> None:
    before = await codec().encode(PAYLOADS)
    rotated = codec({"k1": ONE, "k2": TWO}, ["input"] * 6, newest="k2")
    after = await rotated.with_fields(["input"] * 3).encode(PAYLOADS)
    assert {key_id_of(payload) for payload in before} == {"k1"}
    assert {key_id_of(payload) for payload in after} == {"k2"}
    assert await rotated.decode(before + after) == PAYLOADS * 2
    with pytest.raises(UnknownKeyError, match="there is no key 'k1'; workflows that need it wait") as caught:
        await codec({"k2": TWO}).decode(before)
    assert caught.value.key_id == "k1"


async def test_s7_keys_may_come_from_elsewhere_for_each_workflow() -> None:
    class Tenants(EncryptionCodec):
        async def newest_key(self) -> str:
            assert self.context is not None
            return self.context.workflow_id.partition("-")[0]

        async def key(self, key_id: str) -> bytes:
            return {"order": ONE, "bill": TWO}[key_id]

    made = Tenants({})
    for name in ("order", "bill"):
        own = made.with_context(WorkflowSerializationContext("shop", f"{name}-1")).with_fields(["input"])
        stored = await own.encode(PAYLOADS[:1])
        assert key_id_of(stored[0]) == name
        assert await own.decode(stored) == PAYLOADS[:1]


async def test_s7_a_key_service_that_answers_nonsense_encrypts_nothing() -> None:
    class Wrong(EncryptionCodec):
        async def newest_key(self) -> str:
            return "k" * 65

        async def key(self, key_id: str) -> bytes:
            return b"canary-key"

    with pytest.raises(ValueError, match="must be 32 random bytes, not 10 bytes") as caught:
        await Wrong({}).with_context(OWN).with_fields(["input"]).encode(PAYLOADS[:1])
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "newest", "said"),
    [
        ({"k": b"short"}, None, "the key 'k' must be 32 random bytes, not 5 bytes; EncryptionCodec.new_key"),
        ({"k": "x" * 32}, None, "not a str"),
        ({"": ONE}, None, "the id of a key must be a text of 1 to 64 bytes, not ''"),
        ({"é" * 33: ONE}, None, "1 to 64 bytes"),
        ({5: ONE}, None, "1 to 64 bytes, not 5"),
        ({"a": ONE, "b": TWO}, None, r"newest must be .* one of \['a', 'b'\], not None"),
        ({"a": ONE}, "c", "not 'c'"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(
    keys: dict[str, bytes], newest: str | None, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        EncryptionCodec(keys, newest=newest)


async def test_it_says_what_it_needs_to_know() -> None:
    bare = EncryptionCodec({"k": EncryptionCodec.new_key()})
    with pytest.raises(ValueError, match="outside of a client say which"):
        await bare.encode(PAYLOADS)
    with pytest.raises(TypeError, match="whose workflow"):
        bare.with_context(ActivitySerializationContext("n", None, None, None, None, None))
    converter = encrypting(bare).with_context(OWN)
    assert await converter.decode(await converter.encode(["x", 1])) == ["x", 1]
