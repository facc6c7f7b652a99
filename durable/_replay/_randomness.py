"""Random numbers that a replay draws again: one stream per use, all from the seed in the log.

Streams are separate so that an added `random()` does not change every UUID behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from uuid import UUID
from weakref import WeakValueDictionary

_VERSION, _VARIANT = 0x7 << 76, 0b10 << 62
"""The bits that make 128 bits a UUID of version 7. (`UUID` itself sets these from Python 3.14 on.)"""


class Randomness:
    """The streams of one run, made when they are first used.

    Attributes:
        seed: What all of them are made from.
    """

    __slots__ = ("_callbacks", "_child_id", "_made", "_new", "_random", "_uuid4", "_uuid7", "seed")

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._random: Random | None = None
        self._uuid4: Random | None = None
        self._child_id: Random | None = None
        self._uuid7: Random | None = None
        self._made = 0
        self._callbacks: list[Callable[[int], None]] | None = None
        self._new: WeakValueDictionary[int, Random] | None = None

    def random(self) -> Random:
        """Return the stream that belongs to the workflow's author."""
        if self._random is None:
            self._random = Random(f"{self.seed}:random")
        return self._random

    def new_random(self) -> Random:
        """Return a stream of its own, another one at each call."""
        self._made += 1
        new = Random(f"{self.seed}:new:{self._made}")
        if self._new is None:
            self._new = WeakValueDictionary()
        self._new[self._made] = new
        return new

    def on_reseed(self, callback: Callable[[int], None]) -> None:
        """Call back with the seed whenever there is another one."""
        self._callbacks = [*(self._callbacks or ()), callback]

    def reseed(self, seed: int) -> None:
        """Go on with another seed: what the code holds of its streams, too, gives other numbers from now on."""
        self.seed = seed
        if self._random is not None:
            self._random.seed(f"{seed}:random")
        for made, stream in (self._new or {}).items():
            stream.seed(f"{seed}:new:{made}")
        self._uuid4 = self._child_id = self._uuid7 = None
        for callback in self._callbacks or ():
            callback(seed)

    def uuid4(self) -> UUID:
        """Return the next UUID of the run."""
        if self._uuid4 is None:
            self._uuid4 = Random(f"{self.seed}:uuid4")
        return UUID(int=self._uuid4.getrandbits(128), version=4)

    def child_id(self) -> UUID:
        """Return the workflow id of the next child that is given none: its own stream, so that no `uuid4()` shifts."""
        if self._child_id is None:
            self._child_id = Random(f"{self.seed}:child")
        return UUID(int=self._child_id.getrandbits(128), version=4)

    def uuid7(self, now: int) -> UUID:
        """Return a UUID that sorts by `now`, the microseconds since the epoch, to the millisecond."""
        if self._uuid7 is None:
            self._uuid7 = Random(f"{self.seed}:uuid7")
        stamp = (now // 1000) & 0xFFFF_FFFF_FFFF
        high, low = self._uuid7.getrandbits(12), self._uuid7.getrandbits(62)
        return UUID(int=(stamp << 80) | _VERSION | (high << 64) | _VARIANT | low)
