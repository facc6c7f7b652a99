"""Many seeds on all processors, or one plan again: `python -m durable.testing.simulation`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from durable.testing.simulation._making import make_plan
from durable.testing.simulation._plan import Plan, read_plan
from durable.testing.simulation._run import Report, simulate
from durable.testing.simulation._shrink import shrink

ABOUT = "Simulate workers, clients, a network and a database: many seeds, or some plans again."

AGAIN = "python -m durable.testing.simulation"

AT_ONCE = 20
"""Seeds that one process takes before another look at who is idle."""


def main(arguments: list[str] | None = None) -> int:
    """Run what is asked for, and return an exit code: 1 when something went wrong."""
    parser = argparse.ArgumentParser(prog="python -m durable.testing.simulation", description=ABOUT)
    parser.add_argument(
        "plans", nargs="*", metavar="PLAN", help="a seed, or a file with a plan: run it and show its trace"
    )
    parser.add_argument(
        "--seeds", type=int, default=300, help="how many seeds, when no plan is named (%(default)s)"
    )
    parser.add_argument("--first", type=int, default=0, help="the first of them (%(default)s)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (as many as processors)"
    )
    parser.add_argument(
        "--failures",
        type=Path,
        default=Path("build/failures"),
        help="where plans that fail are kept, and run before all others (%(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.plans:
        return max(_show(name) for name in options.plans)
    return _campaign(options.first, options.seeds, options.jobs, options.failures)


def _show(name: str) -> int:
    plan = make_plan(int(name)) if name.isdigit() else read_plan(Path(name).read_bytes())
    report = simulate(plan, keep=True)
    sys.stdout.write(plan.to_json().decode())
    sys.stdout.writelines(f"{line}\n" for line in (*report.trace, *(report.problems or ["nothing is wrong"])))
    return 1 if report.problems else 0


def _campaign(first: int, count: int, jobs: int, failures: Path) -> int:
    began, done, failed = time.monotonic(), 0, 0
    for file in sorted(failures.glob("*.json")):
        done += 1
        if problems := simulate(read_plan(file.read_bytes())).problems:
            failed += 1
            sys.stdout.write(f"still: {'; '.join(problems[:3])}\n  again: {AGAIN} {file}\n")
    parts = [
        range(start, min(start + AT_ONCE, first + count)) for start in range(first, first + count, AT_ONCE)
    ]
    for seeds, wrong in map(_run, parts) if jobs == 1 else _in_processes(parts, jobs):
        done += seeds
        failed += len(wrong)
        for report in wrong:
            _tell(report, failures)
    took = time.monotonic() - began
    sys.stdout.write(f"{done} simulations, {failed} failed, {took:.0f} s ({done / took:.1f} per second)\n")
    return 1 if failed else 0


def _in_processes(parts: list[range], jobs: int) -> Iterator[tuple[int, list[Report]]]:
    with ProcessPoolExecutor(jobs) as pool:
        for finished in as_completed([pool.submit(_run, part) for part in parts]):
            yield finished.result()


def _run(seeds: range) -> tuple[int, list[Report]]:
    return len(seeds), list(_wrong(seeds))


def _wrong(seeds: range) -> Iterator[Report]:
    for seed in seeds:
        report = simulate(seed)
        if report.problems:
            yield report


def _tell(report: Report, failures: Path) -> None:
    small: Plan = shrink(report.plan)
    failures.mkdir(parents=True, exist_ok=True)
    file = failures / f"{report.plan.seed}.json"
    file.write_bytes(small.to_json())
    sys.stdout.write(f"seed {report.plan.seed}: {'; '.join(report.problems[:3])}\n")
    sys.stdout.write(f"  again: {AGAIN} {report.plan.seed}\n  smaller: {AGAIN} {file}\n")
    sys.stdout.flush()
