"""`make chaos`: every fault, or some, told in a table and as JSON.

python -m tests.chaos                                  # each fault, some orders
python -m tests.chaos --seconds 60                     # as many faults as begin within a minute
python -m tests.chaos --only F3 --orders 10000 --times 2000
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from durable.testing._servers._server import PostgresServer
from tests.chaos.faults import FAULTS
from tests.chaos.lane import Size, Verdict, scenario

REPORT = Path("build/chaos.json")


async def _run(options: argparse.Namespace, server: PostgresServer, missing: dict[str, str]) -> list[Verdict]:
    size = Size(options.orders, options.workers, options.times, options.lease, options.outage)
    end = time.monotonic() + (options.seconds or float("inf"))
    found: list[Verdict] = []
    with tempfile.TemporaryDirectory(prefix="durable-chaos-") as directory:
        for name in _chosen(options):
            if time.monotonic() > end:
                break
            if reason := FAULTS[name].place.missing():
                missing[name] = reason
                continue
            one = await scenario(FAULTS[name], server, Path(directory), size)
            found.append(one)
            print(_line(one), flush=True)
            for wrong in one.wrong[:10]:
                print(f"      {wrong}")
    return found


def _chosen(options: argparse.Namespace) -> list[str]:
    """The faults that are asked for; a run that will not come to all begins with another one every day."""
    if options.only:
        return list(options.only)
    names = list(FAULTS)
    first = dt.datetime.now(dt.UTC).toordinal() * 7 % len(names) if options.seconds else 0
    return names[first:] + names[:first]


def _line(one: Verdict) -> str:
    return (
        f"{'ok  ' if one.good else 'FAIL'} {one.fault:5} {one.scenario[:60]:60} x{one.injected:<4} {one.orders:6} orders, "
        f"lost {one.lost}, doubled {one.doubled}, repeated {one.repeated} (unexplained {one.unexplained}), "
        f"invariants broken {len(one.wrong)}, {one.seconds} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=list(FAULTS), metavar="FAULT", help=f"some of {', '.join(FAULTS)}"
    )
    usual = Size()
    parser.add_argument(
        "--orders", type=int, default=usual.orders, help=f"workflows for each fault ({usual.orders})"
    )
    parser.add_argument(
        "--workers", type=int, default=usual.workers, help=f"worker processes ({usual.workers})"
    )
    parser.add_argument(
        "--times", type=int, default=usual.times, help=f"how often each fault is done ({usual.times})"
    )
    parser.add_argument(
        "--lease",
        type=float,
        default=usual.lease,
        help=f"seconds of a worker's lease ({usual.lease}; more on a busy machine, where workers miss short ones)",
    )
    parser.add_argument(
        "--outage",
        type=float,
        default=usual.outage,
        help=f"seconds for which the server is down in F12 ({usual.outage})",
    )
    parser.add_argument("--seconds", type=float, help="begin no fault behind this")
    options = parser.parse_args()
    with PostgresServer.open(
        kind=None if os.environ.get("DURABLE_TEST_POSTGRES_KIND") != "url" else "wheel"
    ) as server:
        print(f"chaos on {server.description}, {options.workers} workers, lease {options.lease} s")
        missing: dict[str, str] = {}
        found = asyncio.run(_run(options, server, missing))
        version = server.description
    left = [
        name for name in _chosen(options) if name not in missing and name not in {one.fault for one in found}
    ]
    REPORT.parent.mkdir(exist_ok=True)
    report = {
        "python": platform.python_version(),
        "postgres": version,
        "options": vars(options),
        "verdicts": [msgspec.to_builtins(one) | {"good": one.good} for one in found],
        "left": left,
        "missing": missing,
    }
    REPORT.write_text(json.dumps(report, indent=1) + "\n")
    bad = [one.fault for one in found if not one.good]
    print(f"{len(found)} faults, {len(bad)} bad{': ' + ', '.join(bad) if bad else ''}; written to {REPORT}")
    if left:
        print(f"left for another run: {', '.join(left)}")
    for name, reason in missing.items():
        print(f"not done: {name} {reason}")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
