"""Temporal's names: each is here, or there is a reason why not."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from typing import Any

import pytest

import durable.converter
from durable.converter import (
    ActivitySerializationContext,
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    FailureConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    Payload,
    PayloadCodec,
    PayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
    default,
    value_to_type,
)
from durable.exceptions import ApplicationError, ConversionError, PayloadTooLargeError
from tests.store.codecs import Nonces

PROTOBUF = "protobuf is no dependency; an EncodingPayloadConverter can add it"
LATER = "storing payloads outside the database comes later"
SEARCH = "search attributes are typed values of `durable.common`, and no codec passes over them"

NOT_HERE = {
    "AdvancedJSONEncoder": "values are written by msgspec; `JSONTypeConverter.to_json_value` teaches further types",
    "BinaryProtoPayloadConverter": PROTOBUF,
    "ExternalStorage": LATER,
    "JSONProtoPayloadConverter": PROTOBUF,
    "NexusSerializationContext": "Nexus is no part of this library",
    "StorageDriver": LATER,
    "StorageDriverActivityInfo": LATER,
    "StorageDriverClaim": LATER,
    "StorageDriverRetrieveContext": LATER,
    "StorageDriverSelectContext": LATER,
    "StorageDriverStoreContext": LATER,
    "StorageDriverWorkflowInfo": LATER,
    "StorageWarning": LATER,
    "TransferTypeConverter": "`JSONTypeConverter` says in both directions what a type is stored as",
    "create_payload_validation_error": "a value that is refused raises ConversionError, at its caller",
    "decode_search_attributes": SEARCH,
    "decode_typed_search_attributes": SEARCH,
    "encode_search_attribute_values": SEARCH,
    "encode_search_attributes": SEARCH,
    "encode_typed_search_attribute_value": SEARCH,
    "transfer_type_convertible": "`JSONTypeConverter` says in both directions what a type is stored as",
}

TEMPORAL = [
    "ActivitySerializationContext",
    "AdvancedJSONEncoder",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "BinaryProtoPayloadConverter",
    "CompositePayloadConverter",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "ExternalStorage",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "JSONProtoPayloadConverter",
    "JSONTypeConverter",
    "JSONTypeConverterUnhandled",
    "NexusSerializationContext",
    "PayloadCodec",
    "PayloadConverter",
    "SerializationContext",
    "StorageDriver",
    "StorageDriverActivityInfo",
    "StorageDriverClaim",
    "StorageDriverRetrieveContext",
    "StorageDriverSelectContext",
    "StorageDriverStoreContext",
    "StorageDriverWorkflowInfo",
    "StorageWarning",
    "TransferTypeConverter",
    "WithSerializationContext",
    "WorkflowSerializationContext",
    "create_payload_validation_error",
    "decode_search_attributes",
    "decode_typed_search_attributes",
    "default",
    "encode_search_attribute_values",
    "encode_search_attributes",
    "encode_typed_search_attribute_value",
    "transfer_type_convertible",
    "value_to_type",
]
"""`temporalio.converter.__all__` of 1.31."""


@pytest.mark.parametrize("name", TEMPORAL)
def test_each_name_is_here_or_there_is_a_reason(name: str) -> None:
    assert (name in durable.converter.__all__) != (name in NOT_HERE)
    assert hasattr(durable.converter, name) != (name in NOT_HERE)


# --- the shape of a data converter ---


def test_a_data_converter_is_made_of_classes_and_a_codec() -> None:
    codec = Nonces()
    made = DataConverter(
        payload_converter_class=DefaultPayloadConverter,
        payload_codec=codec,
        failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
    )
    assert made.payload_codec is codec
    assert type(made.payload_converter) is DefaultPayloadConverter
    assert type(made.failure_converter) is DefaultFailureConverterWithEncodedAttributes
    assert default() is DataConverter.default
    assert PayloadConverter.default is default().payload_converter
    assert FailureConverter.default is default().failure_converter
    other = dataclasses.replace(DataConverter.default, payload_codec=codec)
    assert other.payload_codec is codec
    assert other.limits == DataConverter.default.limits


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"payload_codec": Nonces},
            "payload_codec must be an instance of a subclass of PayloadCodec, not ABCMeta",
        ),
        (
            {"payload_converter_class": dict},
            "payload_converter_class must be a subclass of PayloadConverter, not dict",
        ),
        ({"failure_converter_class": list}, "failure_converter_class must be a subclass of FailureConverter"),
    ],
)
def test_wrong_parts_are_refused_by_name(given: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError) as caught:
        DataConverter(**given)
    assert text in str(caught.value)


async def test_encode_and_decode_pass_the_codec() -> None:
    converter = DataConverter(payload_codec=Nonces())
    payloads = await converter.encode(["a", None, b"x"])
    assert [payload.encoding for payload in payloads] == ["binary/nonces"] * 3
    assert await converter.decode(payloads, [str, None, bytes]) == ["a", None, b"x"]
    plain = await DataConverter.default.encode([1])
    assert (plain, await DataConverter.default.decode(plain)) == ([Payload(b"1")], [1])
    with pytest.raises(PayloadTooLargeError):
        await converter.encode(["x" * 3_000_000])


# --- encodings ---


@dataclass
class Greeting:
    text: str


class GreetingConverter(EncodingPayloadConverter):
    """A form of its own for one class, as in Temporal's sample."""

    @property
    def encoding(self) -> str:
        return "text/greeting"

    def to_payload(self, value: Any) -> Payload | None:
        if not isinstance(value, Greeting):
            return None
        if not value.text:
            raise ValueError("nothing to say")
        return Payload(value.text.encode(), self.encoding, {"is": b"greeting"})

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        assert type_hint in (None, Any, Greeting), type_hint
        return Greeting(payload.data.decode())


class Greetings(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(GreetingConverter(), *DefaultPayloadConverter.default_encoding_payload_converters)


GREETINGS = DataConverter(payload_converter_class=Greetings)


@pytest.mark.temporal("data/custom_converter")
def test_a_form_of_its_own_for_one_class() -> None:
    payloads = GREETINGS.to_payloads([Greeting("hi"), "hi", None, b"hi", [Greeting("hi")]])
    assert payloads == (
        Payload(b"hi", "text/greeting", {"is": b"greeting"}),
        Payload(b'"hi"'),
        Payload(b"", "binary/null"),
        Payload(b"hi", "binary/plain"),
        Payload(b'[{"text":"hi"}]'),
    )
    hints = [Greeting, str, None, bytes, list[Greeting]]
    assert GREETINGS.from_payloads(payloads, hints) == [Greeting("hi"), "hi", None, b"hi", [Greeting("hi")]]
    assert GREETINGS.from_payload(payloads[0]) == Greeting("hi")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Greeting(""), "input[0]: the converter of 'text/greeting' failed: ValueError: nothing to say"),
        ({"a": [object()]}, "input[0].a[0]: an object cannot be stored"),
        (float("nan"), "input[0]: the float nan has no form in JSON"),
        ("x" * 3_000_000, "input[0]: takes 3000002 bytes when encoded, the limit is 2097152"),
    ],
)
def test_what_an_encoding_refuses_is_told_with_its_place(value: Any, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        GREETINGS.to_payloads([value])
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("payload", "hint", "text"),
    [
        (
            Payload(b"\xff", "text/greeting"),
            Any,
            "result: the converter of 'text/greeting' failed: UnicodeDecodeError",
        ),
        (Payload(b"{}"), Greeting, "result: object missing required field `text`"),
        (Payload(b'{"a":["b"]}'), dict[str, list[int]], "result[...][0]: expected `int`, found `str`"),
        (Payload(b"x", "binary/null"), Any, "result: a payload of the encoding 'binary/null' holds bytes"),
        (Payload(b"", "binary/null"), int, "result: expected `int`, found `null`"),
        (
            Payload(b"x", "json/protobuf"),
            Any,
            "result: the encoding 'json/protobuf' is that of a protobuf message",
        ),
        (
            Payload(b"x", "binary/protobuf"),
            Any,
            "result: the encoding 'binary/protobuf' is that of a protobuf",
        ),
        (Payload(b"x", "binary/encrypted"), Any, "result: the encoding 'binary/encrypted' is not known"),
    ],
)
def test_what_an_encoding_cannot_read_is_told_with_its_place(payload: Payload, hint: Any, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        GREETINGS.from_payload(payload, hint, path="result")
    assert str(caught.value).startswith(text)
    if payload.encoding.endswith("protobuf"):
        with pytest.raises(ConversionError, match="EncodingPayloadConverter"):
            default().from_payload(payload)


def test_without_an_encoding_that_takes_it_a_value_is_refused() -> None:
    only = CompositePayloadConverter(BinaryNullPayloadConverter(), BinaryPlainPayloadConverter())
    assert only.to_payload(bytearray(b"x")) == Payload(b"x", "binary/plain")
    with pytest.raises(ConversionError, match="an int cannot be stored: none of the encodings takes it"):
        only.to_payload(1)


@pytest.mark.temporal("data_converter/binary", "data_converter/empty", "data_converter/json")
@pytest.mark.parametrize(
    ("value", "payload", "hint"),
    [
        (b"\xde\xad\xbe\xef", Payload(b"\xde\xad\xbe\xef", "binary/plain"), bytes),
        (None, Payload(b"", "binary/null"), None),
        ({"spec": True, "n": 1e16}, Payload(b'{"spec":true,"n":1e16}', "json/plain"), dict),
    ],
)
def test_the_default_converter_is_its_encodings_made_fast(value: Any, payload: Payload, hint: Any) -> None:
    slow = CompositePayloadConverter(*DefaultPayloadConverter.default_encoding_payload_converters)
    assert list(DefaultPayloadConverter().converters) == [b"binary/null", b"binary/plain", b"json/plain"]
    for converter in (DefaultPayloadConverter(), slow):
        assert converter.to_payload(value) == payload
        assert converter.from_payload(payload, hint) == value
        assert converter.from_payload(payload) == value


# --- further types in JSON ---


class Addresses(JSONTypeConverter):
    """Temporal's own example."""

    def to_typed_value(self, hint: Any, value: Any) -> Any:
        if isinstance(hint, type) and issubclass(hint, ipaddress.IPv4Address):
            return hint(value)
        return self.Unhandled

    def to_json_value(self, value: Any) -> Any:
        return str(value) if isinstance(value, ipaddress.IPv4Address) else self.Unhandled


class Ratios(JSONTypeConverter):
    def to_typed_value(self, hint: Any, value: Any) -> Any:
        return complex(*value) if hint is complex else JSONTypeConverter.Unhandled

    def to_json_value(self, value: Any) -> Any:
        return [value.real, value.imag] if type(value) is complex else self.Unhandled


def further() -> CompositePayloadConverter:
    null, plain, _ = DefaultPayloadConverter.default_encoding_payload_converters
    return CompositePayloadConverter(
        null, plain, JSONPlainPayloadConverter(custom_type_converters=[Addresses(), Ratios()])
    )


FURTHER = DataConverter(payload_converter_class=further)
HOME = ipaddress.IPv4Address("127.0.0.1")


@dataclass
class Host:
    name: str
    addresses: list[ipaddress.IPv4Address]
    ratio: complex | None = None


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (HOME, ipaddress.IPv4Address),
        ([HOME], list[ipaddress.IPv4Address]),
        ({1: HOME, "2": HOME}, None),  # keys of two types: looked through part by part
        ({"a": (HOME, {1, 2})}, dict[str, tuple[ipaddress.IPv4Address, set[int]]]),
        (Host("h", [HOME, HOME], 1 + 2j), Host),
        ({"h": Host("h", [HOME], None)}, dict[str, Host]),
    ],
)
def test_further_types_at_any_depth(value: Any, hint: Any) -> None:
    payload = FURTHER.to_payload(value)
    if hint is not None:
        assert FURTHER.from_payload(payload, hint) == value
        with pytest.raises(ConversionError, match=r"cannot be (stored|read back)"):
            default().from_payload(default().to_payload(value), hint)
    else:
        assert payload.data == b'{"1":"127.0.0.1","2":"127.0.0.1"}'


def test_what_further_types_refuse_has_its_place() -> None:
    with pytest.raises(ConversionError, match=r"^value\.name\[1\]: an object cannot be stored"):
        FURTHER.to_payload(Host([HOME, object()], []))  # type: ignore[arg-type, list-item]
    with pytest.raises(ConversionError, match=r"addresses\[0\]: expected 4 octets"):
        FURTHER.from_payload(Payload(b'{"name":"h","addresses":["x"]}'), Host)


def test_value_to_type() -> None:
    assert value_to_type(Greeting, {"text": "hi"}) == Greeting("hi")
    assert value_to_type(set[int], [1, 2]) == {1, 2}
    assert value_to_type(Any, {"a": 1}) == {"a": 1}
    assert value_to_type(list[ipaddress.IPv4Address], ["127.0.0.1"], [Addresses()]) == [HOME]
    with pytest.raises(ConversionError, match="expected `int`, found `str`"):
        value_to_type(int, "1")


# --- failures ---


@pytest.mark.temporal("data_converter/failure")
def test_messages_and_stack_traces_become_payloads() -> None:
    converter = DataConverter(failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
    try:
        try:
            raise ValueError("inner secret")
        except ValueError as inner:
            raise ApplicationError("outer secret", "detail", type="Kind") from inner
    except ApplicationError as error:
        failure = converter.to_failure(error)
    assert failure.message == "Encoded failure"
    assert failure.stack_trace == ""
    assert failure.encoded is not None
    assert b"outer secret" in failure.encoded.data
    assert failure.cause is not None
    assert failure.cause.message == "Encoded failure"
    back = converter.from_failure(failure)
    assert isinstance(back, ApplicationError)
    assert (back.message, back.type, back.details) == ("outer secret", "Kind", ("detail",))
    assert "test_messages_and_stack_traces" in (back.stack_trace or "")
    assert isinstance(back.__cause__, ApplicationError)
    assert (back.__cause__.message, back.__cause__.type) == ("inner secret", "ValueError")
    # Whoever does not encode reads it all the same; whoever cannot decode still gets the failure.
    assert str(default().from_failure(failure)) == str(back)
    hidden = dataclasses.replace(default(), payload_codec=None)
    lost = hidden.from_failure(type(failure)("Encoded failure", "", failure.info, None, Payload(b"?", "x")))
    assert isinstance(lost, ApplicationError)
    assert (lost.message, lost.type) == ("Encoded failure", "Kind")


def test_converting_an_encoded_failure_again_changes_nothing() -> None:
    converter = DataConverter(failure_converter_class=DefaultFailureConverterWithEncodedAttributes)
    failure = converter.to_failure(ApplicationError("secret", type="Kind"))
    assert converter.to_failure(converter.from_failure(failure)) == failure


# --- contexts ---


class Owned(EncodingPayloadConverter, WithSerializationContext):
    """Writes down whose a value is, and reads no other's."""

    def __init__(self, whose: SerializationContext | None = None) -> None:
        self.whose = whose

    @property
    def encoding(self) -> str:
        return "test/owned"

    def with_context(self, context: SerializationContext) -> Owned:
        return Owned(context)

    def to_payload(self, value: Any) -> Payload | None:
        return Payload(value.encode(), self.encoding, {"whose": repr(self.whose).encode()})

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        assert payload.metadata["whose"] == repr(self.whose).encode()
        return payload.data.decode()


class OwnedOnly(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Owned())


def test_a_context_reaches_every_part_that_wants_it_and_costs_nothing_where_none_does() -> None:
    context = WorkflowSerializationContext("ns", "w")
    plain = DataConverter(payload_codec=Nonces())
    assert not plain.takes_context
    assert plain.with_context(context) is plain
    assert not GREETINGS.takes_context
    assert GREETINGS.payload_converter.with_context(context) is GREETINGS.payload_converter  # type: ignore[attr-defined]
    owned = DataConverter(payload_converter_class=OwnedOnly)
    assert owned.takes_context
    told = owned.with_context(context)
    assert told.takes_context
    assert told is not owned
    assert told.to_payload("x").metadata["whose"] == repr(context).encode()
    assert owned.to_payload("x").metadata["whose"] == b"None"
    other = told.with_context(ActivitySerializationContext("ns", "1", "a", "q", "w", "t"))
    with pytest.raises(ConversionError, match="AssertionError"):
        other.from_payload(told.to_payload("x"))


def test_codecs_and_failure_converters_are_told_too() -> None:
    class Codec(Nonces, WithSerializationContext):
        def with_context(self, context: SerializationContext) -> Codec:
            made = Codec()
            made.count = 7
            return made

    class Failures(DefaultFailureConverter, WithSerializationContext):
        whose: Any = None

        def with_context(self, context: SerializationContext) -> Failures:
            made = Failures()
            made.whose = context
            return made

    context = WorkflowSerializationContext("ns", "w")
    converter = DataConverter(payload_codec=Codec(), failure_converter_class=Failures)
    told: Any = converter.with_context(context)
    assert isinstance(told.payload_codec, PayloadCodec)
    assert told.payload_codec.count == 7
    assert told.failure_converter.whose == context
    assert converter.payload_codec is not told.payload_codec
