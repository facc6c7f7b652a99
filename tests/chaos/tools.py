"""What some faults need of the machine: clocks that lie, disks that are full or fail, and processes that are told so."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from durable.testing._servers._binaries import find_binaries
from durable.testing._servers._cluster import Cluster
from durable.testing._servers._server import PostgresServer
from tests.chaos.work import Job

DISK_BYTES = 192 << 20
"""Of a disk that becomes full: a fresh server with its log needs some 60 MB of it."""

_FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


class Clock:
    """The wall clock of processes that are started with `environment`; their monotonic clocks stay true."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "clock"
        self.offset = 0.0
        self.environment = {
            "LD_PRELOAD": find_faketime(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.shift(0.0)
        directory.chmod(0o755)

    def shift(self, seconds: float) -> None:
        """Set it ahead, or back."""
        self.offset += seconds
        self._say(f"{self.offset:+f}")

    def freeze(self) -> None:
        """Let it stand still until `shift`."""
        self._say(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() + self.offset)))

    def _say(self, what: str) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(what)
        new.chmod(0o644)
        new.replace(self._file)


def find_faketime() -> str:
    """Where the library is; empty if this machine has none."""
    found = sorted(Path("/").glob(_FAKETIME.lstrip("/"))) if sys.platform == "linux" else []
    return str(found[0]) if found else ""


def no_faketime() -> str:
    """Why clocks cannot be made to lie here."""
    if not find_faketime():
        return "needs libfaketime: apt-get install faketime"
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"],
        env=os.environ | {"LD_PRELOAD": find_faketime(), "FAKETIME": "+1h"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    return "" if told and float(told) > time.time() + 3000 else "libfaketime does nothing here"


def no_strace() -> str:
    """Why calls of the system cannot be made to fail here."""
    program = shutil.which("strace")
    if program is None:
        return "needs strace: apt-get install strace"
    tried = subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True, check=False)
    return "" if tried.returncode == 0 else "strace may not trace processes here"


def no_mount() -> str:
    """Why no small disk can be made here."""
    try:
        with small_disk():
            return ""
    except OSError as error:
        return f"a disk of {DISK_BYTES >> 20} MB cannot be mounted: {error}"


@contextmanager
def small_disk() -> Iterator[Path]:
    """A disk of few bytes, for its yielded directory; gone afterwards."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    directory = Path(tempfile.mkdtemp(prefix="durable-disk-"))
    directory.chmod(0o755)
    try:
        if libc.mount(b"tmpfs", bytes(directory), b"tmpfs", 0, f"size={DISK_BYTES},mode=755".encode()):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        try:
            yield directory
        finally:
            libc.umount2(bytes(directory), 2)  # MNT_DETACH
    finally:
        directory.rmdir()


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """While the block lasts there is no byte free."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def own_server(
    *, environment: dict[str, str] | None = None, directory: Path | None = None
) -> Iterator[PostgresServer]:
    """A server for one fault, that commits to its disk."""
    binaries = find_binaries(None)
    cluster = Cluster(binaries, durable_settings=True, environment=environment or {}, directory=directory)
    try:
        cluster.start()
        with PostgresServer(binaries.kind, cluster.url("postgres"), binaries, cluster) as server:
            yield server
    finally:
        cluster.remove()


class Program:
    """A worker that is a program of its own, with an environment of its own; as far as a `Process` is asked for here."""

    def __init__(self, job: Job) -> None:
        command = [sys.executable, "-m", "tests.chaos.work", msgspec.json.encode(job).decode()]
        self._process = subprocess.Popen(command, env=os.environ | job.environment, start_new_session=True)
        self.pid = self._process.pid

    @property
    def exitcode(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def join(self, timeout: float) -> None:
        """Wait for its end."""
        self._process.wait(timeout)


def fail_syncs(pid: int, seconds: float) -> None:
    """Have every `fdatasync` of a process and of those it starts, or has started, fail with EIO for a while."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    command = ["strace", "-qq", "-o", "/dev/null", "-f", "-e", "trace=fdatasync,fsync"]
    command += ["-e", "inject=fdatasync,fsync:error=EIO"]
    for one in (str(pid), *children):
        command += ["-p", one]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        tracer.wait(seconds)
    except subprocess.TimeoutExpired:
        tracer.terminate()
        tracer.wait(10)
