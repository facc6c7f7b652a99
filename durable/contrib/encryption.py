"""Encryption of everything that a program stores, with AES-256-GCM-SIV. Needs the extra `crypto`: `pip install durable[crypto]`.

    codec = EncryptionCodec({"2026-06": key, "2026-01": old_key}, newest="2026-06")
    client = Client.connect(url, data_converter=encrypting(codec))

What is stored in the place of a payload, whose encoding is then `binary/encrypted`:

    magic  version  algorithm  length of key id  key id  nonce         ciphertext and tag
    DRBL   1        1 or 2     1 byte            UTF-8   12 or 28 bytes

Everything before the ciphertext is authenticated with it, and so are the namespace, the workflow id and the field that the
payload belongs to: a ciphertext that is moved to another workflow, or to another kind of place, cannot be decoded.

Algorithm 1 is AES-256-GCM-SIV (RFC 8452). Many processes share a key and no counter, so nonces are random; with GCM-SIV one that
comes twice tells no more than that two payloads are equal. Algorithm 2 is AES-256-GCM under a key of its own for each payload, by
HKDF-SHA256 from the key and 16 random bytes, for a `cryptography` whose OpenSSL is older than 3.2. Either reads both.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import msgspec
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from durable._internal.shown import shown
from durable.client import Client
from durable.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    SerializationContext,
    WithPayloadFields,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.history import Payload
from durable.store import beneath
from durable.store._parcel import payloads_of

__all__ = [
    "ENCODING",
    "EncryptionCodec",
    "KeysInUse",
    "PayloadIntegrityError",
    "UnknownKeyError",
    "encrypting",
    "key_id_of",
    "keys_in_use",
]

ENCODING = "binary/encrypted"
"""The encoding of what an `EncryptionCodec` makes."""

_MAGIC = b"DRBL\x01"
_GCM_SIV, _GCM_HKDF = 1, 2
_NONCE_SIZES = {_GCM_SIV: 12, _GCM_HKDF: 28}
_KEY_SIZE = 32
_MAX_KEY_ID = 64
"""Bytes of a key's id: it stands beside each payload."""

_PAGE = 100
"""Schedules that are read at once."""


class PayloadIntegrityError(ValueError):
    """What is stored is not what was encoded: it was changed, cut, or moved from another workflow or another field."""


class UnknownKeyError(LookupError):
    """A payload was encrypted with a key that this codec does not have. Give it that key again.

    Attributes:
        key_id: The id of that key.
    """

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id!r}; workflows that need it wait until there is")
        self.key_id = key_id


class EncryptionCodec(PayloadCodec, WithSerializationContext, WithPayloadFields):
    """Encrypts each payload with the newest key, and reads what any of its keys wrote.

    While a key is missing, workflows that need it wait, visibly, and none fails. A subclass that keeps its keys elsewhere
    overrides `key` and `newest_key`; `context` says for which workflow.

    Args:
        keys: Keys of 32 bytes each, see `new_key`, by ids of up to 64 bytes, which stand readable beside what they encrypt.
        newest: The id of the one that encrypts; may be left out if there is one key only.
        reads_plaintext: Whether payloads that are not encrypted are taken, as a database has them from before there was
            a codec. Without these say False: then whoever can write the database cannot pass off a value as yours.

    Raises:
        ValueError: A key or an id is none, or `newest` is no id of a key.
    """

    def __init__(
        self, keys: Mapping[str, bytes], *, newest: str | None = None, reads_plaintext: bool = True
    ) -> None:
        self._keys = {_checked_id(key_id): _checked_key(key_id, key) for key_id, key in keys.items()}
        if newest is None and len(self._keys) == 1:
            (newest,) = self._keys
        if self._keys and newest not in self._keys:
            raise ValueError(
                f"newest must be the id of the key that encrypts, one of {sorted(self._keys)}, not {shown(newest)}"
            )
        self._newest = newest or ""
        self._algorithm = _GCM_SIV if _has_gcm_siv() else _GCM_HKDF
        self._reads_plaintext = reads_plaintext
        self._fields: Sequence[str] | None = None
        self.context: WorkflowSerializationContext | None = None

    @staticmethod
    def new_key() -> bytes:
        """Return a new random key. Keep it where nobody finds it who can read the database."""
        return os.urandom(_KEY_SIZE)

    async def newest_key(self) -> str:
        """Return the id of the key that encrypts."""
        return self._newest

    async def key(self, key_id: str) -> bytes:
        """Return a key of 32 bytes.

        Raises:
            UnknownKeyError: There is none of that id.
        """
        try:
            return self._keys[key_id]
        except KeyError:
            raise UnknownKeyError(key_id) from None

    def with_context(self, context: SerializationContext) -> Self:
        """Return one for the payloads of a workflow."""
        if not isinstance(context, WorkflowSerializationContext):
            raise TypeError(f"a codec is told whose workflow a payload is, not a {type(context).__name__}")
        made = copy(self)
        made.context = context
        return made

    def with_fields(self, fields: Sequence[str]) -> Self:
        """Return one for payloads in these fields."""
        made = copy(self)
        made._fields = fields
        return made

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return each payload encrypted with the newest key."""
        key_id = await self.newest_key()
        key = _checked_key(key_id, await self.key(key_id))
        named = _checked_id(key_id).encode()
        head = _MAGIC + bytes((self._algorithm, len(named))) + named
        return [
            Payload(_seal(key, head, self._whose(field), _packed(payload)), ENCODING)
            for payload, field in zip(payloads, self._fields_of(payloads), strict=True)
        ]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Return what each payload was before.

        Raises:
            PayloadIntegrityError: One of them is not what was encoded for this workflow and this field.
            UnknownKeyError: One was encrypted with a key that there is not.
        """
        return [
            await self._decoded(payload, field)
            for payload, field in zip(payloads, self._fields_of(payloads), strict=True)
        ]

    async def _decoded(self, payload: Payload, field: str) -> Payload:
        if payload.encoding != ENCODING:
            if self._reads_plaintext:
                return payload
            raise PayloadIntegrityError(
                f"a payload is not encrypted (its encoding is {shown(payload.encoding)}); a codec with reads_plaintext=True takes it"
            )
        key_id, head, rest = _opened(payload.data)
        key = _checked_key(key_id, await self.key(key_id))
        return _unpacked(_unseal(key, head, self._whose(field), rest))

    def _fields_of(self, payloads: Sequence[Payload]) -> Sequence[str]:
        return [""] * len(payloads) if self._fields is None else self._fields

    def _whose(self, field: str) -> bytes:
        """What a ciphertext is bound to, as bytes that are the same for nothing else."""
        if self.context is None:
            raise ValueError(
                "a payload is encrypted for its workflow; outside of a client say which: "
                "converter.with_context(WorkflowSerializationContext(namespace, workflow_id))"
            )
        parts = (self.context.namespace, self.context.workflow_id, field)
        return b"".join(len(part).to_bytes(4) + part for part in (text.encode() for text in parts))


def encrypting(codec: EncryptionCodec) -> DataConverter:
    """Return a data converter with this codec, whose failures keep their texts and stack traces from readers, too."""
    return DataConverter(
        payload_codec=codec, failure_converter_class=DefaultFailureConverterWithEncodedAttributes
    )


def key_id_of(payload: Payload) -> str | None:
    """Return the id of the key that a stored payload was encrypted with; None if it is not encrypted.

    Raises:
        PayloadIntegrityError: It says that it is encrypted, and is not.
    """
    return None if payload.encoding != ENCODING else _opened(payload.data)[0]


@dataclass(frozen=True)
class KeysInUse:
    """The keys that something stored is encrypted with.

    Attributes:
        kind: "workflow" or "schedule".
        id: Its id.
        run_id: Of a workflow, which run; else None.
        open: Whether it is open; schedules are.
        start_time: Of a workflow, when it was started; else None.
        keys: The ids of the keys, None among them if a payload is not encrypted.
    """

    kind: str
    id: str
    run_id: str | None
    open: bool
    start_time: datetime | None
    keys: frozenset[str | None]


async def keys_in_use(client: Client, query: str = "") -> AsyncIterator[KeysInUse]:
    """Tell of each run and each schedule with which keys it is encrypted, as it is stored; needs none of the keys.

    Args:
        client: Of the database, with whatever data converter.
        query: A list filter: only these runs, and no schedules. All of both by default.

    Raises:
        FilterError: It is no filter.
        PayloadIntegrityError: A payload says that it is encrypted, and is not.
        StoreUnavailableError: The database is away.
    """
    store = beneath(client.store)
    async for run in client.list_workflows(query or None):
        rows = await store.read_events(run.run_id)
        messages = await store.read_messages([run.run_id])
        activities = await store.read_activities(run.run_id)
        found = payloads_of(rows, messages, activities)
        yield KeysInUse("workflow", run.id, run.run_id, run.close_time is None, run.start_time, _keys(found))
    after = ""
    while not query and (schedules := await store.list_schedules(after, _PAGE)):
        for row in schedules:
            yield KeysInUse(
                "schedule", row.schedule_id, None, True, None, _keys(payloads_of(schedules=[row]))
            )
        after = schedules[-1].schedule_id


def _keys(payloads: Iterable[Payload]) -> frozenset[str | None]:
    return frozenset(key_id_of(payload) for payload in payloads)


def _has_gcm_siv() -> bool:
    try:
        AESGCMSIV(bytes(_KEY_SIZE))
    except UnsupportedAlgorithm:
        return False
    return True


def _checked_id(key_id: str) -> str:
    if not isinstance(key_id, str) or not 0 < len(key_id.encode()) <= _MAX_KEY_ID:
        raise ValueError(f"the id of a key must be a text of 1 to {_MAX_KEY_ID} bytes, not {shown(key_id)}")
    return key_id


def _checked_key(key_id: str, key: bytes) -> bytes:
    # Its bytes are told to nobody.
    if not isinstance(key, bytes) or len(key) != _KEY_SIZE:
        size = f"{len(key)} bytes" if isinstance(key, bytes) else f"a {type(key).__name__}"
        raise ValueError(
            f"the key {key_id!r} must be {_KEY_SIZE} random bytes, not {size}; EncryptionCodec.new_key() makes one"
        )
    return key


def _packed(payload: Payload) -> bytes:
    return msgspec.msgpack.encode((payload.encoding, payload.metadata, payload.data))


def _unpacked(data: bytes) -> Payload:
    encoding, metadata, content = msgspec.msgpack.decode(data, type=tuple[str, dict[str, bytes], bytes])
    return Payload(content, encoding, metadata)


def _opened(data: bytes) -> tuple[str, bytes, bytes]:
    """The id of the key, the head up to the nonce, and the rest."""
    start = len(_MAGIC) + 2
    if not data.startswith(_MAGIC) or len(data) < start or data[start - 2] not in _NONCE_SIZES:
        raise PayloadIntegrityError(
            "a payload says that it is encrypted, and does not begin as this release writes"
        )
    end = start + data[start - 1]
    try:
        return data[start:end].decode(), data[:end], data[end:]
    except UnicodeDecodeError:
        raise PayloadIntegrityError("the id of a payload's key is no text") from None


def _seal(key: bytes, head: bytes, whose: bytes, data: bytes) -> bytes:
    nonce = os.urandom(_NONCE_SIZES[head[len(_MAGIC)]])
    cipher, used = _cipher(key, head, nonce)
    return head + nonce + cipher.encrypt(used, data, head + whose)


def _unseal(key: bytes, head: bytes, whose: bytes, rest: bytes) -> bytes:
    size = _NONCE_SIZES[head[len(_MAGIC)]]
    cipher, used = _cipher(key, head, rest[:size])
    try:
        return cipher.decrypt(used, rest[size:], head + whose)
    except (InvalidTag, ValueError):
        raise PayloadIntegrityError(
            "the payload was changed, or moved from another workflow or field, or its key is another one than it was"
        ) from None


def _cipher(key: bytes, head: bytes, nonce: bytes) -> tuple[AESGCM | AESGCMSIV, bytes]:
    if head[len(_MAGIC)] == _GCM_SIV:
        return AESGCMSIV(key), nonce
    salt, used = nonce[:16], nonce[16:]
    own = HKDF(hashes.SHA256(), _KEY_SIZE, salt, b"durable payload").derive(key)
    return AESGCM(own), used
