"""Ten-step workflows here, on the floor and on the peers that are installed, in turn, on the same database server.

A round has every load and every contestant, each round in another order, and a ratio is of one round: what else the machine does
falls on both sides of it. From 50 to 500 at once some peers lose: their better rate counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import floor, steps
from benchmarks._bench import Bench
from benchmarks._figures import Figures, figure
from benchmarks._programs import ProgramError, ask, side_database
from benchmarks.peers.install import RESTATE_SERVER

STEPS = 10
ALONE, SOME, MANY = LOADS = (1, 50, 500)
OURS, FLOOR = "durable", "floor"


@dataclass(frozen=True)
class Peer:
    """Who is measured beside us.

    Attributes:
        program: In `benchmarks.peers`.
        needs: Modules without which it is missing.
        runs: Workflows at each load: as many as give a measurement of seconds.
        kinds: On which databases.
        command: A program without which it is missing.
        wal: Whether its SQLite file is put into WAL mode for it beforehand.
    """

    program: str
    needs: tuple[str, ...]
    runs: tuple[int, int, int]
    kinds: tuple[str, ...] = ("postgresql",)
    command: str | None = None
    wal: bool = False

    def lacks(self) -> str | None:
        """Return what is not there of it."""
        for module in self.needs:
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed"
        if self.command is not None and not Path(self.command).exists():
            return f"{self.command} is not there"
        return None


PEERS = {
    "dbos": Peer("dbos_steps", ("dbos",), (40, 200, 500), ("postgresql", "sqlite")),
    # It leaves the file in SQLite's default mode, and gains much by the one that we use: its user can say so, once.
    "dbos, file in WAL mode": Peer("dbos_steps", ("dbos",), (40, 200, 500), ("sqlite",), wal=True),
    "absurd": Peer("absurd_steps", ("absurd_sdk", "django_absurd"), (60, 300, 1000)),
    "restate": Peer(
        "restate_steps", ("restate", "hypercorn", "httpx"), (60, 300, 1000), command=RESTATE_SERVER
    ),
}

OUR_RUNS = (300, 3000, 5000)

Contestant = Callable[[int], float]
"""Returns steps per second at a load, by its place."""


def run(bench: Bench) -> Figures:
    """Measure every contestant on each database."""
    missing = {name: lack for name, peer in PEERS.items() if (lack := peer.lacks())}
    found: Figures = {kind: _on(bench, kind, url, missing) for kind, url in bench.urls.items()}
    return {**found, "missing": missing}


def _on(bench: Bench, kind: str, url: str, missing: dict[str, str]) -> Figures:
    peers = {name: peer for name, peer in PEERS.items() if kind in peer.kinds and name not in missing}
    failed: dict[str, str] = {}
    settings: dict[str, str] = {}
    rates: dict[str, list[list[float]]] = {name: [[] for _ in LOADS] for name in (OURS, FLOOR, *peers)}
    with contextlib.ExitStack() as stack:
        contestants: dict[str, Contestant] = {
            OURS: lambda load: _ours(bench, url, load),
            FLOOR: lambda load: _floor(bench, url, load),
            **{
                name: stack.enter_context(_contestant(bench, peer, url, name, settings))
                for name, peer in peers.items()
            },
        }
        for number in range(bench.repeats):
            for load in range(len(LOADS)):
                for name in _turned(list(contestants), number + load):
                    if name in failed:
                        continue
                    bench.rest()
                    try:
                        rates[name][load].append(contestants[name](load))
                    except ProgramError as error:
                        failed[name] = str(error)
    for name, why in failed.items():
        del rates[name]
        missing[f"{name} on {kind}"] = f"failed: {why}"
    return {
        "rates": {
            name: {f"{LOADS[load]} at once": figure(samples, "steps/s") for load, samples in enumerate(of)}
            for name, of in rates.items()
        },
        "ratios": {name: _ratios(rates[OURS], of) for name, of in rates.items() if name != OURS},
        "settings": settings,
    }


def _ratios(ours: list[list[float]], theirs: list[list[float]]) -> Figures:
    """What their rates are multiplied by to be ours, each of one round."""
    best = [max(many) for many in zip(*theirs[1:], strict=True)]
    return {
        f"{ALONE} at once": _ratio(ours[0], theirs[0]),
        f"{SOME} at once": _ratio(ours[1], theirs[1]),
        f"{MANY} at once, theirs at the better of {SOME} and {MANY}": _ratio(ours[2], best),
        f"{MANY} at once": _ratio(ours[2], theirs[2]),
    }


def _ratio(ours: list[float], theirs: list[float]) -> Figures:
    return figure([mine / its for mine, its in zip(ours, theirs, strict=True)], "times")


def _turned(names: list[str], by: int) -> list[str]:
    by %= len(names)
    return names[by:] + names[:by]


def _ours(bench: Bench, url: str, load: int) -> float:
    runs = bench.amount(OUR_RUNS[load], least=min(LOADS[load], 20))
    elapsed, _ = asyncio.run(steps.measure(url, runs, LOADS[load]))
    return runs * STEPS / elapsed


def _floor(bench: Bench, url: str, load: int) -> float:
    runs = bench.amount(OUR_RUNS[load], least=min(LOADS[load], 20))
    elapsed, _, _ = asyncio.run(floor.measure(url, runs, STEPS, LOADS[load]))
    return runs * STEPS / elapsed


@contextlib.contextmanager
def _contestant(
    bench: Bench, peer: Peer, url: str, name: str, settings: dict[str, str]
) -> Iterator[Contestant]:
    """Yield what measures a peer, on a database that is its own."""
    with side_database(url, wal=peer.wal) as place:

        def rate(load: int) -> float:
            runs = bench.amount(peer.runs[load], least=min(LOADS[load], 20))
            answer = ask(f"peers.{peer.program}", place, runs, STEPS, LOADS[load])
            settings[name] = f"{answer['version']}: {answer['settings']}"
            return runs * STEPS / answer["seconds"]

        yield rate
