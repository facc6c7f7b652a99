"""Run the standard library's own asyncio tests on the deterministic loop, as a script; prints counts as JSON.

A shim adds what tests want of a loop and workflow code does not get: `run_until_complete`, scheduling before the loop
runs, a task factory. Timers run on a virtual clock.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import types
import unittest
from pathlib import Path
from typing import Any

_package = types.ModuleType("durable")
_package.__path__ = [str(Path(__file__).resolve().parents[2] / "durable")]
sys.modules["durable"] = _package

from durable._replay._loop import DeterministicLoop, Handle  # noqa: E402
from durable._replay._turns import TurnPoisoned, Turns  # noqa: E402

MODULES = ["taskgroups", "timeouts", "locks", "queues", *(["waitfor"] if sys.version_info >= (3, 12) else [])]


class Shim(DeterministicLoop):
    def __init__(self) -> None:
        super().__init__(self, salt=1)
        self.timers: dict[Any, int] = {}
        self.backlog: list[Handle] = []
        self.append = self.backlog.append
        self.factory: Any = None
        self.handler: Any = None
        self.closed = False

    def start_timer(self, when_ms: int, handle: Any) -> None:
        self.timers[handle] = when_ms

    def cancel_timer(self, handle: Any) -> None:
        del self.timers[handle]

    def drained(self) -> bool:
        return False

    def waiting(self) -> bool:
        return True

    def one_turn(self, apply: Any) -> None:
        def with_backlog() -> None:
            for handle in self.backlog:
                self.append(handle)
            self.backlog.clear()
            apply()

        try:
            with Turns() as turns:
                turns.run(self, with_backlog)
        except TurnPoisoned as poisoned:
            raise poisoned.cause from None
        finally:
            self.state = 0
            self.append = self.backlog.append

    def run_until_complete(self, future: Any) -> Any:
        def begin() -> None:
            nonlocal future
            future = asyncio.ensure_future(future, loop=self)

        self.one_turn(begin)
        while not future.done():
            if not self.timers:
                raise RuntimeError("Event loop stopped before Future completed.")
            due = min(self.timers.values())

            def fire(due: int = due) -> None:
                self.now_ms = max(due, self.now_ms)
                for handle in [handle for handle, when in self.timers.items() if when == due]:
                    del self.timers[handle]
                    self.fire(handle)

            self.one_turn(fire)
        return future.result()

    def create_task(self, coro: Any, **kwargs: Any) -> Any:
        return self.factory(self, coro, **kwargs) if self.factory else super().create_task(coro, **kwargs)

    def set_task_factory(self, factory: Any) -> None:
        self.factory = factory

    def get_task_factory(self) -> Any:
        return self.factory

    def set_exception_handler(self, handler: Any) -> None:
        self.handler = handler

    def call_exception_handler(self, context: Any) -> None:
        if self.handler:
            self.handler(self, context)

    async def shutdown_asyncgens(self) -> None: ...
    async def shutdown_default_executor(self, timeout: Any = None) -> None: ...

    def set_debug(self, enabled: bool) -> None: ...

    def is_closed(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def main() -> None:
    asyncio.new_event_loop = asyncio.events.new_event_loop = Shim
    suite = unittest.TestSuite(
        unittest.defaultTestLoader.loadTestsFromModule(
            importlib.import_module(f"test.test_asyncio.test_{name}")
        )
        for name in MODULES
    )
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(suite)
    failed = [str(test) for test, _ in result.failures + result.errors]
    print(json.dumps({"run": result.testsRun, "failed": failed, "skipped": len(result.skipped)}))


if __name__ == "__main__":
    main()
