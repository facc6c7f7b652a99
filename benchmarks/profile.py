"""Where the time of a worker goes at full load: the ten steps of `steps`, 500 at once, under cProfile.

Client, worker and workflows share the process, as in `steps`. The profiler makes Python's own calls several times dearer and C's hardly, so it shows
what is called how often, not what a step costs; waiting for the database is an entry like any other.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
from pathlib import Path

from benchmarks import steps
from benchmarks._bench import Bench
from benchmarks._databases import is_postgres
from benchmarks._environment import ROOT
from benchmarks._figures import Figures, short

RUNS = 3000
AT_ONCE = 500
ENTRIES = 25


def run(bench: Bench) -> Figures:
    """Profile one run on one database: PostgreSQL, where there is one."""
    url = max(bench.urls.values(), key=is_postgres)
    runs = bench.amount(RUNS, least=20)
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        asyncio.run(steps.measure(url, runs, AT_ONCE))
    finally:
        profiler.disable()
    stats = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    done = runs * steps.STEPS
    heaviest = sorted(stats.items(), key=lambda item: item[1][2], reverse=True)[:ENTRIES]
    return {
        "steps": done,
        "seconds": short(total),
        "entries": [
            {
                "function": _name(*where),
                "own share": short(own / total),
                "calls per step": short(calls / done),
                "own us per step": short(own / done * 1e6),
            }
            for where, (_, calls, own, _, _) in heaviest
        ],
    }


def _name(file: str, line: int, function: str) -> str:
    """A name that stays when lines move and on other machines."""
    if file == "~":
        return function.strip("<>")
    if file.startswith("<"):
        return f"{file.strip('<>')}:{function}"
    path = Path(file)
    if path.is_relative_to(ROOT / "durable"):
        return f"{path.relative_to(ROOT)}:{function}"
    return f"{path.parent.name}/{path.name}:{function}"
