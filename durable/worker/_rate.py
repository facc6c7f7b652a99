"""How many activities may start in a while: a bucket of permits that fills at a steady rate."""

from __future__ import annotations


class Rate:
    """Lets through what comes at most so often per second, with at most one second's worth at once.

    The clock is an argument of every call, in seconds.
    """

    __slots__ = ("_at", "_left", "_most", "_per_second")

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._left = self._most
        self._at = now

    def free(self, now: float) -> int:
        """Return how many may start now."""
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        return int(self._left)

    def take(self) -> None:
        """Count one that starts."""
        self._left -= 1

    def wait(self, now: float) -> float:
        """Return the seconds until one more may start."""
        return 0.0 if self.free(now) else (1 - self._left) / self._per_second
