"""One connection to the server, checked when it is made.

Nothing is kept in a session: no settings, no advisory locks, no open transactions between calls. A call is one statement,
which is its own transaction. Behind a pooler that gives out another server connection for each transaction, even the two
halves of a call, naming the types and sending the values, could meet different servers; there each call is wrapped in a
transaction and no statement is kept prepared.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import asyncpg
from msgspec import Struct

from durable.exceptions import StoreConfigurationError, StoreUnavailableError
from durable.store.postgres._errors import Meaning, meaning, translate
from durable.store.postgres._settings import Settings

Row = asyncpg.Record

OLDEST_VERSION = 14
"""The oldest PostgreSQL that is supported: the oldest its makers support, and the first to end a session and wait."""

_BEGIN = "begin isolation level read committed"
_LOOK = """
select current_setting('server_version_num')::integer as version, pg_is_in_recovery() as replica,
    current_setting('default_transaction_read_only') = 'on' as read_only,
    current_setting('default_transaction_isolation') as isolation, current_setting('server_encoding') as encoding,
    current_setting('fsync') as fsync, current_setting('synchronous_commit') as synchronous_commit,
    current_setting('full_page_writes') as full_page_writes,
    current_setting('application_name') as name, pg_backend_pid() as pid, (select backend_start from pg_stat_activity where pid = pg_backend_pid()) as started
"""


class NobodyThere(StoreUnavailableError):
    """Nobody takes connections at the address, says the operating system; within the adapter only."""


class Backend(Struct, frozen=True):
    """Who serves a session: a process id and when it began, which together never come again, under a name of its own.

    Behind a pooler it is a transaction's id instead, since the process serves others too. A pooler that was not told of
    gives the process another name together with the next client.
    """

    pid: int
    started: datetime | None
    name: str = ""
    transaction: int | None = None


class Session:
    """A connection that calls can be made on, one at a time."""

    def __init__(self, connection: asyncpg.Connection[Row], settings: Settings, look: Row) -> None:
        self.connection = connection
        self.look = look
        self.backend = Backend(look["pid"], look["started"], look["name"])
        self._settings = settings
        self._began: float | None = None  # when the call of `fetch_often` began that is under way
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = False

    @property
    def closed(self) -> bool:
        """Whether the connection is known to be gone."""
        return self.connection.is_closed()

    async def fetch(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        """Make a call: one statement, one transaction."""
        timeout = self._settings.limits.statement
        if not self._settings.pooler:
            return await self.connection.fetch(sql, *args, timeout=timeout)
        await self.begin()
        rows = await self.fetch_inside(sql, args)
        await self.end("commit")
        return rows

    async def fetch_often(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        """Make a call as `fetch` does, one of many that follow each other: a timer for each would cost as much as the call.

        One timer looks after all of them, and a call that takes too long costs the session: the server goes on with it.
        """
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(self._settings.limits.statement, self._look, loop)
        try:
            return await self.connection.fetch(sql, *args)
        except Exception as error:
            if self._overdue:
                raise TimeoutError from error
            raise
        finally:
            self._began = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._began is None:
            return
        left = self._began + self._settings.limits.statement - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look, loop)
        else:
            self._overdue = True
            self.kill()

    async def begin(self, and_then: str = "") -> None:
        """Open a transaction at READ COMMITTED, whatever the role's default is."""
        await self.connection.execute(f"{_BEGIN}; {and_then}", timeout=self._settings.limits.statement)

    async def fetch_inside(self, sql: str, args: Sequence[Any] = ()) -> list[Row]:
        """Run a statement in the open transaction; an error rolls it back."""
        try:
            return await self.connection.fetch(sql, *args, timeout=self._settings.limits.statement)
        except Exception as error:
            if meaning(error) not in (Meaning.UNAVAILABLE, Meaning.BUG):
                await self.end("rollback")
            raise

    async def end(self, how: str) -> None:
        """Commit or roll back."""
        await self.connection.execute(how, timeout=self._settings.limits.statement)

    @property
    def in_plain_text(self) -> bool:
        """Whether what is said goes to another machine without TLS, which the URL does not ask for."""
        transport = getattr(self.connection, "_transport", None)
        if transport is None or transport.get_extra_info("ssl_object") is not None:
            return False
        peer: Any = transport.get_extra_info("peername")
        if not peer or isinstance(peer, str | bytes):
            return False  # a socket of this machine
        named = dict(parse_qsl(urlsplit(self._settings.dsn).query)).get("sslmode")
        return named != "disable" and not is_local(str(peer[0]))

    def kill(self) -> None:
        """Cut the connection, now, whatever is under way on it."""
        self._forget_timer()
        with suppress(Exception):  # it may be gone, or its loop may be
            self.connection.terminate()

    async def aclose(self) -> None:
        """Close the connection in a friendly way, or else cut it."""
        self._forget_timer()
        try:
            await self.connection.close(timeout=1.0)
        except Exception:
            self.kill()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def is_local(address: str) -> bool:
    """Whether an address is this machine's own."""
    return ip_address(address.partition("%")[0]).is_loopback


async def connect(settings: Settings, role: str, *, first: bool = False, lent: bool = False) -> Session:
    """Connect once, and check that the server is one to write to.

    Args:
        settings: Where to.
        role: What the connection is for; people see it in `pg_stat_activity`.
        first: Whether the store is being opened: then a replica is a mistake in the URL, later it is a failover.
        lent: Whether code of the application runs on it: then nothing can be written outside of the transactions that are
            begun for it.

    Raises:
        NobodyThere: No server, host or socket is at the address: it is being restarted, or the address is wrong.
        StoreUnavailableError: There is a replica, or a server that is starting; it may be better later.
        StoreConfigurationError: It will not be better later; the text says what to change.
    """
    limits = settings.limits
    server = {"application_name": f"durable {role} {secrets.token_hex(4)}"}
    if not settings.pooler:
        if not lent:  # all that we say is qualified, and what a role's own path leads to shall not stand for what we mean
            server["search_path"] = "pg_catalog"
        server["default_transaction_isolation"] = "read committed"
        idle = limits.transaction_idle if lent else limits.idle_in_transaction
        server["idle_in_transaction_session_timeout"] = str(round(idle * 1000))
        if lent:
            server["default_transaction_read_only"] = "on"
    connection: asyncpg.Connection[Row] | None = None
    try:
        connection = await asyncpg.connect(
            settings.dsn,
            timeout=limits.connect,
            statement_cache_size=0 if settings.pooler else 100,
            max_cached_statement_lifetime=0,
            server_settings=server,
        )
        session = Session(connection, settings, (await _look(connection, settings)))
        _check(session.look, settings, first=first, read_only="default_transaction_read_only" in server)
    except BaseException as error:
        if connection is not None:
            connection.terminate()
        if isinstance(error, StoreUnavailableError | StoreConfigurationError) or not isinstance(
            error, Exception
        ):
            raise
        if isinstance(error, ValueError) and not isinstance(error, asyncpg.PostgresError | OSError):
            # The driver found something in the URL; its own text may quote all of it.
            raise StoreConfigurationError(settings.strike_out(f"{settings.shown}: {error}")) from None
        if connection is None and isinstance(error, OSError) and not isinstance(error, TimeoutError):
            raise NobodyThere(
                settings.strike_out(
                    f"nobody takes connections at {settings.address} ({error}), where {settings.shown} leads; "
                    "start the server, or correct host and port in the URL"
                )
            ) from None
        raise translate_for(settings, error) from None
    return session


def translate_for(settings: Settings, error: Exception) -> Exception:
    """The library's error for one of the driver's, without a password and without the driver's as its cause."""
    ours = translate(error, settings.shown)
    return type(ours)(settings.strike_out(str(ours)))


async def _look(connection: asyncpg.Connection[Row], settings: Settings) -> Row:
    if settings.pooler:
        await connection.execute(_BEGIN)
    row = await connection.fetchrow(_LOOK, timeout=settings.limits.connect)
    if settings.pooler:
        await connection.execute("commit")
    assert row is not None
    return row


def _check(look: Row, settings: Settings, *, first: bool, read_only: bool) -> None:
    if look["version"] < OLDEST_VERSION * 10000:
        raise StoreConfigurationError(
            f"{settings.shown} is PostgreSQL {look['version'] // 10000}; durable needs {OLDEST_VERSION} or newer"
        )
    if look["encoding"] != "UTF8":
        raise StoreConfigurationError(
            f"{settings.shown} has the encoding {look['encoding']}; durable needs UTF8"
        )
    if look["replica"]:
        told = f"{settings.shown} is a replica; durable needs the primary"
        raise StoreConfigurationError(told) if first else StoreUnavailableError(told)
    if look["read_only"] and not read_only:
        raise StoreConfigurationError(
            f"{settings.shown} is read-only for this role (default_transaction_read_only); durable needs to write"
        )
