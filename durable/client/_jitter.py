"""Chance, where a client asks the engine for a wait."""

from __future__ import annotations

import random


def drawn(within: int) -> int:
    """Return a wait from 0 to `within`, by chance."""
    return random.randint(0, within) if within else 0
