"""What a database will do by itself, and when: the rows that wait for an instant.

The statements are the same for both databases, which name their tables alike. They are asked only when nothing else is
under way, so they need to be right and not fast.
"""

from __future__ import annotations

from dataclasses import dataclass

from durable.store import NEVER_DUE, Store
from durable.testing._databases import Database

NEXT = """
SELECT min(at) FROM (
    SELECT min(wake_at) AS at FROM {schema}runs WHERE status = 1 AND owner IS NULL AND wake_at > {now}
    UNION ALL SELECT min(times_out_at) FROM {schema}runs WHERE status = 1 AND times_out_at > {now}
    UNION ALL SELECT min(due_at) FROM {schema}activity_tasks WHERE state = 1 AND due_at > {now}
    UNION ALL SELECT min(deadline) FROM {schema}activity_tasks WHERE state < 3 AND deadline > {now}
    UNION ALL SELECT min(wake_at) FROM {schema}schedules WHERE wake_at > {now}
    UNION ALL SELECT min(open_until) FROM {schema}breakers WHERE open_until > {now}
    UNION ALL SELECT min(gate_at) FROM {schema}runs WHERE status = 1 AND gate = 1 AND gate_at > {now}
    UNION ALL SELECT min({now} + CAST(1000000 / per_second AS BIGINT)) FROM {schema}rates
        JOIN {schema}activity_tasks AS tasks ON tasks.task_queue IN (rates.task_queue, '{lane}' || rates.task_queue)
        WHERE tasks.state = 1 AND tasks.due_at <= {now}
) AS instants
"""

UNREAD = """
SELECT count(*) FROM {schema}inbox JOIN {schema}runs ON runs.run_id = inbox.run_id
WHERE runs.status = 1 AND runs.owner IS NOT NULL
"""

OUTSIDE = "SELECT count(*) FROM {schema}activity_tasks WHERE outside_since IS NOT NULL AND state < 3"

WAITING = """
SELECT task_queue FROM {schema}runs
WHERE status = 1 AND owner IS NULL AND hold < 2 AND (wake_at <= {now} OR (
    hold = 0 AND EXISTS (SELECT 1 FROM {schema}inbox WHERE inbox.run_id = runs.run_id)))
UNION SELECT task_queue FROM {schema}activity_tasks WHERE state = 1 AND due_at <= {now}
"""

TIRED = """
SELECT run_id, id FROM {schema}activity_tasks WHERE state = 1 AND attempt - attempt_base > {attempts} AND paused_at IS NULL
"""

ATTEMPTS = 50
"""Attempts after which an activity that is tried without limit counts as one that will never succeed."""

LANE = "\x1f"
"""What the queue of a row begins with that waits in a lane; see `store`."""


@dataclass(frozen=True, slots=True)
class Agenda:
    """What is to come.

    Attributes:
        next: The first instant at which something is due; None if nothing is.
        unread: Whether a worker has messages that it has not read.
        outside: Whether somebody outside is to end an activity.
        waiting: Task queues with something that any worker of theirs could take now.
        tired: Run and id of activities that have failed very often.
    """

    next: int | None
    unread: bool
    outside: bool
    waiting: frozenset[str]
    tired: tuple[tuple[str, int], ...]


async def read_agenda(database: Database, store: Store) -> Agenda:
    """Return what is to come behind the database's now, asked behind everything that was asked before."""
    ((at,),), ((unread,),), ((outside,),), queues, tired = await database.ask(
        store, (NEXT, UNREAD, OUTSIDE, WAITING, TIRED), lane=LANE, attempts=ATTEMPTS
    )
    return Agenda(
        None if at is None or at >= NEVER_DUE else int(at),
        bool(unread),
        bool(outside),
        frozenset(queue.lstrip(LANE) for (queue,) in queues),
        tuple((str(run_id), number) for run_id, number in tired),
    )
