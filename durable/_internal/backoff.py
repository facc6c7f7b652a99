"""Exponential backoff that cannot overflow."""

from __future__ import annotations

import math


def exponential(initial: int, coefficient: float, maximum: int, failures: int) -> int:
    """Return how long to wait after `failures` failures in a row (at least 1), in the unit of `initial`.

    It is `initial * coefficient ** (failures - 1)`, never above `maximum`, whatever the number of failures.
    """
    if initial <= 0 or maximum <= 0:
        return 0
    if coefficient > 1.0:
        # Compared as logarithms first: 2.0 ** 2000 is an OverflowError.
        room = math.log(maximum / initial) / math.log(coefficient) if maximum > initial else 0.0
        if failures - 1 >= room:
            return maximum
    return min(maximum, round(initial * coefficient ** (failures - 1)))
