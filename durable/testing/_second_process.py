"""A history replayed in other processes, whose strings hash otherwise: what a set's order decides comes out differently there.

This module is also what those processes run: it reads what to replay from its input, and says on its output why it did not.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

from durable.exceptions import NondeterminismError
from durable.testing._histories import History
from durable.workflow._definition import WorkflowDefinition
from durable.workflow._workflow import Workflow

PROCESSES = 4
"""How many, by default. Two strings in a set are in the same order in all of them once in 16 times, three far less often."""

DIFFERS = 7
"""What such a process exits with when a history does not replay, as the commands do."""

PATIENCE = 120
"""Seconds for one of them."""


def replay_in_second_process(
    history: History, workflow: Workflow[Any, ..., Any] | type, /, *, processes: int = PROCESSES
) -> None:
    """Replay a history in fresh processes, each with another `PYTHONHASHSEED`.

    An order that comes from a `set` of strings is another one there, and so is `hash("...")`. In the process that recorded
    the history neither shows. An argument of an activity that comes out otherwise counts.

    Args:
        history: The history, such as `durable_env.history("o-1")`.
        workflow: The workflow, defined at the top of a module.
        processes: How many.

    Raises:
        NondeterminismError: In one of them the code asks for something else than is recorded.
        TypeError: It is no workflow.
        ValueError: Another process cannot import it.
        RuntimeError: One of them has failed otherwise.
    """
    definition = getattr(workflow, "definition", None) or getattr(
        getattr(workflow, "run", None), "definition", None
    )
    if not isinstance(definition, WorkflowDefinition):
        raise TypeError(f"replay_in_second_process takes a workflow, not {workflow!r}")
    module = sys.modules.get(definition.module)
    file = getattr(module, "__file__", None)
    if "<locals>" in definition.qualname or file is None or definition.module == "__main__":
        raise ValueError(
            f"workflow {definition.name!r} is defined where no other process finds it: define it at the top of a module"
        )
    told = json.dumps(
        {
            "path": sys.path,
            "module": definition.module,
            "file": file,
            "history": history.recorded.to_json(),
            "id": history.recorded.workflow_id,
        }
    )
    running = [(seed, _start(seed)) for seed in range(1, processes + 1)]
    try:
        for seed, process in running:
            said, failed = process.communicate(told, timeout=PATIENCE)
            if process.returncode == DIFFERS:
                raise NondeterminismError(f"with PYTHONHASHSEED={seed}: {said}")
            if process.returncode != 0:
                raise RuntimeError(f"a process that should replay a history has failed:\n{failed}")
    finally:
        for _, process in running:
            process.kill()
            process.communicate()


def _start(seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def main() -> None:
    """Replay what the input says."""
    told: dict[str, Any] = json.loads(sys.stdin.buffer.read().decode())
    sys.path[:] = told["path"]
    _load(told["module"], told["file"])
    # Not by this module's own name, which is `__main__` here.
    histories = importlib.import_module("durable.testing")
    recorded = importlib.import_module("durable.client").WorkflowHistory.from_json(
        told["id"], told["history"]
    )
    try:
        histories.History(recorded).replay(strict=True)
    except NondeterminismError as error:
        sys.stdout.buffer.write(str(error).encode())
        sys.exit(DIFFERS)


def _load(module: str, file: str) -> None:
    """Import a module by its name, or from its file where that is not found by it, as modules of tests are not."""
    try:
        importlib.import_module(module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None
        assert spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        sys.modules[module] = made
        spec.loader.exec_module(made)


if __name__ == "__main__":
    main()
