"""Which seeds notice that a safeguard is gone: `python -m tests.simulation.search`, written to `found.json`.

Other seeds do when plans are made in another way, or the library asks its database in another order; then this is run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from durable.testing.simulation import simulate
from tests.simulation.ablations import ABLATIONS, HELD_BY_ANOTHER, Ablation

FOUND = Path(__file__).with_name("found.json")

MOST = 200
"""Seeds within which each has to be found."""


def found() -> dict[str, int]:
    """The seeds that are known to notice."""
    known: dict[str, int] = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    return known


def search(ablation: Ablation, seeds: Sequence[int]) -> int | None:
    """Return the first of these seeds that notices."""
    with ablation():
        for seed in seeds:
            if problems(seed):
                return seed
    return None


def problems(seed: int) -> Sequence[str]:
    """What is wrong under a seed. An error that the simulation itself meets is something wrong as well."""
    try:
        return simulate(seed).problems
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.search", description=__doc__)
    parser.add_argument("names", nargs="*", help="which ones (all)")
    parser.add_argument("--seeds", type=int, default=MOST, help="how many seeds are tried (%(default)s)")
    asked = parser.parse_args()
    for name in asked.names or sorted(ABLATIONS, key=lambda name: int(name[1:])):
        began = time.monotonic()
        seed = search(ABLATIONS[name], range(asked.seeds))
        _write(name, seed)
        if seed is None:
            print(f"{name}: NOT FOUND in {asked.seeds} seeds, {time.monotonic() - began:.0f} s", flush=True)
            continue
        with ABLATIONS[name]():
            (first, *_) = problems(seed)
        alone = ""
        if name in HELD_BY_ANOTHER:
            with HELD_BY_ANOTHER[name]():
                alone = "; one alone: " + ("; ".join(problems(seed)) or "nothing")
        print(f"{name}: seed {seed}, {time.monotonic() - began:.0f} s: {first[:160]}{alone}", flush=True)
    return len(set(ABLATIONS) - set(found()))


def _write(name: str, seed: int | None) -> None:
    known = {one: seed for one, seed in found().items() if one != name} | (
        {} if seed is None else {name: seed}
    )
    FOUND.write_text(
        json.dumps(dict(sorted(known.items(), key=lambda one: int(one[0][1:]))), indent=1) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
