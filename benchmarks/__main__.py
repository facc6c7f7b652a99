"""`python -m benchmarks [NAME ...] [--url URL ...] [--quick] [--keep]`: measure, and print JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks import (
    callers,
    compare,
    costs,
    curves,
    fleet,
    gather,
    guard,
    halfload,
    idle,
    imports,
    jobs,
    lists,
    loop,
    memory,
    noop,
    older,
    plans,
    processes,
    profile,
    replay,
    retention,
    scale,
    spread,
    steps,
    transactions,
    variants,
)
from benchmarks._bench import Bench
from benchmarks._databases import databases
from benchmarks._environment import environment, postgres_settings, sqlite_settings
from benchmarks._figures import Figures
from benchmarks._results import floor_now, write

BENCHMARKS: dict[str, Callable[[Bench], Figures]] = {
    "steps": steps.run,
    "compare": compare.run,
    "costs": costs.run,
    "variants": variants.run,
    "curves": curves.run,
    "noop": noop.run,
    "processes": processes.run,
    "fleet": fleet.run,
    "halfload": halfload.run,
    "older": older.run,
    "plans": plans.run,
    "transactions": transactions.run,
    "callers": callers.run,
    "gather": gather.run,
    "spread": spread.run,
    "jobs": jobs.run,
    "lists": lists.run,
    "guard": guard.run,
    "replay": replay.run,
    "retention": retention.run,
    "memory": memory.run,
    "imports": imports.run,
    "idle": idle.run,
    "scale": scale.run,
    "profile": profile.run,
    "loop": loop.run,
}

QUICK = 0.2
"""The share of the work that `--quick` does."""


def measure(
    names: Sequence[str], urls: Sequence[str], *, scale: float, repeats: int, keep: bool = False
) -> Figures:
    """Run benchmarks and return all that is printed.

    Args:
        names: Which; all of them, if none are given.
        urls: On which databases; a file and a server of our own, if none are given.
        scale: The share of the full amount of work.
        repeats: How often each figure is measured.
        keep: Whether what each benchmark finds is written to `benchmarks/results`, as soon as it has.
    """
    found: Figures = {"environment": environment()}
    with databases(urls) as on:
        found["environment"]["databases"] = {
            kind: asyncio.run(postgres_settings(url)) if kind == "postgresql" else sqlite_settings()
            for kind, url in on.items()
        }
        bench = Bench(on, scale, repeats)
        found["scale"], found["repeats"] = scale, repeats
        about = dict(found)
        found["benchmarks"] = {}
        for name in names or BENCHMARKS:
            started = time.perf_counter()
            print(f"{name} ...", file=sys.stderr, end=" ", flush=True)
            found["benchmarks"][name] = BENCHMARKS[name](bench)
            if keep:
                write(name, {**about, "floor": floor_now(bench), "figures": found["benchmarks"][name]})
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
    parser.add_argument(
        "--keep",
        action="store_true",
        help="write what is found to benchmarks/results, for `python -m benchmarks.report`",
    )
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHMARKS)):
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    scale, repeats = (QUICK, 1) if options.quick else (1.0, 3)
    print(
        json.dumps(
            measure(options.names, options.url, scale=scale, repeats=repeats, keep=options.keep), indent=2
        )
    )


if __name__ == "__main__":
    main()
