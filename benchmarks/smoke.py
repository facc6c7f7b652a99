"""Every benchmark once, as small as it gets: fails when one breaks, never because of a time.

`python -m benchmarks.smoke` prints one line. The figures mean nothing.
"""

from __future__ import annotations

import sys
import time

from benchmarks.__main__ import BENCHMARKS, measure
from benchmarks._figures import Figures

SCALE = 0.004


def smoke() -> Figures:
    """Run all benchmarks and return what they printed."""
    return measure((), (), scale=SCALE, repeats=1)


def main() -> None:
    started = time.perf_counter()
    found = smoke()
    missing = set(BENCHMARKS) - set(found["benchmarks"])
    if missing:
        sys.exit(f"these benchmarks gave nothing: {', '.join(sorted(missing))}")
    print(f"{len(BENCHMARKS)} benchmarks ran in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
