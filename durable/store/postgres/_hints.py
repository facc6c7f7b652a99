"""Hints between processes, by NOTIFY, on connections of their own.

NOTIFY takes a lock that all commits of the database queue at, so it is never part of a transaction that writes: hints are
sent behind the commits they are about, the first ones at once, and what comes while these are on their way, and for a
moment after, is gathered, each kept once. While somebody listens here they leave by the listening connection, so that a
busy pool does not hold them up; else by the pool. They may be lost: a dead connection looks like a silent one. So the
listening connection, which there is only while somebody listens, is tried now and then, and whenever it has been made anew
everybody is told that anything may have happened.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Any

from durable._engine.hints import ANY_KEY, Hint, HintKind
from durable.exceptions import StoreError
from durable.store.postgres._part import Part
from durable.store.postgres._pool import Pool
from durable.store.postgres._session import Session

log = logging.getLogger("durable.store")

_LAST_WORDS = 1.0  # seconds that closing waits for the last hints to leave
_KEY_BYTES = 180  # a longer key is sent as "anything"
_TOGETHER = 50  # run ids in one payload, which stays below 2,000 bytes; PostgreSQL takes 8,000
_OF_RUNS = frozenset({HintKind.MESSAGE, HintKind.CLOSED, HintKind.UPDATE, HintKind.PAUSE})
"""What is about runs: their ids leave together, since each payload costs every process that listens more than an id does. A release
that does not know that hears nothing of several at once, and finds them at its next poll."""
_KINDS = {int(kind): kind for kind in HintKind}

Callback = Callable[[Hint], None]


class Hints(Part):
    """The port's methods about hints."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._channel = f"durable {pool.settings.namespace}"
        self._token = secrets.token_hex(4)  # by which we know our own hints when they come back
        self._pending: dict[Hint, None] = {}
        self._pending_here: dict[Hint, None] = {}
        self._callbacks: dict[object, tuple[Callback, Collection[HintKind]]] = {}
        self._teller: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._session: Session | None = None  # the listening connection
        self._calling = asyncio.Lock()  # it takes one call at a time
        self._leaving: asyncio.TimerHandle | None = None
        self._warned = False
        self.listening = asyncio.Event()
        """Set while hints of other processes arrive."""

    def hint(self, hints: Sequence[Hint]) -> None:
        """Tell whoever listens, soon, coalesced, outside any transaction of ours. Never waits, never fails."""
        if not hints or self._pool.closed:
            return
        loop = asyncio.get_running_loop()
        told = dict.fromkeys(hints)
        if self._callbacks:
            # Here each hint is told anew, unless its call is still to come: who was called before has looked already.
            if not self._pending_here:
                loop.call_soon(self._tell_pending_here)
            self._pending_here.update(told)
        self._pending.update(told)
        if self._teller is None or self._teller.done():
            self._teller = loop.create_task(self._tell())

    def listen(self, callback: Callback, *kinds: HintKind) -> Callable[[], None]:
        """Call `callback`, on the event loop, for hints of this and other processes; return how to stop."""
        me = object()
        self._callbacks[me] = callback, frozenset(kinds or HintKind)
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        if self._pool.settings.pooler:
            if not self._warned:
                self._warned = True
                log.warning(
                    "%s: hints of other processes do not arrive through a pooler; work is polled for",
                    self.url,
                )
        elif not self._pool.closed and (self._listener is None or self._listener.done()):
            self._listener = asyncio.get_running_loop().create_task(self._listen())

        def stop() -> None:
            if self._callbacks.pop(me, None) is not None and not self._callbacks:
                # Who waits for one thing after another comes back soon, and a connection is dear.
                linger = self._pool.settings.limits.hint_linger
                self._leaving = asyncio.get_running_loop().call_later(linger, self._leave_channel)

        return stop

    def _leave_channel(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()

    def _tell_pending_here(self) -> None:
        pending, self._pending_here = self._pending_here, {}
        self._tell_here(list(pending))

    def _tell_here(self, hints: Sequence[Hint]) -> None:
        for callback, kinds in tuple(self._callbacks.values()):
            for hint in hints:
                if hint.kind not in kinds:
                    continue
                try:
                    callback(hint)
                except Exception:
                    log.exception("a listener for hints failed; the hint is lost on it")

    async def _tell(self) -> None:
        """Send what has gathered, until nothing has."""
        await asyncio.sleep(0)  # what is told in one go leaves together
        while self._pending:
            pending, self._pending = self._pending, {}
            payloads = [f"{self._token}{kind.value}{keys}" for kind, keys in self._coalesced(pending)]
            try:
                await self._notify(payloads)
            except (StoreError, ValueError) as error:
                log.debug("hints were not sent: %s", error)
            await asyncio.sleep(self._pool.settings.limits.hint_pause)

    async def _notify(self, payloads: list[str]) -> None:
        session = self._session
        if session is not None:
            try:
                await self._call_on_listening(session, self._sql["tell"], self._channel, payloads)
                return
            except Exception:
                session.kill()  # the listener makes another one
        await self._fetch("tell", self._channel, payloads)

    async def _call_on_listening(self, session: Session, sql: str, *args: object) -> None:
        async with self._calling:
            await session.connection.fetch(sql, *args, timeout=self._pool.settings.limits.heartbeat_answer)

    def _coalesced(self, pending: dict[Hint, None]) -> list[tuple[HintKind, str]]:
        told: list[tuple[HintKind, str]] = []
        for kind in HintKind:
            keys = [hint.key for hint in pending if hint.kind == kind]
            if len(keys) > self._pool.settings.limits.hint_most or any(
                len(key.encode(errors="replace")) > _KEY_BYTES for key in keys
            ):
                keys = [ANY_KEY]
            if kind in _OF_RUNS:
                keys = [",".join(keys[n : n + _TOGETHER]) for n in range(0, len(keys), _TOGETHER)]
            told += [(kind, key) for key in keys]
        return told

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        text = str(payload)
        if text.startswith(self._token) or len(text) < 10 or not text[8].isdigit():
            return
        kind = _KINDS.get(int(text[8]))
        if kind is not None:
            keys = text[9:].split(",") if kind in _OF_RUNS else [text[9:]]
            self._tell_here([Hint(kind, key) for key in keys])

    async def _listen(self) -> None:
        """Keep a listening connection, until cancelled."""
        tries = 0
        while True:
            session: Session | None = None
            try:
                session = await self._pool.connect("listen")
                await session.connection.add_listener(self._channel, self._heard)
                tries = 0
                self._session = session
                self.listening.set()
                self._tell_here([Hint(kind, ANY_KEY) for kind in HintKind])
                await self._watch(session)
            except StoreError as error:
                log.debug("not listening for hints: %s", error)
            except Exception as error:
                log.debug("the connection that listens for hints was lost: %s", type(error).__name__)
            finally:
                self.listening.clear()
                self._session = None
                if session is not None:
                    session.kill()
            tries += 1
            await self._pool.back_off(min(tries, 10))

    async def _watch(self, session: Session) -> None:
        """Return, or raise, when the connection is gone: at once when it is closed, within a heartbeat when it is not."""
        limits = self._pool.settings.limits
        gone = asyncio.Event()
        session.connection.add_termination_listener(lambda _connection: gone.set())
        while not gone.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(limits.heartbeat):
                    await gone.wait()
                return
            await self._call_on_listening(session, "select 1")

    async def _stop_hints(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
        if self._teller is not None:
            await asyncio.wait([self._teller], timeout=_LAST_WORDS)
        tasks = [task for task in (self._teller, self._listener) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
