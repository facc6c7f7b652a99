"""Limits: concurrency keys, circuit breakers and rates."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.lanes import COUNTED, BreakerNews, BreakerRecord, Forced, KeyRecord
from durable.store.postgres._part import Part


class Lanes(Part):
    """The port's methods about limits."""

    async def read_key(self, kind: int, key: str) -> KeyRecord:
        """Return what is known of a concurrency key."""
        (row,) = await self._read("read_key", kind, key, COUNTED)
        return KeyRecord(row["most"], row["pinned"], row["running"], row["waiting"])

    async def set_key(self, kind: int, key: str, most: int | None) -> None:
        """Set how much of a key may run, whatever is asked for; None leaves it to what is asked for."""
        await self._fetch("set_key", kind, key, most)

    async def sweep_keys(self, limit: int) -> int:
        """Remove what is kept of at most `limit` keys that nothing has; return how many."""
        return len(await self._fetch("sweep_keys", limit))

    async def tell_breakers(self, news: Sequence[BreakerNews]) -> None:
        """Take the news of how attempts ended that were behind circuit breakers, in this order."""
        if not news:
            return
        await self._fetch(
            "tell_breakers",
            [one.breaker.key for one in news],
            [one.failed for one in news],
            [one.breaker.failures for one in news],
            [one.breaker.window for one in news],
            [one.breaker.open_for for one in news],
            [one.breaker.trials for one in news],
        )

    async def read_breaker(self, key: str) -> BreakerRecord:
        """Return what is known of a circuit breaker; one that nothing has failed behind is closed."""
        (row,) = await self._read("read_breaker", key)
        return BreakerRecord(
            failures=tuple(row["failures"] or ()),
            open_until=row["open_until"],
            trials=row["trials"] or 1,
            trying=row["trying"],
            forced=None if row["forced"] is None else Forced(row["forced"]),
            now=row["now"],
        )

    async def force_breaker(self, key: str, forced: Forced | None) -> None:
        """Keep a circuit breaker open or closed; None closes it and leaves it to itself."""
        await self._fetch("force_breaker", key, forced)

    async def set_rate(self, task_queue: str, per_second: float | None) -> None:
        """Let so many activities of a task queue start in a second; None for any number."""
        if per_second is None:
            await self._fetch("drop_rate", task_queue)
        else:
            await self._fetch("set_rate", task_queue, per_second)

    async def read_rate(self, task_queue: str) -> float | None:
        """Return how many activities of a task queue may start in a second; None for any number."""
        rows = await self._read("read_rate", task_queue)
        rate: float | None = rows[0]["per_second"] if rows else None
        return rate
