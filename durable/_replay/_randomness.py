"""Random numbers that a replay draws again: one stream per use, all from the seed in the log.

Streams are separate so that an added `random()` does not change every UUID behind it.
"""

from __future__ import annotations

from random import Random
from uuid import UUID


class Randomness:
    """The streams of one run, made when they are first used."""

    __slots__ = ("_random", "_seed", "_uuid")

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._random: Random | None = None
        self._uuid: Random | None = None

    def random(self) -> Random:
        """Return the stream that belongs to the workflow's author."""
        if self._random is None:
            self._random = Random(f"{self._seed}:random")
        return self._random

    def uuid4(self) -> UUID:
        """Return the next UUID of the run."""
        if self._uuid is None:
            self._uuid = Random(f"{self._seed}:uuid4")
        return UUID(int=self._uuid.getrandbits(128), version=4)
