"""One run of the benchmarks: on what, and how much."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

ALL_POINTS = 0.1
"""The share of the work from which on all points of a curve are measured."""


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

    def points(self, all_of_them: Sequence[T]) -> Sequence[T]:
        """Return the points of a curve to measure: its ends, where little is to be done."""
        return all_of_them if self.scale >= ALL_POINTS else (all_of_them[0], all_of_them[-1])

    def rest(self) -> None:
        """Let one measurement not pay for the garbage of the one before."""
        gc.collect()
