"""A store that is opened when it is first asked something, and tells whether anything is under way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from durable.store import ActivityTransaction, AttemptOutcome, Store

ASKED = frozenset(name for name, method in vars(Store).items() if inspect.iscoroutinefunction(method))
"""Methods of a store that are awaited."""

WRITES = frozenset({"commit", "create_runs", "send", "finish_attempts", "terminate"})
"""Those by which something gets further."""

Hook = Callable[..., Awaitable[Any]]


class ObservedStore:
    """See the module. Everything it does not have itself is the store's.

    Attributes:
        calls: How many questions were asked.
        under_way: How many of them have no answer yet.
        writes: How many were such that something got further by them.
        transaction_types: As of the store.
        hooks: What a method goes through, by its name, as `hook(method, *args, **kwargs)`.
    """

    def __init__(
        self,
        open: Callable[[], Awaitable[Store]],
        opened: Callable[[], None],
        *,
        transaction_types: tuple[type[Any], ...],
    ) -> None:
        """Open the store by `open` when it is needed, and call `opened` then, on the event loop it is for."""
        self.calls = self.writes = 0
        self.under_way = 0
        self.transaction_types = transaction_types
        self.hooks: dict[str, Hook] = {}
        self.url = "the environment's database"  # where that is, is known when it is open
        self._open = open
        self._opened = opened
        self._opening: asyncio.Task[Store] | None = None
        self._store: Store | None = None
        self._closed = False

    @property
    def store(self) -> Store:
        """The store itself.

        Raises:
            RuntimeError: It has not been opened yet, or is closed.
        """
        if self._store is None:
            state = "closed" if self._closed else "not open yet: await something of it first"
            raise RuntimeError(f"the environment is {state}")
        return self._store

    @property
    def is_open(self) -> bool:
        """Whether there is something to close."""
        return self._store is not None

    def __getattr__(self, name: str) -> Any:
        if name in ASKED:
            return partial(self._ask, name)
        return getattr(self.store, name)

    async def open(self) -> Store:
        """Return the store, opened if it was not; callers that come meanwhile share it."""
        if self._store is not None:
            return self._store
        if self._closed:
            raise RuntimeError("the environment is closed")
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        store = await asyncio.shield(self._opening)
        if self._store is None:
            self._store = store
            self._opened()
        return store

    def transaction(self, *args: Any, **kwargs: Any) -> AbstractAsyncContextManager[Any]:
        """As of the store; its commit goes through the hook "transaction.commit"."""
        lending = self.store.transaction(*args, **kwargs)
        hook = self.hooks.get("transaction.commit")
        return lending if hook is None else _hooked(lending, hook)

    async def _ask(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        self.writes += name in WRITES
        self.under_way += 1
        try:
            method = getattr(self._store or await self.open(), name)
            hook = self.hooks.get(name)
            return await (method(*args, **kwargs) if hook is None else hook(method, *args, **kwargs))
        finally:
            self.under_way -= 1
            self.calls += 1

    def abandon(self) -> None:
        """Let go of the store without waiting for anything: its event loop is gone."""
        self._closed = True
        store: Any = self._store
        self._store = None
        if hasattr(store, "writer"):
            store.writer.stop()

    async def aclose(self) -> None:
        """Close the store; again does nothing."""
        self._closed = True
        store, self._store = self._store, None
        if store is not None:
            await store.aclose()


@asynccontextmanager
async def _hooked(
    lending: AbstractAsyncContextManager[ActivityTransaction], hook: Hook
) -> AsyncGenerator[ActivityTransaction]:
    async with lending as lent:
        yield _Hooked(lent, hook)


class _Hooked:
    """A transaction whose commit goes through a hook."""

    def __init__(self, lent: ActivityTransaction, hook: Hook) -> None:
        self.connection = lent.connection
        self.around = lent.around
        self._lent = lent
        self._hook = hook

    async def commit(self, outcome: AttemptOutcome) -> bool:
        return bool(await self._hook(self._lent.commit, outcome))
