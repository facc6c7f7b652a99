"""PgBouncer in transaction mode before a test server: `DURABLE_TEST_POOLER=pgbouncer` puts it there for every test.

It has two server connections for each database, so that what stays in a session meets somebody else's at once.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

POOL_SIZE = 2
START_SECONDS = 60.0
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")

_CONFIG = """
[databases]
* = host={host} port={port} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 1000
server_lifetime = 30
ignore_startup_parameters = extra_float_digits
"""


def find_pgbouncer() -> str | None:
    """Where it is, None if this machine has none."""
    return shutil.which("pgbouncer", path=os.pathsep.join((os.environ.get("PATH", ""), *_PLACES)))


_behind: dict[str, str] = {}
"""The URLs of databases, by those that lead to them through a pooler."""


def direct(url: str) -> str:
    """The URL that leads past a pooler, if there is one: for connections that are not the library's."""
    return _behind.get(url, url)


class Pooler:
    """A PgBouncer of our own before a server."""

    def __init__(self, server_url: str, *, pool_size: int = POOL_SIZE) -> None:
        """Start it.

        Raises:
            RuntimeError: There is none, or it does not start.
        """
        program = find_pgbouncer()
        if program is None:
            raise RuntimeError("no pgbouncer is installed here: apt-get install pgbouncer")
        server = urlsplit(server_url)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.directory = Path(tempfile.mkdtemp(prefix="durable-pooler-"))
        config = self.directory / "pgbouncer.ini"
        config.write_text(
            _CONFIG.format(
                host=server.hostname,
                port=server.port or 5432,
                user=server.username,
                password=server.password or "",
                own=self.port,
                size=pool_size,
            )
        )
        account = None
        if os.geteuid() == 0:
            # It does not run as root.
            account = next(name for name in ("postgres", "nobody") if _known(name))
            for path in (self.directory, config):
                shutil.chown(path, account)
        self._log = self.directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [program, "-q", str(config)], stdout=log, stderr=log, user=account, start_new_session=True
            )
        self._await_it()

    def _await_it(self) -> None:
        end = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self._process.poll() is not None or time.monotonic() > end:
                told = self._log.read_text(errors="replace")
                self.close()
                raise RuntimeError(f"pgbouncer did not start; its log:\n{told}")
            time.sleep(0.02)

    def url(self, database_url: str) -> str:
        """The URL of a database of the server, through here."""
        parts = urlsplit(database_url)
        user = parts.netloc.rpartition("@")[0]
        query = "&".join(filter(None, (parts.query, "pooler=transaction")))
        pooled = urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{self.port}", query=query))
        _behind[pooled] = database_url
        return pooled

    def close(self) -> None:
        """Stop it; again does nothing."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def _known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


if __name__ == "__main__":
    print(find_pgbouncer() or "")
    sys.exit(find_pgbouncer() is None)
