"""Duels from seeds, until nothing new is seen; a seed that fails is made short, and kept.

python -m tests.differential.campaign --worlds 200        # as many duels at most
python -m tests.differential.campaign --seed 17 --verbose # one of them, told step by step
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from durable.exceptions import StoreError
from durable.testing._servers._server import PostgresServer
from tests.differential import activities, operators, runs  # noqa: F401 - each registers its operations
from tests.differential.duel import DifferenceError, Duel
from tests.differential.registry import OPERATIONS
from tests.differential.sides import PostgresSide, SQLiteSide

FOUND = Path(__file__).parent / "found"
"""Tapes of what was found once. They are played by every test run."""

STEPS = 60
BATCH = 5
"""Duels behind which it is asked whether anything new was seen."""

Tape = list[tuple[str, int]]
"""What is done, and with which chance."""


def tape_of(seed: int, steps: int = STEPS) -> Tape:
    """Return what the duel of a seed does. Each draws from a part of all operations, so that rare ones meet each other."""
    chance = Random(seed)
    names = [name for name in OPERATIONS if chance.random() < 0.7]
    names += [name for name in ("create_runs", "commit", "claim_runs", "pass_time") if name not in names]
    weights = [OPERATIONS[name].weight for name in names]
    drawn = chance.choices(names, weights, k=steps)
    begin = ["register_worker", "register_worker", "create_runs", "create_runs"]
    return [(name, chance.randrange(2**31)) for name in (*begin, *drawn)]


@asynccontextmanager
async def duel(server: PostgresServer) -> AsyncGenerator[Duel]:
    """A duel with fresh databases."""
    with tempfile.TemporaryDirectory(prefix="durable-duel-") as directory:
        left = await SQLiteSide(Path(directory)).open()
        try:
            right = await PostgresSide(server).open()
            try:
                one = Duel(left, right)
                await one.begin()
                yield one
            finally:
                await right.close()
        finally:
            await left.close()


async def play(one: Duel, tape: Tape, effective: Counter[str]) -> None:
    """Do what a tape says, and compare behind each step.

    Raises:
        DifferenceError: The two sides do not agree.
    """
    for name, seed in tape:
        one.operation = name
        try:
            if await OPERATIONS[name].act(one, Random(seed)):
                effective[name] += 1
        except DifferenceError:
            raise
        except (StoreError, ValueError):
            pass  # both refuse it in the same way
        await one.compare_tables()


@dataclass
class Campaign:
    """What a campaign has seen.

    Attributes:
        met: Kinds of answers.
        effective: How often an operation took effect.
        failed: The tape that found a difference, and which.
    """

    worlds: int = 0
    steps: int = 0
    met: set[str] = field(default_factory=set)
    effective: Counter[str] = field(default_factory=Counter)
    failed: tuple[Tape, str] | None = None

    @property
    def never(self) -> list[str]:
        """Operations that never took effect."""
        return sorted(set(OPERATIONS) - set(self.effective))


async def campaign(server: PostgresServer, seeds: Sequence[int], *, dry: int = 20) -> Campaign:
    """Play the duels of these seeds, in batches, until `dry` batches have shown nothing new, or one fails."""
    seen, quiet = Campaign(), 0
    for begin in range(0, len(seeds), BATCH):
        before = len(seen.met)
        for seed in seeds[begin : begin + BATCH]:
            tape = tape_of(seed)
            told, met = await outcome(server, tape, seen.effective)
            seen.worlds, seen.steps = seen.worlds + 1, seen.steps + len(tape)
            seen.met |= met
            if told:
                seen.failed = await shrink(server, tape, told), told
                return seen
        quiet = 0 if len(seen.met) > before else quiet + 1
        if quiet >= dry:
            break
    return seen


async def outcome(
    server: PostgresServer, tape: Tape, effective: Counter[str] | None = None
) -> tuple[str, set[str]]:
    """Play a tape; return how the sides differ ("" if they do not), and what was met."""
    async with duel(server) as one:
        try:
            await play(one, tape, Counter() if effective is None else effective)
        except DifferenceError as error:
            return str(error), one.met
        return "", one.met


async def shrink(server: PostgresServer, tape: Tape, told: str) -> Tape:
    """Return a short tape that fails in the same place: parts are left out for as long as that goes well."""
    place = told.partition("\n")[0]
    size = max(1, len(tape) // 2)
    while True:
        at, shorter = 0, False
        while at < len(tape):
            rest = tape[:at] + tape[at + size :]
            if rest and (await outcome(server, rest))[0].startswith(place):
                tape, shorter = rest, True
            else:
                at += size
        if size == 1 and not shorter:
            return tape
        size = max(1, size // 2) if not shorter or size > 1 else 1


def keep(tape: Tape, told: str, name: str) -> Path:
    """Write a tape down for ever."""
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{name}.json"
    path.write_text(json.dumps({"told": told, "tape": tape}, indent=1, ensure_ascii=False) + "\n")
    return path


def kept() -> list[Path]:
    """All tapes that were written down."""
    return sorted(FOUND.glob("*.json"))


def load(path: Path) -> Tape:
    """A tape that was written down."""
    return [(str(name), int(seed)) for name, seed in json.loads(path.read_text())["tape"]]


async def _one(server: PostgresServer, seed: int, *, verbose: bool) -> str:
    async with duel(server) as one:
        try:
            await play(one, tape_of(seed), Counter())
        except DifferenceError as error:
            return str(error)
        finally:
            if verbose:
                print("\n".join(one.trace))
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.differential.campaign", description=__doc__)
    parser.add_argument("--worlds", type=int, default=200, help="how many duels at most")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--dry", type=int, default=20, help="batches without anything new behind which it stops"
    )
    parser.add_argument("--seed", type=int, help="play this one only")
    parser.add_argument("--verbose", action="store_true", help="tell every answer")
    asked = parser.parse_args()
    with PostgresServer.open() as server:
        if asked.seed is not None:
            told = asyncio.run(_one(server, asked.seed, verbose=asked.verbose))
            print(told or "no difference")
            return bool(told)
        seeds = range(asked.first, asked.first + asked.worlds)
        seen = asyncio.run(campaign(server, seeds, dry=asked.dry))
        print(f"{seen.worlds} duels, {seen.steps} steps, {len(seen.met)} kinds of answers")
        print(f"never took effect: {', '.join(seen.never) or 'none'}")
        if seen.failed is None:
            return 0
        tape, told = seen.failed
        print(f"{told}\nwritten to {keep(tape, told, f'seed_{seeds[seen.worlds - 1]}')}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
