"""Page tokens: opaque, the size of a key, and refused unless they are what this release gave for this filter."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from uuid import UUID

import msgspec
import pytest

from durable.common import SearchAttributeIndexedValueType
from durable.store._filter import FilterError, ListQuery, check_list, decode_token, encode_token, parse

CUSTOM = {
    "Region": SearchAttributeIndexedValueType.KEYWORD,
    "Amount": SearchAttributeIndexedValueType.DOUBLE,
    "Vip": SearchAttributeIndexedValueType.BOOL,
}
RUN = "01890a5d-ac96-774b-bcce-b302099a8057"


def listed(text: str) -> ListQuery:
    return check_list(parse(text), CUSTOM)


ORDERED = listed("Vip = true ORDER BY Region DESC, Amount, ExecutionStatus")


def made(query: ListQuery, *position: object, version: int = 1, fingerprint: str | None = None) -> bytes:
    body = [version, query.fingerprint if fingerprint is None else fingerprint, list(position)]
    return urlsafe_b64encode(msgspec.json.encode(body))


def test_a_token_brings_the_position_back() -> None:
    token = encode_token(ORDERED, ("ä'\"", None, 2, UUID(RUN)))
    assert decode_token(ORDERED, token) == ("ä'\"", None, 2, RUN)
    assert token == made(ORDERED, "ä'\"", None, 2, RUN)
    assert token.isascii()


def test_a_token_is_of_the_filter_not_of_its_spelling() -> None:
    token = encode_token(listed("Region = 'a'"), (1, RUN))
    assert decode_token(listed('`Region`="a"'), token) == (1, RUN)
    for other in ("Region = 'b'", "", "Region = 'a' ORDER BY StartTime DESC"):
        with pytest.raises(FilterError, match="is of another filter; keep the filter"):
            decode_token(listed(other), token)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"x",
        b"{}",
        b"\xff\xfe",
        urlsafe_b64encode(b"{}"),
        urlsafe_b64encode(b"[]"),
        urlsafe_b64encode(b"[1]"),
        urlsafe_b64encode(b"\xff"),
        urlsafe_b64encode(b'[1,"x",[[1]]]'),
        urlsafe_b64encode(b'[1,"x",[{"a":1}]]'),
        urlsafe_b64encode(b'[1,"x",[],1]'),
        urlsafe_b64encode(b"[" * 100_000),
        b"A" * 300_000,
    ],
)
def test_what_is_no_token(token: bytes) -> None:
    with pytest.raises(FilterError, match=r"^this is no page token; pass on the one"):
        decode_token(ORDERED, token)


def test_another_release() -> None:
    with pytest.raises(FilterError, match="has version 2, this release reads 1"):
        decode_token(ORDERED, made(ORDERED, "a", 1.5, 2, RUN, version=2))


@pytest.mark.parametrize(
    "position",
    [
        (),
        ("a", 1.5, 2),
        ("a", 1.5, 2, RUN, RUN),
        (1, 1.5, 2, RUN),
        ("a", "1.5", 2, RUN),
        ("a", 1.5, "2", RUN),
        ("a", 1.5, 2.0, RUN),
        ("a", 1.5, None, RUN),
        ("a", 1.5, 2, None),
        ("a", 1.5, 2, "x"),
        ("a", 1.5, 2, RUN.upper()),
        ("a", 1.5, 70_000, RUN),
        ("a\0", 1.5, 2, RUN),
    ],
)
def test_a_damaged_position(position: tuple[object, ...]) -> None:
    with pytest.raises(FilterError, match="this page token is damaged"):
        decode_token(ORDERED, made(ORDERED, *position))


def test_numbers_that_no_column_holds() -> None:
    started = listed("")
    for number in (2**63, -(2**63) - 1, True):
        with pytest.raises(FilterError, match=r"no page token|damaged"):
            decode_token(started, made(started, number, RUN))
