"""What the programs share: what they are asked for on the command line, and how they answer."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """Workflows of dependent steps, and where they are kept."""

    url: str
    runs: int
    steps: int
    concurrency: int


def main(package: str, settings: str, measure: Callable[[Load], Awaitable[float]]) -> None:
    """Read a load, measure it, and print the seconds it took with what somebody has to know who doubts them."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("url")
    for name in ("runs", "steps", "concurrency"):
        parser.add_argument(name, type=int)
    load = Load(**vars(parser.parse_args()))
    answer(package, settings, seconds=asyncio.run(measure(load)))


def answer(package: str, settings: str, **found: float) -> None:
    """Print what was found, as the last line."""
    print(json.dumps({"version": importlib.metadata.version(package), "settings": settings, **found}))
