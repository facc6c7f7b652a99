"""Connections for everything but commits: a few, each call a transaction of its own, every wait with an end.

It is our own small pool because the driver's asks the server for a round trip after each use, to reset a session in which
we leave nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from durable._internal import forks
from durable.exceptions import StoreError, StoreUnavailableError
from durable.store.postgres._errors import Meaning, connection_survives, meaning
from durable.store.postgres._session import NobodyThere, Row, Session, connect, translate_for
from durable.store.postgres._settings import Settings

log = logging.getLogger("durable.store")


class Pool:
    """Sessions on demand, up to a limit.

    Connecting again is tried with full-jitter backoff for as long as the caller waits anyway, and no longer.

    Args:
        settings: Where to.
        lent: Whether the sessions are for code of the application.
    """

    def __init__(self, settings: Settings, *, lent: bool = False) -> None:
        self.settings = settings
        self._lent = lent
        self.closed = False
        self._opened = self.forked = False
        self._idle: list[Session] = []
        self._slots = asyncio.Semaphore(settings.limits.pool_size)
        forks.in_child(self, Pool._lose_sessions)

    async def fetch(self, sql: str, *args: Any, read: bool = False) -> list[Row]:
        """Make a call: one statement, one transaction.

        What the server undid to resolve a conflict is begun again. With `read`, which promises that doing it twice is
        doing it once, a lost connection is made up for, too.
        """
        tries = 0
        while True:
            try:
                async with self.session() as session:
                    return await session.fetch(sql, args)
            except StoreError:
                raise
            except Exception as error:
                tries += 1
                if not await self.may_retry(error, tries, read=read):
                    raise translate_for(self.settings, error) from None

    async def may_retry(self, error: Exception, tries: int, *, read: bool) -> bool:
        """Whether a call that failed may be made again; waits as long as is good before it is."""
        if tries >= self.settings.limits.tries:
            return False
        match meaning(error):
            case Meaning.POOLER:
                self.distrust_sessions()
                return True
            case Meaning.STALE:
                return True
            case Meaning.CONFLICT:
                await self.back_off(tries)
                return True
            case Meaning.UNAVAILABLE:
                return read
            case _:
                return False

    def translate(self, error: Exception) -> Exception:
        """The library's error for one of the driver's."""
        return error if isinstance(error, StoreError) else translate_for(self.settings, error)

    def unavailable(self, why: str) -> StoreUnavailableError:
        """An error that says why nothing can be promised now."""
        return StoreUnavailableError(f"{self.settings.shown}: {why}")

    def distrust_sessions(self) -> None:
        """From now on, treat what is between us and the server as a pooler that gives each transaction another session."""
        if not self.settings.pooler:
            self.settings = msgspec.structs.replace(self.settings, pooler=True)
            log.warning(
                "%s is behind a pooler in transaction mode; say ?pooler=transaction in its URL. Calls take more round "
                "trips from now on, and hints of other processes do not arrive: work is found by polling",
                self.settings.shown,
            )
        idle, self._idle = self._idle, []
        for session in idle:
            session.kill()

    async def back_off(self, tries: int) -> None:
        """Wait before another try: random up to a bound that doubles."""
        await asyncio.sleep(self._pause(tries))

    def _pause(self, tries: int) -> float:
        limits = self.settings.limits
        return random.uniform(0, min(limits.backoff_most, limits.backoff * 2**tries))

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[Session]:
        """Lend a session. It goes back when the block ends well, or with an error that leaves it whole."""
        self._check_open()
        limits = self.settings.limits
        deadline = asyncio.get_running_loop().time() + limits.acquire
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise StoreUnavailableError(
                f"all {limits.pool_size} connections to {self.settings.shown} were busy for {limits.acquire} s; "
                "raise pool_size, or look for what holds them"
            ) from None
        try:
            session = await self._take(deadline)
            try:
                yield session
            except BaseException as error:
                # After a cancellation the answer is still on its way; nobody may read it as that of another call.
                if connection_survives(error):
                    self._give_back(session)
                else:
                    session.kill()
                raise
            self._give_back(session)
        finally:
            self._slots.release()

    async def _take(self, deadline: float) -> Session:
        while self._idle:
            session = self._idle.pop()
            if not session.closed:
                return session
        return await self.connect("transaction" if self._lent else "pool", deadline)

    async def connect(self, role: str, deadline: float | None = None) -> Session:
        """Make a connection, trying until the deadline; at the first, not as long where nobody takes connections."""
        self._check_open()
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self.settings.limits.acquire if deadline is None else deadline
        failed: StoreUnavailableError | None = None
        tries = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    session = await connect(self.settings, role, first=not self._opened, lent=self._lent)
                self._opened = True
                return session
            except TimeoutError:
                raise failed or self.unavailable("did not answer in time") from None
            except StoreUnavailableError as error:
                failed = StoreUnavailableError(str(error))
                tries += 1
                if isinstance(error, NobodyThere) and not self._opened:
                    deadline = min(deadline, began + self.settings.limits.opening)
                left = deadline - loop.time()
                if self.closed or left <= 0:
                    raise failed from None
                await asyncio.sleep(min(left, self._pause(tries)))

    def _lose_sessions(self) -> None:
        """In a forked child: what it said over them the server would answer to the parent."""
        self.closed = self.forked = True

    def _check_open(self) -> None:
        self.check_parent()
        if self.closed:
            raise StoreUnavailableError("the store has been closed")

    def check_parent(self) -> None:
        """See that this is the process that the sessions are of.

        Raises:
            StoreError: It is one that was forked from that.
        """
        if self.forked:
            raise StoreError(forks.FORKED)

    def _give_back(self, session: Session) -> None:
        if self.closed or session.closed:
            session.kill()
        else:
            self._idle.append(session)

    async def aclose(self) -> None:
        """Let calls under way finish, then close every connection; again does nothing."""
        if self.closed:
            return
        self.closed = True
        for _ in range(self.settings.limits.pool_size):
            try:
                async with asyncio.timeout(self.settings.limits.acquire):
                    await self._slots.acquire()
            except TimeoutError:
                break
        for _ in range(self.settings.limits.pool_size):
            self._slots.release()
        idle, self._idle = self._idle, []
        for session in idle:
            await session.aclose()
