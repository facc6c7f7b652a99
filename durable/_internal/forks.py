"""What a process takes along when it is forked, and must not use there: threads are gone, connections are its parent's."""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

FORKED = (
    "this was connected before the process was forked, and belongs to the parent: connect again in the child, or start "
    "processes by spawn or forkserver"
)

T = TypeVar("T")

_held: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()


def in_child(thing: T, give_up: Callable[[T], None]) -> None:
    """Have `give_up(thing)` called in every process that is forked from this one while `thing` lives."""
    _held[thing] = give_up


def _give_up_all() -> None:
    for thing, give_up in list(_held.items()):
        with contextlib.suppress(OSError):
            give_up(thing)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_up_all)
