"""The operations of a duel, by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from random import Random
from typing import NamedTuple

from tests.differential.duel import Duel

Act = Callable[[Duel, Random], Awaitable[bool]]


class Operation(NamedTuple):
    """Something that is asked of both sides.

    Attributes:
        act: Does it with what the chance chooses, and returns whether it took effect.
        weight: How often it is chosen.
    """

    name: str
    act: Act
    weight: int


OPERATIONS: dict[str, Operation] = {}


def operation(weight: int = 2) -> Callable[[Act], Act]:
    """Register an operation under its function's name."""

    def register(act: Act) -> Act:
        name = getattr(act, "__name__", "")
        assert name not in OPERATIONS, name
        OPERATIONS[name] = Operation(name, act, weight)
        return act

    return register
