"""Runs: how they start, and how they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import structs

from durable._engine.records import NewRun, RunRecord, RunStatus, SendOutcome, StartOutcome, StartVerdict
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import EventRow, EventType
from durable.store.sqlite import _gates, _messages, _rows, _search, _sole, _versions, _workers
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("runs")
insert_events = Many(SQL["insert_events"])
_insert_data = Many(SQL["insert_run_data"])
_measures = _rows.decoder(tuple[str, int, int])

_CONDEMNED = _rows.queries("others")["condemned_runs"]

_insert_runs = Many(SQL["insert_run"])
_INSERT_UNLESS_THERE = SQL["insert_run"] + " ON CONFLICT DO NOTHING"
_EPOCH = 5
"""Which column of `insert_run` it is."""

_STARTED = int(EventType.WORKFLOW_EXECUTION_STARTED)

_LOOKING_BACK = (
    WorkflowIDReusePolicy.REJECT_DUPLICATE,
    WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
)
"""Under these it matters how the last run of the workflow id ended."""

_FAILED = (RunStatus.FAILED, RunStatus.CANCELED, RunStatus.TERMINATED, RunStatus.TIMED_OUT)


def create(transaction: Transaction, lives: Lives, runs: Sequence[NewRun]) -> list[StartVerdict | None]:
    """See `Store.create_runs`. Starts of one batch see each other, in the order given.

    None for a start whose messages are held back by the run it is content with; nothing of it was written.
    """
    db, now = transaction.db, transaction.now
    verdicts = _insert(transaction, runs, _rows_of(transaction, lives, runs))
    created = [
        run for run, verdict in zip(runs, verdicts, strict=True) if verdict.outcome is StartOutcome.STARTED
    ]
    answers = [
        verdict if not run.messages or _deliver(transaction, run, verdict) else None
        for run, verdict in zip(runs, verdicts, strict=True)
    ]
    _insert_data(db, [(run.run_id, run.info) for run in created])
    insert_events(db, [(run.run_id, 1, 1, _STARTED, now, run.started) for run in created])
    if soles := [run for run in created if run.activity is not None]:
        _sole.write(transaction, soles)
    if found := [(run.run_id, run.search_attributes) for run in created if run.search_attributes]:
        _search.write(db, found)
    if gated := [run for run in created if run.lane is not None]:
        _gates.enter(db, gated)
    return answers


def _rows_of(transaction: Transaction, lives: Lives, runs: Sequence[NewRun]) -> list[tuple[Any, ...]]:
    """The rows of new runs. What holds for many of them is looked up once."""
    db, now = transaction.db, transaction.now
    alive: dict[str, bool] = {}
    any_route: bool | None = None
    rows: list[tuple[Any, ...]] = []
    for run in runs:
        owner, at, pinned_to, override = run.owner, run.task_queue, None, None
        if run.version or run.override:
            at, pinned_to, override = _versions.of_start(db, run)
        if owner is not None:
            if owner not in alive:
                alive[owner] = _workers.is_live(transaction, lives, owner)
            # A delayed start is not owned: the delay would be forgotten if its owner died.
            if run.delay or not alive[owner]:
                owner = None
        if owner is not None:
            if any_route is None:
                any_route = _versions.any_route(db)
            if any_route and not _versions.may_own(
                db, _workers.version_of(transaction, owner), at, run.workflow_id
            ):
                owner = None
        begins = now + run.delay
        rows.append((
            run.run_id, run.workflow_id, run.workflow_type, at, owner, 0 if owner is None else 1,
            begins if owner is None and run.activity is None else None, run.priority, run.format,
            now, None if run.run_timeout is None else begins + run.run_timeout,
            run.first_run_id or None, run.parent_run_id, run.parent_close_policy,
            begins if run.delay else None, *_parent(db, run), pinned_to, override,
        ))  # fmt: skip
    return rows


def _insert(
    transaction: Transaction, runs: Sequence[NewRun], rows: Sequence[tuple[Any, ...]]
) -> list[StartVerdict]:
    """Insert new runs where nothing is in the way: all in one statement if that can be, else one after the other."""
    if len(runs) <= _rows.ROWS_AT_ONCE and not any(run.reuse in _LOOKING_BACK for run in runs):
        try:
            _insert_runs(transaction.db, rows)
        except sqlite3.IntegrityError:
            pass  # Nothing of the statement was done.
        else:
            return [_started(transaction, run, row) for run, row in zip(runs, rows, strict=True)]
    return [_insert_one(transaction, run, row) for run, row in zip(runs, rows, strict=True)]


def _started(transaction: Transaction, run: NewRun, row: tuple[Any, ...]) -> StartVerdict:
    epoch = row[_EPOCH]
    return StartVerdict(StartOutcome.STARTED, run.run_id, run.workflow_type, epoch, transaction.now)


def _deliver(transaction: Transaction, run: NewRun, verdict: StartVerdict) -> bool:
    """Send the messages of a start to the run it has; False when that one holds them back."""
    if verdict.outcome is StartOutcome.REJECTED:
        return True
    messages = [structs.replace(message, run_id=verdict.run_id) for message in run.messages]
    return SendOutcome.HELD_BACK not in _messages.send(transaction, messages)


def _insert_one(transaction: Transaction, run: NewRun, row: tuple[Any, ...]) -> StartVerdict:
    db, now = transaction.db, transaction.now
    if not db.execute(_INSERT_UNLESS_THERE, row).rowcount:
        return _explain(db, run, now)
    if run.reuse in _LOOKING_BACK:
        last = db.execute(SQL["last_closed_run"], (run.workflow_id,)).fetchone()
        if last is not None and (
            run.reuse is WorkflowIDReusePolicy.REJECT_DUPLICATE or last[2] not in _FAILED
        ):
            db.execute(SQL["forget_run"], (run.run_id,))
            return StartVerdict(StartOutcome.REJECTED, last[0], last[1], now=now)
    return _started(transaction, run, row)


def _parent(db: sqlite3.Connection, run: NewRun) -> tuple[str | None, str | None, str | None]:
    """The workflow of a run's parent, and the top of the tree of parents."""
    found = None
    if run.parent_run_id is not None:
        found = db.execute(SQL["parent"], (run.parent_run_id,)).fetchone()
    return found or (None, None, None)


def _explain(db: sqlite3.Connection, run: NewRun, now: int) -> StartVerdict:
    """Why a run was not inserted: it is there itself, or another open one is."""
    same = db.execute(SQL["same_run"], (run.run_id,)).fetchone()
    if same is not None:
        workflow_type, owner, epoch = same
        mine = owner is not None and owner == run.owner
        return StartVerdict(StartOutcome.SAME, run.run_id, workflow_type, epoch if mine else 0, now)
    run_id, workflow_type = db.execute(SQL["open_run"], (run.workflow_id,)).fetchone()
    content = run.conflict is WorkflowIDConflictPolicy.USE_EXISTING
    outcome = StartOutcome.USED_EXISTING if content else StartOutcome.REJECTED
    return StartVerdict(outcome, run_id, workflow_type, now=now)


def find(
    db: sqlite3.Connection, workflow_id: str, run_id: str | None, measured: bool = True
) -> RunRecord | None:
    """See `Store.find_run`."""
    if run_id is None:
        found = db.execute(SQL["latest_run"], (workflow_id,)).fetchone()
    else:
        found = db.execute(SQL["find_run"], (workflow_id, run_id)).fetchone()
    if found is None:
        return None
    if measured:
        records = read(db, found)
    else:
        records = [
            structs.replace(record, history_length=-1, history_size=-1)
            for record in read_unmeasured(db, found)
        ]
    return records[0] if records else None


def read(db: sqlite3.Connection, run_ids: Iterable[str]) -> list[RunRecord]:
    """The records of these runs, in this order, their histories measured."""
    records = read_unmeasured(db, run_ids)
    unknown = [record.run_id for record in records if record.history_length < 0]
    if not unknown:
        return records
    rows = _measures(db.execute(SQL["measure_histories"], (ids(unknown),)).fetchone()[0])
    return with_measures(records, {run_id: (length, size) for run_id, length, size in rows})


def read_unmeasured(db: sqlite3.Connection, run_ids: Iterable[str]) -> list[RunRecord]:
    """The records of these runs, in this order; the history of an open one has length -1."""
    return _rows.runs(*db.execute(SQL["read_runs"], (ids(run_ids),)).fetchone())


def with_measures(records: Iterable[RunRecord], measures: dict[str, tuple[int, int]]) -> list[RunRecord]:
    """These records, with (length, size) of histories by run id."""
    measured: list[RunRecord] = []
    for record in records:
        if record.history_length < 0:
            length, size = measures.get(record.run_id, (0, 0))
            record = structs.replace(record, history_length=length, history_size=size)
        measured.append(record)
    return measured


def read_events(db: sqlite3.Connection, run_id: str, after: int, limit: int | None) -> list[EventRow]:
    """See `Store.read_events`."""
    bound = -1 if limit is None else limit
    return _rows.events(*db.execute(SQL["read_events"], (run_id, after, bound)).fetchone())


def read_last_event(db: sqlite3.Connection, run_id: str) -> EventRow | None:
    """The newest event of a run."""
    found = db.execute(SQL["read_last_event"], (run_id,)).fetchone()
    return None if found is None else EventRow(*found)


def read_closing_events(db: sqlite3.Connection, run_ids: Iterable[str]) -> dict[str, EventRow]:
    """See `Store.read_closing_events`."""
    found = db.execute(SQL["read_closing_events"], (ids(run_ids),))
    return {run_id: EventRow(*event) for run_id, *event in found}


def read_events_of(db: sqlite3.Connection, run_ids: Iterable[str]) -> dict[str, list[EventRow]]:
    """The histories of several runs."""
    found = db.execute(SQL["read_events_of"], (ids(run_ids),))
    return {run_id: _rows.events(scalars, data) for run_id, scalars, data in found}


def condemned(db: sqlite3.Connection, limit: int) -> list[RunRecord]:
    """See `Store.condemned_runs`."""
    return read(db, _rows.strings(db.execute(_CONDEMNED, (limit,)).fetchone()[0]))


def timed_out(db: sqlite3.Connection, now: int, limit: int) -> list[RunRecord]:
    """See `Store.timed_out_runs`."""
    return read(db, _overdue(db, now, limit))


def late(db: sqlite3.Connection, now: int, limit: int) -> list[str]:
    """Runs that would have timed out, had they begun: they were started in a transaction, and nobody has claimed them."""
    return _overdue(db, now, limit, begins_at_claim=True)


def _overdue(db: sqlite3.Connection, now: int, limit: int, *, begins_at_claim: bool = False) -> list[str]:
    found = db.execute(SQL["timed_out_runs"], (now, begins_at_claim, limit)).fetchone()
    return _rows.strings(found[0])


def begin(transaction: Transaction, run_ids: Iterable[str]) -> None:
    """Let those of these runs begin now that begin when they are claimed: their time is moved on by what has passed."""
    db = transaction.db
    beginning = _rows.strings(db.execute(SQL["beginning"], (ids(run_ids),)).fetchone()[0])
    if beginning:
        values = {"now": transaction.now, "run_ids": ids(beginning)}
        db.execute(SQL["begin_event"], values)
        db.execute(SQL["begin_run"], values)
