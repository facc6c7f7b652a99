"""What becomes of actions that are due, given that an earlier one may still be running. Temporal's rules.

A policy is a row of a table: how many actions may wait for the running one, and what the running one is asked for. Two
policies are no rows. ALLOW_ALL waits for nothing and is waited for by nothing. And where nothing runs, the first action
is taken whatever its policy; another that is due at the same moment meets it as if it ran, except that an action that
would cancel or terminate the first takes its place instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from durable._engine.schedules.records import Asked, PendingStart, ScheduleOverlapPolicy

MAX_BUFFER = 1_000
"""How many actions of a schedule may wait; a further one is dropped and counted. Temporal's number."""


class Rule(NamedTuple):
    """How many may wait under a policy, and what is asked of the running one."""

    waiting: int
    asks: Asked = Asked.NOTHING


RULES = {
    ScheduleOverlapPolicy.SKIP: Rule(0),
    ScheduleOverlapPolicy.BUFFER_ONE: Rule(1),
    ScheduleOverlapPolicy.BUFFER_ALL: Rule(MAX_BUFFER),
    ScheduleOverlapPolicy.CANCEL_OTHER: Rule(MAX_BUFFER, Asked.CANCEL),
    ScheduleOverlapPolicy.TERMINATE_OTHER: Rule(MAX_BUFFER, Asked.TERMINATE),
}


class Resolution(Struct, frozen=True, gc=False):
    """What becomes of each action: together these hold every one of them once.

    Attributes:
        overlapping: To be taken now, whatever runs.
        chosen: To be taken now, as the one that runs.
        waiting: To be looked at again when the running one has ended.
        skipped: How many are not taken because of another.
        dropped: How many are not taken because too many wait.
        asks: What the running one is asked for.
    """

    overlapping: tuple[PendingStart, ...]
    chosen: PendingStart | None
    waiting: tuple[PendingStart, ...]
    skipped: int
    dropped: int
    asks: Asked


def resolve(pending: Iterable[PendingStart], default: ScheduleOverlapPolicy, *, running: bool) -> Resolution:
    """Return what becomes of actions that are due, in their order.

    Args:
        pending: The actions.
        default: The schedule's policy, for actions without one of their own.
        running: Whether an earlier action runs that they must not overlap with.
    """
    overlapping: list[PendingStart] = []
    waiting: list[PendingStart] = []
    chosen: PendingStart | None = None
    skipped = dropped = 0
    asks = Asked.NOTHING
    for start in pending:
        policy = start.overlap or default
        if policy is ScheduleOverlapPolicy.ALLOW_ALL:
            overlapping.append(start)
            continue
        if not running and chosen is None:
            chosen = start
            continue
        rule = RULES[policy]
        if rule.asks is not Asked.NOTHING:
            if not running:
                chosen = start
                skipped += 1
                continue
            # Of several that wait for the same end, each would take the place of the one before.
            newest = [one for one in waiting if RULES[one.overlap or default].asks is Asked.NOTHING]
            skipped += len(waiting) - len(newest)
            waiting = newest
        if len(waiting) < rule.waiting:
            waiting.append(start)
            asks = max(asks, rule.asks)
        elif rule.waiting < MAX_BUFFER:
            skipped += 1
        else:
            dropped += 1
    return Resolution(tuple(overlapping), chosen, tuple(waiting), skipped, dropped, asks)
