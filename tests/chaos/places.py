"""Where a fault happens: on the server that all faults share, or on one of its own, and with which clocks and disks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from durable.testing._servers._server import PostgresServer
from tests.chaos.tools import Clock, no_faketime, no_mount, no_strace, own_server, small_disk


class Ground(Struct, frozen=True):
    """What a place is made of.

    Attributes:
        clock: That of the workers, or of the server.
        environment: Variables that workers are started with, as programs of their own.
        disk: What the server's data are on, when that may become full.
    """

    server: PostgresServer
    clock: Clock | None = None
    environment: dict[str, str] = {}
    disk: Path | None = None


class Place(NamedTuple):
    """A kind of place: how it is made, given the shared server and a directory, and why it cannot be made here."""

    make: Callable[[PostgresServer, Path], AbstractContextManager[Ground]]
    missing: Callable[[], str] = lambda: ""


@contextmanager
def _shared(server: PostgresServer, directory: Path) -> Iterator[Ground]:
    yield Ground(server)


@contextmanager
def _worker_clocks(server: PostgresServer, directory: Path) -> Iterator[Ground]:
    clock = Clock(directory)
    yield Ground(server, clock, clock.environment)


@contextmanager
def _server_clock(server: PostgresServer, directory: Path) -> Iterator[Ground]:
    clock = Clock(directory)
    with own_server(environment=clock.environment) as own:
        yield Ground(own, clock)


@contextmanager
def _small_disk(server: PostgresServer, directory: Path) -> Iterator[Ground]:
    with small_disk() as disk, own_server(directory=disk) as own:
        yield Ground(own, disk=disk)


@contextmanager
def _disk(server: PostgresServer, directory: Path) -> Iterator[Ground]:
    with own_server() as own:
        yield Ground(own)


SHARED = Place(_shared)
WORKER_CLOCKS = Place(_worker_clocks, no_faketime)
SERVER_CLOCK = Place(_server_clock, no_faketime)
SMALL_DISK = Place(_small_disk, no_mount)
DISK = Place(_disk, no_strace)
