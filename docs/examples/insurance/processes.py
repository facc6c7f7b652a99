"""The worker processes: started, killed, and stopped together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from place import Place

WORKER = Path(__file__).with_name("worker.py")

PATIENCE = 5.0
"""Seconds that a worker may take to stop."""


class Processes:
    """Worker processes by name. They end with this block, and with this process, however it ends."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, role: str, name: str) -> None:
        """Start a worker."""
        command = [
            sys.executable,
            str(WORKER),
            role,
            name,
            "--ledger",
            str(self._place.ledger),
            self._place.url,
        ]
        if self._place.namespace is not None:
            command += ["--namespace", self._place.namespace]
        with self._place.log.open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # whose end tells the worker to stop
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we tell the workers
            )

    def kill(self, name: str) -> int:
        """Kill a worker with SIGKILL, and return the process id it had."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        _close_input(process)
        return process.pid

    def last_words(self) -> str:
        """Return the end of what the workers said."""
        return "".join(self._place.log.read_text(errors="replace").splitlines(keepends=True)[-20:])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._running.values():
            _close_input(process)
        for process in self._running.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
