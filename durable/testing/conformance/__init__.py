"""What every store promises, as checks: small async functions, each named by the guarantee it would find broken.

Run all of `CHECKS` against an adapter of your own. Each wants a fresh, empty database:

    for check in CHECKS:
        await check.run(open_store)  # an async function without arguments that opens a store on that database

Those of `CALLER_CHECKS` also want a connection that is not the store's, to be used in transactions of callers:

    for check in CALLER_CHECKS:
        await check.run(open_store, open_caller)  # and a function that returns an async context manager of a `Caller`

A check that fails raises `AssertionError`; nothing here needs a test framework. Where a worker has to die, its store is
closed without a word and its lease left to pass, so those checks take a lease's length on databases that keep leases.
"""

from __future__ import annotations

from durable.testing.conformance import (
    _activities,
    _attempts,
    _callers,
    _children,
    _claims,
    _closes,
    _commits,
    _deadlines,
    _deeds,
    _fleet,
    _gates,
    _glances,
    _held_back,
    _lanes,
    _lists,
    _lives,
    _messages,
    _operated_activities,
    _operations,
    _queries,
    _releases,
    _repeats,
    _retention,
    _schedules,
    _sends,
    _sizes,
    _soles,
    _start_messages,
    _starts,
    _successors,
    _transactions,
    _updates,
    _versions,
    _workers,
)
from durable.testing.conformance._callers import Caller, CallerCheck
from durable.testing.conformance._registry import REGISTRY, Check

__all__ = ["CALLER_CHECKS", "CHECKS", "Caller", "CallerCheck", "Check"]

_MODULES = (
    _starts,
    _start_messages,
    _messages,
    _commits,
    _releases,
    _repeats,
    _closes,
    _children,
    _successors,
    _sends,
    _updates,
    _held_back,
    _queries,
    _operations,
    _deeds,
    _retention,
    _schedules,
    _claims,
    _activities,
    _attempts,
    _transactions,
    _lanes,
    _gates,
    _fleet,
    _deadlines,
    _glances,
    _operated_activities,
    _workers,
    _versions,
    _lists,
    _lives,
    _sizes,
    _soles,
)

CHECKS: tuple[Check, ...] = tuple(check for module in _MODULES for check in REGISTRY[module.__name__])

CALLER_CHECKS: tuple[CallerCheck, ...] = tuple(_callers.CHECKS)
