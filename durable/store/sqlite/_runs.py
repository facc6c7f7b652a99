"""Runs: how they start, and how they are read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from durable._engine.records import NewRun, RunRecord, RunStatus, SendOutcome, StartOutcome, StartVerdict
from durable.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import EventRow, EventType, Payload
from durable.store.sqlite import _gates, _messages, _rows, _search, _sole, _versions, _workers
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("runs")
insert_events = Many(SQL["insert_events"])
_insert_data = Many(SQL["insert_run_data"])
_measures = _rows.decoder(tuple[str, int, int])

_CONDEMNED = _rows.queries("others")["condemned_runs"]

_FAILED = (RunStatus.FAILED, RunStatus.CANCELED, RunStatus.TERMINATED, RunStatus.TIMED_OUT)


def create(transaction: Transaction, lives: Lives, runs: Sequence[NewRun]) -> list[StartVerdict | None]:
    """See `Store.create_runs`. Starts of one batch see each other, in the order given.

    None for a start whose messages are held back by the run it is content with; nothing of it was written.
    """
    verdicts: list[StartVerdict | None] = []
    data: list[tuple[str, bytes]] = []
    found: list[tuple[str, Mapping[str, Payload]]] = []
    events: list[tuple[str, int, int, int, int, bytes]] = []
    gated: list[NewRun] = []
    alive: dict[str, bool] = {}
    soles: list[NewRun] = []
    for run in runs:
        owner = run.owner
        # A delayed start is not owned: the delay would be forgotten if its owner died.
        if owner is not None and (
            run.delay or not alive.setdefault(owner, _workers.is_live(transaction, lives, owner))
        ):
            owner = None
        at, pinned_to, override = (
            _versions.of_start(transaction.db, run)
            if run.version or run.override
            else (run.task_queue, None, None)
        )
        if owner is not None and _versions.any_route(transaction.db):
            version = _workers.version_of(transaction, owner)
            owner = owner if _versions.may_own(transaction.db, version, at, run.workflow_id) else None
        verdict = _insert(transaction, run, owner, (at, pinned_to, override))
        if verdict.outcome is StartOutcome.STARTED:
            data.append((run.run_id, run.info))
            if run.lane is not None:
                gated.append(run)
            if run.activity is not None:
                soles.append(run)
            if run.search_attributes:
                found.append((run.run_id, run.search_attributes))
            events.append(
                (run.run_id, 1, 1, int(EventType.WORKFLOW_EXECUTION_STARTED), transaction.now, run.started)
            )
        verdicts.append(verdict if not run.messages or _deliver(transaction, run, verdict) else None)
    _insert_data(transaction.db, data)
    insert_events(transaction.db, events)
    if soles:
        _sole.write(transaction, soles)
    _search.write(transaction.db, found)
    _gates.enter(transaction.db, gated)
    return verdicts


def _deliver(transaction: Transaction, run: NewRun, verdict: StartVerdict) -> bool:
    """Send the messages of a start to the run it has; False when that one holds them back."""
    if verdict.outcome is StartOutcome.REJECTED:
        return True
    messages = [structs.replace(message, run_id=verdict.run_id) for message in run.messages]
    return SendOutcome.HELD_BACK not in _messages.send(transaction, messages)


def _insert(
    transaction: Transaction, run: NewRun, owner: str | None, versions: tuple[str, str | None, str | None]
) -> StartVerdict:
    db, now = transaction.db, transaction.now
    wake_at = now + run.delay if owner is None and run.activity is None else None
    times_out_at = None if run.run_timeout is None else now + run.delay + run.run_timeout
    epoch = 0 if owner is None else 1
    inserted = db.execute(
        SQL["insert_run"],
        (run.run_id, run.workflow_id, run.workflow_type, versions[0], owner, epoch, wake_at, run.priority, run.format,
         now, times_out_at, run.first_run_id or None, run.parent_run_id, run.parent_close_policy,
         now + run.delay if run.delay else None, *_parent(db, run), *versions[1:]),
    ).rowcount  # fmt: skip
    if not inserted:
        return _explain(db, run, now)
    if run.reuse in (
        WorkflowIDReusePolicy.REJECT_DUPLICATE,
        WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    ):
        last = db.execute(SQL["last_closed_run"], (run.workflow_id,)).fetchone()
        if last is not None and (
            run.reuse is WorkflowIDReusePolicy.REJECT_DUPLICATE or last[2] not in _FAILED
        ):
            db.execute(SQL["forget_run"], (run.run_id,))
            return StartVerdict(StartOutcome.REJECTED, last[0], last[1], now=now)
    return StartVerdict(StartOutcome.STARTED, run.run_id, run.workflow_type, epoch, now)


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
