from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from durable.store import Store

OpenStore = Callable[[], Awaitable[Store]]


class Check(NamedTuple):
    """One guarantee.

    Attributes:
        name: What is guaranteed, in words.
        stores: How many stores it opens at the same time; a database in memory has room for one only.
        run: Raises `AssertionError` when the guarantee is broken.
    """

    name: str
    stores: int
    run: Callable[[OpenStore], Awaitable[None]]


REGISTRY: dict[str, list[Check]] = {}


def check(
    stores: int = 1,
) -> Callable[[Callable[[OpenStore], Awaitable[None]]], Callable[[OpenStore], Awaitable[None]]]:
    """Register a function `check_<guarantee>`."""

    def register(function: Callable[[OpenStore], Awaitable[None]]) -> Callable[[OpenStore], Awaitable[None]]:
        name = function.__name__.removeprefix("check_")
        REGISTRY.setdefault(function.__module__, []).append(Check(name, stores, function))
        return function

    return register
