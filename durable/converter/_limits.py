from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from durable._internal.shown import shown
from durable.exceptions import PayloadTooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from durable.history import Payload

logger = logging.getLogger("durable.converter")

_MAX_WARNED = 10_000
"""Places remembered as already warned about."""

_warned: set[str] = set()


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """Nothing larger than `error` bytes is ever stored in one event.

    What is larger than `warn` is logged, once for each place in the program that makes it, not once for each value.

    Attributes:
        error: Bytes of the values stored together; more raise `PayloadTooLargeError`. Temporal's limit.
        warn: Bytes from which a warning is logged.
    """

    error: int = 2 * 1024 * 1024
    warn: int = 256 * 1024

    def __post_init__(self) -> None:
        for name in ("error", "warn"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(
                    f"{name} must be a number of bytes, not {type(value).__name__}: {shown(value)}"
                )
            if value <= 0:
                raise ValueError(f"{name} must be at least one byte, not {value}")

    def check(self, payloads: Sequence[Payload], path: str) -> None:
        """Return only if `payloads` may be stored together.

        Args:
            payloads: What would be stored.
            path: What the caller calls them; the warning is given once for each.

        Raises:
            PayloadTooLargeError: They take more than `error` bytes; it names the value that does so alone, if one does.
        """
        total = 0
        for payload in payloads:
            total += size_of(payload) if payload.metadata else len(payload.data)
        if total <= self.warn and total <= self.error:
            return
        if total > self.error:
            for index, payload in enumerate(payloads):
                if size_of(payload) > self.error:
                    raise PayloadTooLargeError(size_of(payload), self.error, path=f"{path}[{index}]")
            raise PayloadTooLargeError(total, self.error, path=path)
        if path not in _warned:
            if len(_warned) >= _MAX_WARNED:
                _warned.clear()
            _warned.add(path)
            logger.warning(
                "%s takes %d bytes when encoded, and is written to every history that holds it; the limit is %d. "
                "Store it elsewhere and pass a reference.", path, total, self.error
            )  # fmt: skip


def size_of(payload: Payload) -> int:
    """Return the bytes that are counted against the limit."""
    size = len(payload.data)
    for key, value in payload.metadata.items():
        size += len(key) + len(value)
    return size
