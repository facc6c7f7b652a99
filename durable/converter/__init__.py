"""How values and exceptions become what is stored, and come back the same in every process.

What a workflow sees is always the decoded form of the encoded value, on first execution as on replay. Nothing stored is
ever executed. See `DefaultPayloadConverter` for what comes back equal.
"""

from __future__ import annotations

from durable.converter._data import DataConverter, default
from durable.converter._failures import DefaultFailureConverter, FailureConverter
from durable.converter._limits import PayloadLimits
from durable.converter._payloads import DefaultPayloadConverter, PayloadConverter

__all__ = [
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultPayloadConverter",
    "FailureConverter",
    "PayloadConverter",
    "PayloadLimits",
    "default",
]
