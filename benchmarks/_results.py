"""Results that are kept: one file for each benchmark, with where and how it was measured."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from benchmarks import floor
from benchmarks._bench import Bench
from benchmarks._databases import is_postgres
from benchmarks._environment import ROOT
from benchmarks._figures import Figures, short

RESULTS = ROOT / "benchmarks" / "results"

FLOOR_LOADS = ((1, 150), (500, 3000))


def floor_now(bench: Bench) -> Figures:
    """Return the floor's steps/s on the database that bounds are for, by which they are scaled."""
    url = max(bench.urls.values(), key=is_postgres)
    rates: Figures = {}
    for concurrency, full in FLOOR_LOADS:
        runs = bench.amount(full, least=min(concurrency, 20))
        elapsed, _, _ = asyncio.run(floor.measure(url, runs, 10, concurrency))
        rates[f"{concurrency} at once"] = short(runs * 10 / elapsed)
    return rates


def write(name: str, result: Figures) -> None:
    """Keep what one benchmark has found."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def read() -> dict[str, Any]:
    """Return what is kept, by benchmark."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}
