"""One run of the benchmarks: on what, and how much."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Bench:
    """What each benchmark is given.

    Attributes:
        urls: Databases by kind.
        scale: The share of the full amount of work.
        repeats: How often each figure is measured; the best counts.
    """

    urls: Mapping[str, str]
    scale: float = 1.0
    repeats: int = 3

    def amount(self, full: int, *, least: int = 1) -> int:
        """Return how much of something to do."""
        return max(least, round(full * self.scale))

    def rest(self) -> None:
        """Let one measurement not pay for the garbage of the one before."""
        gc.collect()
