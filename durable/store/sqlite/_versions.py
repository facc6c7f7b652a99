"""Worker versions: deployments, whom queues belong to, and what is kept for whom."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from durable._engine.lanes import LANES
from durable._engine.operations import Operated
from durable._engine.records import Message, NewRun, RunStatus
from durable._engine.versioning import (
    AUTO_UPGRADE,
    RAMPING,
    SEPARATOR,
    DeploymentRow,
    QueueRoute,
    Reach,
    Stamp,
    VersionRow,
    place,
    queue_of,
    reach,
    reaches,
)
from durable.store.sqlite import _messages, _rows
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives

SQL = _rows.queries("versions")

_queues = msgspec.json.Decoder(tuple[str, ...]).decode

PINNED = 1
"""The number of `VersioningBehavior.PINNED`, in rows."""


# ---------------------------------------------------------------- whom queues belong to


def route_of(db: sqlite3.Connection, task_queue: str) -> QueueRoute | None:
    """Whom runs of a queue belong to that follow it; None when no version has served it."""
    found = db.execute(SQL["queue_route"], (task_queue,)).fetchone()
    return None if found is None else QueueRoute(*found)


def routes(db: sqlite3.Connection, task_queues: Sequence[str]) -> dict[str, QueueRoute]:
    """See `Store.queue_routes`."""
    found = ((queue, route_of(db, queue)) for queue in task_queues)
    return {queue: route for queue, route in found if route is not None}


def reached(db: sqlite3.Connection, task_queues: Sequence[str], version: str) -> list[Reach]:
    """What workers of a version may have of these queues."""
    return [one for queue in dict.fromkeys(task_queues) for one in reach(queue, version, route_of(db, queue))]


def may_own(db: sqlite3.Connection, version: str, at: str, workflow_id: str) -> bool:
    """Whether a worker of a version may own a run at a place."""
    return reaches(reached(db, [queue_of(at)], version), at, workflow_id)


def any_route(db: sqlite3.Connection) -> bool:
    """Whether a worker with a version was ever there."""
    return db.execute(SQL["any_route"]).fetchone() is not None


def placed(db: sqlite3.Connection, wanted: str) -> str:
    """A place where workers will look: a version that does not serve the queue has no part in it."""
    queue, _, version = wanted.partition(SEPARATOR)
    if not version or version == RAMPING or db.execute(SQL["serves"], (version, queue)).fetchone():
        return wanted
    return queue


def at_activity(db: sqlite3.Connection, run_id: str, wanted: str) -> str:
    """Where an activity is queued: with the version that its run is pinned to, as far as that serves the queue."""
    found = db.execute(SQL["versions_of_run"], (run_id,)).fetchone()
    pinned_to = "" if found is None else found[1] or ""
    lane = LANES if wanted.startswith(LANES) else ""
    return lane + placed(db, place(queue_of(wanted.removeprefix(LANES)), pinned_to))


def of_start(db: sqlite3.Connection, run: NewRun) -> tuple[str, str | None, str | None]:
    """The place of a new run, the version it is pinned to, and its override."""
    if not run.version:
        return run.task_queue, None, run.override or None
    at = placed(db, place(run.task_queue, run.version))
    pinned_to = run.version if at != run.task_queue and run.version != RAMPING else None
    override = run.override if pinned_to is not None or run.override == AUTO_UPGRADE else ""
    return at, pinned_to, override or None


# ---------------------------------------------------------------- deployments


def serve(transaction: Transaction, version: str, task_queues: Sequence[str]) -> None:
    """Take the news that a worker of a version serves these queues."""
    db, now, name = transaction.db, transaction.now, version.partition(":")[0]
    db.execute(SQL["add_deployment"], (name, now))
    for queue in task_queues:
        db.execute(SQL["add_version"], (version, queue, name, now))
    _route(db, find_deployments(db, name)[0], task_queues, set_now=False)


def find_deployments(db: sqlite3.Connection, name: str | None) -> list[DeploymentRow]:
    """See `Store.find_deployments`."""
    return [DeploymentRow(*row) for row in db.execute(SQL["find_deployments"], {"name": name}).fetchall()]


def find_versions(db: sqlite3.Connection, lives: Lives, deployment: str) -> list[VersionRow]:
    """See `Store.find_versions`."""
    return [
        VersionRow(
            version,
            tuple(sorted(_queues(queues))),
            created_at,
            bool(has_pinned),
            len(_living(db, lives, version)),
            bool(was_active),
        )
        for version, queues, created_at, has_pinned, was_active in db.execute(
            SQL["find_versions"], (deployment,)
        ).fetchall()
    ]


def _living(db: sqlite3.Connection, lives: Lives, version: str) -> list[tuple[str, ...]]:
    """The queues of each living worker of a version."""
    return [
        _queues(queues)
        for worker_id, queues in db.execute(SQL["workers_of"], (version,)).fetchall()
        if lives.is_alive(worker_id)
    ]


def write_deployment(transaction: Transaction, row: DeploymentRow) -> bool:
    """See `Store.write_deployment`."""
    db = transaction.db
    values = {
        "name": row.name,
        "revision": row.revision,
        "current": row.current,
        "ramping": row.ramping,
        "percentage": row.percentage,
        "changed_by": row.changed_by,
        "now": transaction.now,
    }
    if db.execute(SQL["write_deployment"], values).rowcount != 1:
        return False
    db.execute(SQL["activate"], (row.current, row.ramping))
    queues = [queue for (queue,) in db.execute(SQL["queues"], (row.name,)).fetchall()]
    _route(db, row, queues, set_now=True)
    return True


def _route(db: sqlite3.Connection, row: DeploymentRow, queues: Sequence[str], *, set_now: bool) -> None:
    for queue in queues:
        current = row.current or ""
        if current and not db.execute(SQL["serves"], (current, queue)).fetchone():
            current = ""
        ramping, ramp = row.ramping, row.ramp
        if ramping is None or (ramping and not db.execute(SQL["serves"], (ramping, queue)).fetchone()):
            ramping, ramp = "", 0
        values = {
            "task_queue": queue,
            "deployment": row.name,
            "current": current,
            "ramping": ramping,
            "ramp": ramp,
            "set": set_now,
        }
        db.execute(SQL["route"], values)


def forget_version(transaction: Transaction, lives: Lives, version: str, pinned: bool) -> bool:
    """See `Store.forget_version`."""
    db, name = transaction.db, version.partition(":")[0]
    known = {row.version: row for row in find_versions(db, lives, name)}
    found = known.get(version)
    if found is None or found.workers or (found.has_pinned and not pinned):
        return False
    if any(version in (row.current, row.ramping) for row in find_deployments(db, name)):
        return False
    db.execute(SQL["forget_version"], (version,))
    return True


# ---------------------------------------------------------------- runs


def moved(db: sqlite3.Connection, worker_id: str, task_queues: Sequence[str], version: str) -> list[str]:
    """See `Store.moved_runs`."""
    if not any_route(db):
        return []
    found = reached(db, task_queues, version)
    return [
        run_id
        for run_id, at, workflow_id in db.execute(SQL["owned_places"], (worker_id,)).fetchall()
        if not reaches(found, at, workflow_id)
    ]


def stranded(db: sqlite3.Connection, lives: Lives, now: int) -> list[tuple[str, str]]:
    """See `Store.stranded_versions`."""
    return [
        (version, queue)
        for version, queue in db.execute(SQL["stranded"], (now,)).fetchall()
        if not any(queue in queues for queues in _living(db, lives, version))
    ]


def stamp(transaction: Transaction, stamps: Sequence[tuple[str, Stamp]]) -> None:
    """Write which version ran the newest task of runs, and where they belong; an override stands above that."""
    db = transaction.db
    for run_id, one in stamps:
        found = db.execute(SQL["versions_of_run"], (run_id,)).fetchone()
        at, pinned_to, override = found[0], found[1], found[4]
        if override is None:
            at, pinned_to = place(queue_of(at), one.pinned_to), one.pinned_to or None
        values = {
            "run_id": run_id,
            "version": one.version or None,
            "behavior": one.behavior or None,
            "pinned_to": pinned_to,
            "place": at,
        }
        db.execute(SQL["stamp"], values)
        if at != found[0]:
            db.execute(SQL["move_inbox"], {"run_id": run_id, "place": at})


def override(
    transaction: Transaction, status: RunStatus | None, run_id: str, override: str, message: Message
) -> Operated:
    """See `Store.override`; `status` is the run's."""
    if status is not RunStatus.RUNNING:
        return Operated.NOT_FOUND if status is None else Operated.CLOSED
    db = transaction.db
    at, _, version, behavior, _, begins_at, gated = db.execute(SQL["versions_of_run"], (run_id,)).fetchone()
    # Its start was delayed, and a message would end that, or it is not admitted yet.
    waits = gated or (begins_at is not None and begins_at > transaction.now)
    if override:
        pinned_to = "" if override == AUTO_UPGRADE else override
    else:
        pinned_to = version if behavior == PINNED else ""
    at = place(queue_of(at), pinned_to)
    values = {
        "run_id": run_id,
        "override": override or None,
        "pinned_to": pinned_to or None,
        "place": at,
        "now": transaction.now,
        "waits": waits,
    }
    db.execute(SQL["override"], values)
    db.execute(SQL["move_inbox"], {"run_id": run_id, "place": at})
    for id, where in db.execute(SQL["queued_activities"], (run_id,)).fetchall():
        db.execute(SQL["move_activity"], (at_activity(db, run_id, where), run_id, id))
    if not waits:
        _messages.send(transaction, [message], held_back=False)
    return Operated.CHANGED
