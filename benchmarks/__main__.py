"""`python -m benchmarks [NAME ...] [--url URL ...] [--quick]`: measure, and print JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import callers, gather, guard, loop, noop, replay, steps, transactions
from benchmarks._bench import Bench
from benchmarks._databases import databases
from benchmarks._environment import environment, postgres_settings, sqlite_settings
from benchmarks._figures import Figures

BENCHMARKS: dict[str, Callable[[Bench], Figures]] = {
    "steps": steps.run,
    "noop": noop.run,
    "transactions": transactions.run,
    "callers": callers.run,
    "gather": gather.run,
    "guard": guard.run,
    "replay": replay.run,
    "loop": loop.run,
}

QUICK = 0.2
"""The share of the work that `--quick` does."""


def measure(names: Sequence[str], urls: Sequence[str], *, scale: float, repeats: int) -> Figures:
    """Run benchmarks and return all that is printed.

    Args:
        names: Which; all of them, if none are given.
        urls: On which databases; a file and a server of our own, if none are given.
        scale: The share of the full amount of work.
        repeats: How often each figure is measured.
    """
    found: Figures = {"environment": environment()}
    with databases(urls) as on:
        found["environment"]["databases"] = {
            kind: asyncio.run(postgres_settings(url)) if kind == "postgresql" else sqlite_settings()
            for kind, url in on.items()
        }
        bench = Bench(on, scale, repeats)
        found["scale"], found["repeats"] = scale, repeats
        found["benchmarks"] = {}
        for name in names or BENCHMARKS:
            started = time.perf_counter()
            print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
            found["benchmarks"][name] = BENCHMARKS[name](bench)
            print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and print JSON.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"which of {', '.join(BENCHMARKS)}; all by default"
    )
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        help="a database to measure on, once for each kind; by default a new SQLite file and a PostgreSQL server of our own",
    )
    parser.add_argument("--quick", action="store_true", help="a fifth of the work, each figure once")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    scale, repeats = (QUICK, 1) if options.quick else (1.0, 3)
    print(json.dumps(measure(options.names, options.url, scale=scale, repeats=repeats), indent=2))


if __name__ == "__main__":
    main()
