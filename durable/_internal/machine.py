"""The machine's clocks and its chance: where all that acts gets them from, so that a simulation can stand in for it.

They are called by the module's name, `machine.monotonic()`, and never imported from here.
"""

from __future__ import annotations

import os
import time

_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> int:
    """Return microseconds on a clock that never jumps and goes on while the machine is suspended."""
    if _BOOTTIME is None:
        return time.monotonic_ns() // 1000
    return time.clock_gettime_ns(_BOOTTIME) // 1000


monotonic = time.monotonic
"""Seconds on a clock that never jumps."""

perf_counter = time.perf_counter
"""Seconds, for what takes very few of them."""


def wall() -> int:
    """Return microseconds since the epoch."""
    return time.time_ns() // 1000


random_bytes = os.urandom
"""Bytes that nobody can guess."""
