"""How values and exceptions become what is stored, and come back the same in every process.

What a workflow sees is always the decoded form of the encoded value, on first execution as on replay. Nothing stored is
ever executed. See `DefaultPayloadConverter` for what comes back equal, and `PayloadCodec` for encryption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable._internal.left_out import no_attribute as _no_attribute
from durable.converter._codec import PayloadCodec
from durable.converter._composite import CompositePayloadConverter, DefaultPayloadConverter
from durable.converter._context import (
    ActivitySerializationContext,
    SerializationContext,
    WithPayloadFields,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from durable.converter._data import DataConverter, default
from durable.converter._encodings import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    JSONTypeConverterUnhandled,
    value_to_type,
)
from durable.converter._failures import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from durable.converter._limits import PayloadLimits
from durable.converter._payloads import PayloadConverter
from durable.history import Payload

__all__ = [
    "ActivitySerializationContext",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "CompositePayloadConverter",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "JSONTypeConverter",
    "JSONTypeConverterUnhandled",
    "Payload",
    "PayloadCodec",
    "PayloadConverter",
    "PayloadLimits",
    "SerializationContext",
    "WithPayloadFields",
    "WithSerializationContext",
    "WorkflowSerializationContext",
    "default",
    "value_to_type",
]


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> object:
        raise _no_attribute(__name__, name)
