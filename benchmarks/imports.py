"""`import durable` in a fresh interpreter with its bytecode there, as it is where the package is installed.

The processor's time, of which a busy machine takes less away than of the wall's, beside that of `import asyncio`, which every program of this kind
pays already. The package loads its modules when they are asked for, so those that define workflows and activities are measured too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from benchmarks._bench import Bench
from benchmarks._environment import ROOT
from benchmarks._figures import Figures, figure

TIMES = 15
LEFT_ALONE = ("asyncpg", "croniter", "sqlite3")
"""What is loaded when it is needed."""

STATEMENTS = {
    "durable": "import durable",
    "durable.workflow and durable.activity": "from durable import activity, workflow",
    "asyncio": "import asyncio",
}

PROGRAM = """
import json, sys, time
started = time.process_time()
{statement}
spent = time.process_time() - started
print(json.dumps([spent, sorted(set(sys.modules) & {watched!r})]))
"""


def run(bench: Bench) -> Figures:
    """Measure the imports in turn."""
    times = bench.amount(TIMES, least=2)
    found: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    loaded: set[str] = set()
    with tempfile.TemporaryDirectory(prefix="durable-bench-") as bytecode:
        for statement in STATEMENTS.values():
            _import(statement, bytecode)
        for _ in range(times):
            for name, spent in found.items():
                seconds, watched = _import(STATEMENTS[name], bytecode)
                spent.append(seconds * 1000)
                loaded |= {*watched}
    assert not loaded, f"import durable loads {', '.join(sorted(loaded))}"
    return {f"import {name}": figure(spent, "ms", lower_is_better=True) for name, spent in found.items()} | {
        f"import {name}, in imports of asyncio": figure(
            [mine / its for mine, its in zip(found[name], found["asyncio"], strict=True)],
            "times",
            lower_is_better=True,
        )
        for name in STATEMENTS
        if name != "asyncio"
    }


def _import(statement: str, bytecode: str) -> tuple[float, list[str]]:
    program = PROGRAM.format(statement=statement, watched=set(LEFT_ALONE))
    settings = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": bytecode}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, watched = json.loads(done.stdout)
    return seconds, watched
