"""Claims: how runs get an owner.

Candidates come from two indexes, never from one condition with OR: runs whose instant has come, by priority, and runs with
a message. Both are looked up in the claiming transaction; what the runs then need is read behind it, by the reader, in one
snapshot: from its claim on nobody but the owner adds to a history.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any

from durable._engine.hints import Glance
from durable._engine.records import RECENT, ActivityRecord, ClaimedRun, Message
from durable._engine.versioning import Reach, queue_of
from durable.store._probation import PROBATION
from durable.store.sqlite import (
    _activities,
    _gates,
    _messages,
    _rows,
    _runs,
    _schedules,
    _versions,
    _workers,
)
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import ids

SQL = _rows.queries("claims")

SHARE = 4
"""One part in this many of a claim is kept for lower priorities, and of claims of a single run one in this many."""

_MANY_DEATHS = 2**31
_epochs = _rows.decoder(tuple[str, int])


class Wanted:
    """What a claim asks for.

    Args:
        task_queues: Only runs of these queues.
        workflow_types: Only runs of these types; None for all.
        newest: Only runs of this format and older ones.
        probation: Runs with two deaths and more, instead of those with fewer.
        version: Only runs that workers of this version may have.
    """

    __slots__ = ("format", "least", "most", "task_queues", "types", "version")

    def __init__(
        self,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        newest: int,
        *,
        probation: bool = False,
        version: str = "",
    ) -> None:
        self.task_queues = tuple(dict.fromkeys(task_queues))
        self.types = None if workflow_types is None else ids(workflow_types)
        self.format = newest
        self.version = version
        self.least = PROBATION if probation else 0
        self.most = _MANY_DEATHS if probation else PROBATION - 1


def claim(
    transaction: Transaction, lives: Lives, worker_id: str, wanted: Wanted, limit: int, low_first: bool
) -> list[str]:
    """Make the worker the owner of at most `limit` ready runs; return which.

    Args:
        transaction: The transaction of it all.
        lives: Who lives.
        worker_id: Who claims.
        wanted: Which runs.
        limit: How many at most.
        low_first: Whether it is the turn of the lowest priority; only for a single run.
    """
    db = transaction.db
    if limit < 1 or not _workers.is_live(transaction, lives, worker_id):
        return []
    reached = _versions.reached(db, wanted.task_queues, wanted.version)
    if wanted.least == 0:
        _gates.admit(transaction, [one.place for one in reached], wanted.types, limit, wanted.format)
    due = _share(_due(transaction, wanted, reached, limit), limit, low_first)
    called = _called(db, wanted, reached, limit)
    # Turn by turn, so that neither kind waits for as long as there is enough of the other.
    turns = zip_longest(due, called)
    chosen = list(dict.fromkeys(run_id for run_id in chain.from_iterable(turns) if run_id is not None))[
        :limit
    ]
    if chosen:
        db.execute(SQL["claim"], (worker_id, ids(chosen)))
        _runs.begin(transaction, chosen)
    return chosen


def _values(wanted: Wanted, reach: Reach, limit: int) -> dict[str, Any]:
    return {
        "queue": reach.place, "whole": reach.whole, "low": reach.low, "high": reach.high, "types": wanted.types, "format": wanted.format, "least": wanted.least, "most": wanted.most,
        "limit": limit,
    }  # fmt: skip


def _due(
    transaction: Transaction, wanted: Wanted, reached: Sequence[Reach], limit: int
) -> dict[int, list[str]]:
    """Runs whose instant has come, at most `limit` of each priority and queue."""
    found: dict[int, list[str]] = {}
    for reach in reached:
        values = _values(wanted, reach, limit) | {"now": transaction.now}
        for priority in priorities(transaction.db, reach.place):
            row = transaction.db.execute(SQL["due_runs"], values | {"priority": priority}).fetchone()
            found.setdefault(priority, []).extend(_rows.strings(row[0]))
    return found


def _called(db: sqlite3.Connection, wanted: Wanted, reached: Sequence[Reach], limit: int) -> list[str]:
    """Runs that have a message, by the age of their first."""
    # One that was sent before its run was pinned may lie at the queue.
    looks = [
        _values(wanted, reach, limit) | {"mail": mail}
        for reach in reached
        for mail in dict.fromkeys((reach.place, queue_of(reach.place)))
    ]
    found = [_rows.strings(db.execute(SQL["called_runs"], look).fetchone()[0]) for look in looks]
    return [run_id for turn in zip_longest(*found) for run_id in turn if run_id is not None]


def priorities(db: sqlite3.Connection, queue: str) -> Iterator[int]:
    """The priorities with something that waits at a place, the most urgent first."""
    priority: int | None = -(2**63)
    while True:
        priority = db.execute(SQL["next_priority"], (queue, priority)).fetchone()[0]
        if priority is None:
            return
        yield priority


def _share(due: dict[int, list[str]], limit: int, low_first: bool) -> list[str]:
    """By priority, but for the share of those behind the first priority that fills the claim."""
    ordered = [run_id for priority in sorted(due) for run_id in due[priority]]
    if len(ordered) <= limit:
        return ordered
    if limit == 1:
        return [due[max(key for key in due if due[key])][0]] if low_first else ordered[:1]
    kept = limit - max(1, limit // SHARE)
    first = next(due[priority] for priority in sorted(due) if due[priority])
    lower = [run_id for priority in sorted(due) for run_id in due[priority] if due[priority] is not first]
    chosen = first[: max(kept, limit - len(lower))]
    return chosen + lower[: limit - len(chosen)]


def read_claimed(
    db: sqlite3.Connection, worker_id: str, run_ids: Sequence[str], now: Callable[[], int]
) -> list[ClaimedRun]:
    """Everything about these runs, as far as the worker (still) owns them, in one snapshot."""
    if not run_ids:
        return []
    if not db.in_transaction:
        db.execute("BEGIN")
    records = [record for record in _runs.read_unmeasured(db, run_ids) if record.owner == worker_id]
    owned = [record.run_id for record in records]
    events = _runs.read_events_of(db, owned)
    messages = _messages.read(db, owned)
    activities = _activities.read_of_runs(db, now(), owned)
    measures = {
        run_id: (len(history), sum(len(event.data) for event in history))
        for run_id, history in events.items()
    }
    inboxes: dict[str, list[Message]] = {}
    for message in messages:
        inboxes.setdefault(message.run_id, []).append(message)
    tasks: dict[str, list[ActivityRecord]] = {}
    for activity in activities:
        tasks.setdefault(activity.run_id, []).append(activity)
    return [
        ClaimedRun(
            record,
            tuple(events.get(record.run_id, ())),
            tuple(inboxes.get(record.run_id, ())),
            tuple(tasks.get(record.run_id, ())),
        )
        for record in _runs.with_measures(records, measures)
    ]


def owned(db: sqlite3.Connection, worker_id: str) -> dict[str, int]:
    """See `Store.owned_runs`."""
    return dict(_epochs(db.execute(SQL["owned_runs"], (worker_id,)).fetchone()[0]))


def next_wake(db: sqlite3.Connection, now: int, task_queues: Sequence[str]) -> int | None:
    """See `Store.next_wake`."""
    first = _first_due(db, now - RECENT, task_queues)
    return None if first is None else max(0, first - now)


def _first_due(db: sqlite3.Connection, after: int, task_queues: Sequence[str]) -> int | None:
    """The first instant behind `after` at which a run or an activity of these places is due."""
    queues = tuple(dict.fromkeys(task_queues))
    instants = [
        db.execute(SQL["first_wake"], (after, queue, priority)).fetchone()[0]
        for queue in queues
        for priority in priorities(db, queue)
    ]
    instants.append(_activities.first_due(db, after, queues))
    instants += _gates.first_due(db, after, queues)
    return min((instant for instant in instants if instant is not None), default=None)


def glance(db: sqlite3.Connection, now: int, task_queues: Sequence[str]) -> Glance:
    """See `Store.glance`."""
    queues = dict.fromkeys((*task_queues, *map(queue_of, task_queues)))
    values = {"queues": ids(queues), "now": now}
    called, overdue, asked, routed, state = db.execute(SQL["glance"], values).fetchone()
    first = _first_due(db, -1, task_queues)
    return Glance(
        ready=bool(called) or (first is not None and first <= now),
        overdue=bool(overdue),
        asked=bool(asked),
        routed=bool(routed),
        wake_in=next_wake(db, now, task_queues) if first is not None else None,
        schedule_in=_schedules.next_wake(db, now),
        queue_state=state,
    )
