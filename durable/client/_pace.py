"""How soon one looks again who was told no more than that something happened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator

from durable._internal import machine

PAUSE = 0.01
"""Seconds between two looks at most: well below the pace at which SQLite tells of other processes, so as not to add to it."""

SHARE = 9
"""For how many times as long as the look has taken there is none: a tenth of the time at most is spent with looking."""


class Pace:
    """The pace of one who looks.

    Attributes:
        vague: Whether a hint since the last look said only that something happened. One that names what it is about comes
            seldom enough to be followed at once.
    """

    def __init__(self) -> None:
        self.vague = False
        self._next = 0.0

    @contextlib.contextmanager
    def looking(self) -> Generator[None]:
        """Look, within this block."""
        self.vague = False
        began = machine.monotonic()
        yield
        ended = machine.monotonic()
        self._next = ended + min(PAUSE, SHARE * (ended - began))

    async def pause(self) -> None:
        """Wait until the next look may begin."""
        if self.vague and (wait := self._next - machine.monotonic()) > 0:
            await asyncio.sleep(wait)
