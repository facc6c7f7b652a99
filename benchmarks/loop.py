"""What one step of workflow code costs on the deterministic loop, as JSON.

A step is: create a future, await it, `set_result`, one turn. The runs take turns, as on a worker. Timings are the
best of some repetitions, in microseconds of processor time per step. Needs nothing beside the standard library, so that any
interpreter can run it: `python benchmarks/loop.py`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    # The package's own __init__ needs what a bare interpreter does not have.
    _package = types.ModuleType("durable")
    _package.__path__ = [str(Path(__file__).resolve().parent.parent / "durable")]
    sys.modules["durable"] = _package

from durable._replay._loop import DeterministicLoop
from durable._replay._teardown import evict
from durable._replay._turns import Turns

if TYPE_CHECKING:
    from benchmarks._bench import Bench

RUNS = 2_000
STEPS = 10
REPEATS = 7


class Host:
    """The cheapest host there is."""

    __slots__ = ("apply", "kind", "loop", "waiter")

    def __init__(self, kind: str, run: int) -> None:
        self.kind = kind
        self.loop = DeterministicLoop(self, salt=run * 2654435761 % 2**32)
        self.waiter: asyncio.Future[Any] | None = None

    def start(self) -> None:
        self.loop.create_task(self.main())

    async def main(self) -> None:
        loop = self.loop
        make = {
            "bare": loop.bare_future,
            "numbered": loop.create_future,
            "operation": lambda: loop.operation(1),
        }[self.kind]
        while True:
            self.waiter = waiter = make()
            await waiter

    def step(self) -> None:
        assert self.waiter is not None
        self.waiter.set_result(None)

    def drained(self) -> bool:
        return False

    def waiting(self) -> bool:
        return True

    def start_timer(self, when_ms: int, handle: Any) -> None: ...
    def cancel_timer(self, handle: Any) -> None: ...
    def report(self, message: str, exception: BaseException | None) -> None: ...
    def note(self, message: str, exception: BaseException | None) -> None: ...


def parked(kind: str, runs: int | None = None) -> list[Host]:
    hosts = [Host(kind, run) for run in range(runs or RUNS)]
    with Turns() as batch:
        for host in hosts:
            batch.run(host.loop, host.start)
    return hosts


def per_step(kind: str, batch_size: int) -> float:
    hosts = parked(kind)
    batches = [hosts[i : i + batch_size] for i in range(0, RUNS, batch_size)]

    def once() -> None:
        for batch in batches:
            with Turns() as turns:
                run = turns.run
                for host in batch:
                    run(host.loop, host.step)

    return _best(lambda: [once() for _ in range(STEPS)], RUNS * STEPS, lambda: [evict(h.loop) for h in hosts])


def per_eviction() -> float:
    samples: list[float] = []
    for _ in range(REPEATS):
        hosts = parked("bare")
        start = time.process_time()
        for host in hosts:
            evict(host.loop)
        samples.append((time.process_time() - start) / RUNS * 1e6)
    return round(min(samples), 2)


def per_task() -> float:
    host = Host("bare", 1)

    async def nothing() -> None: ...

    def spawn() -> None:
        for _ in range(RUNS):
            host.loop.create_task(nothing())

    def once() -> None:
        with Turns() as turns:
            turns.run(host.loop, spawn)

    return _best(once, RUNS, lambda: evict(host.loop))


def bytes_per_run() -> int:
    parked("bare", 10)
    gc.collect()
    tracemalloc.start()
    hosts = parked("bare")
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    for host in hosts:
        evict(host.loop)
    return size // RUNS


def _best(once: Callable[[], Any], units: int, after: Callable[[], Any]) -> float:
    samples: list[float] = []
    for _ in range(REPEATS):
        start = time.process_time()
        once()
        samples.append((time.process_time() - start) / units * 1e6)
    after()
    return round(min(samples), 3)


def measure() -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "step_us": {
            kind: {str(size): per_step(kind, size) for size in (1, 10, 50, RUNS)}
            for kind in ("bare", "numbered", "operation")
        },
        "task_us": per_task(),
        "evict_us": per_eviction(),
        "bytes_per_parked_run_with_its_host": bytes_per_run(),
    }


def run(bench: Bench) -> dict[str, Any]:
    """Measure as one of all the benchmarks; the loop has no database."""
    global RUNS, REPEATS
    full = RUNS, REPEATS
    RUNS, REPEATS = bench.amount(RUNS, least=50), max(bench.repeats, bench.amount(REPEATS))
    try:
        return measure()
    finally:
        RUNS, REPEATS = full


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
