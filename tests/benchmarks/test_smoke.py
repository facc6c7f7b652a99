"""The benchmarks run, and say where their figures come from. What the figures are is nobody's business here."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks._rows import ROWS

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    """What the smallest run prints; in a process of its own, since benchmarks fill the registries of definitions."""
    code = "import json; from benchmarks.smoke import smoke; print(json.dumps(smoke()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_says_what_was_measured_where(printed: dict[str, Any]) -> None:
    environment = printed["environment"]
    assert environment["machine"]["cores"] >= 1
    assert environment["machine"]["memory_bytes"] > 0
    assert environment["machine"]["cpu"]
    assert environment["python"].split()[1] == sys.version.split()[0]
    assert {"time", "revision", "modified", "packages"} <= environment.keys()
    assert environment["databases"]["sqlite"]["version"] == sqlite3.sqlite_version
    assert {"version", "fsync", "synchronous_commit"} <= environment["databases"]["postgresql"].keys()


def test_every_benchmark_gives_figures(printed: dict[str, Any]) -> None:
    assert set(printed["benchmarks"]) == {
        "callers",
        "compare",
        "costs",
        "curves",
        "fleet",
        "gather",
        "guard",
        "halfload",
        "idle",
        "imports",
        "jobs",
        "lists",
        "loop",
        "memory",
        "noop",
        "older",
        "plans",
        "processes",
        "profile",
        "replay",
        "retention",
        "scale",
        "spread",
        "steps",
        "transactions",
        "variants",
    }
    for kind in ("sqlite", "postgresql"):
        for load in ("1 at once", "50 at once", "500 at once"):
            steps = printed["benchmarks"]["steps"][kind][load]
            for measured in (steps["durable"], steps["floor"]):
                assert measured["rate"]["best"] > 0
                assert measured["step p50"]["unit"] == "ms"
            share = steps["share of the floor"]
            assert len(share["samples"]) == printed["repeats"]
            assert {"unit", "best", "median", "spread"} <= share.keys()


def test_every_figure_that_the_table_asks_for_is_there(printed: dict[str, Any]) -> None:
    # A peer that is not installed here leaves none, and is named instead.
    named = {peer for one in printed["benchmarks"].values() for peer in one.get("missing", {})}
    for row in ROWS:
        for target in row.targets:
            found: Any = printed["benchmarks"][target.benchmark]
            for name in target.path:
                if name not in found:
                    assert any(peer in name for peer in named), f"{row.what}, {target.label}: no {name!r}"
                    break
                found = found[name]
            else:
                assert {"median", "spread"} <= found.keys(), target


def test_an_unknown_benchmark_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "stepz"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "no benchmark 'stepz'" in done.stderr
