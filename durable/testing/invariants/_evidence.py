"""What invariants are held against: what a database holds, what clients were told, and what activities have done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Literal

from msgspec import Struct

from durable._engine._state import RunState
from durable.exceptions import HistoryError
from durable.history import Event, EventRow, WorkflowExecutionStarted, decode_event


class RunRow(Struct, frozen=True, gc=False):
    """The row of a run, as far as invariants speak of it. `gate` is 1 while it waits to be admitted under its key."""

    run_id: str
    workflow_id: str
    workflow_type: str
    status: int
    hold: int
    reason: str
    owner: str | None
    epoch: int
    wake_at: int | None
    deaths: int
    first_run_id: str
    parent_run_id: str | None
    parent_close_policy: int | None
    gate: int | None

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.status == 1


class MessageRow(Struct, frozen=True, gc=False):
    """An unread message."""

    run_id: str
    position: int
    message_id: str
    type: int
    internal: bool
    data: bytes


class TaskRow(Struct, frozen=True, gc=False):
    """The row of an activity: queued (1), running (2), ended and not yet in the history (3)."""

    run_id: str
    id: int
    state: int
    attempt: int
    worker: str | None


class UpdateRow(Struct, frozen=True, gc=False):
    """How far an update has come: accepted (2), completed (3)."""

    run_id: str
    message_id: str
    stage: int


class RunFacts(Struct, frozen=True, dict=True):
    """Everything that a database holds of one run."""

    row: RunRow
    events: Sequence[EventRow]
    inbox: Sequence[MessageRow] = ()
    activities: Sequence[TaskRow] = ()
    updates: Sequence[UpdateRow] = ()

    @cached_property
    def decoded(self) -> Sequence[Event]:
        """The history; as far as it can be read, if it cannot be read to its end."""
        found: list[Event] = []
        with suppress(HistoryError):
            found.extend(map(decode_event, self.events))
        return found

    @cached_property
    def state(self) -> RunState | None:
        """What the history folds to; None when it is not a history, or a newer release wrote it."""
        if len(self.decoded) != len(self.events) or not self.events:
            return None
        try:
            return fold(self.row.run_id, self.decoded)
        except HistoryError:
            return None


def fold(run_id: str, events: Sequence[Event]) -> RunState:
    """Return what a history folds to.

    Raises:
        HistoryError: It is none.
    """
    if not events or not isinstance(events[0].data, WorkflowExecutionStarted):
        raise HistoryError("it does not begin with a start")
    return RunState.of(run_id, events)


class Holders(Struct, frozen=True, gc=False):
    """How much of a concurrency key is taken: of workflows (kind 1) or of activities (kind 2)."""

    kind: int
    key: str
    held: int
    most: int


class Snapshot(Struct, frozen=True, dict=True):
    """A database, or a part of it, at one instant.

    Attributes:
        now: The database's time.
        runs: The runs, by their ids.
        workers: The ids of all incarnations that have a row.
        related: Rows of runs that those in `runs` speak of.
        holders: How much of each concurrency key is taken.
        whole: Whether nothing was ever deleted there.
    """

    now: int
    runs: Mapping[str, RunFacts]
    workers: frozenset[str]
    related: Mapping[str, RunRow]
    holders: Sequence[Holders] = ()
    whole: bool = True

    def row(self, run_id: str) -> RunRow | None:
        """Return the row of a run, if it is known here."""
        run = self.runs.get(run_id)
        return self.related.get(run_id) if run is None else run.row

    @cached_property
    def going(self) -> frozenset[str]:
        """The first runs of all chains that have an open run."""
        rows = (*self.related.values(), *(run.row for run in self.runs.values()))
        return frozenset(row.first_run_id or row.run_id for row in rows if row.open)


Outcome = Literal["ok", "fail", "info"]


class Operation(Struct, frozen=True, gc=False):
    """What a client asked for, and what it was told.

    Attributes:
        number: Its place in the log.
        client: Who asked; operations of one client that do not overlap have an order.
        kind: "start", "signal", "update", "cancel" or "result".
        workflow_id: Of which workflow.
        key: What its arguments (or its reason) contain and those of no other do, so that it can be found again.
        outcome: "ok" when it was acknowledged, "fail" when it was told that it did not happen and will not, "info" when
            nothing is known.
        run_id: The run that the answer named.
        value: The answer.
        began: When it was asked for, on any clock that all operations of the client share.
        ended: When it was answered.
    """

    number: int
    client: str
    kind: str
    workflow_id: str
    key: str = ""
    outcome: Outcome = "info"
    run_id: str = ""
    value: str = ""
    began: float = 0.0
    ended: float = 0.0


class Effect(Struct, frozen=True, gc=False):
    """What an attempt of an activity has done to the world.

    Attributes:
        run_id: Of which run, with the activity's id and type there.
        attempt: Which attempt did it.
        key: The attempt's idempotency key.
        value: What was done.
        began: When the attempt began.
        ended: When it was done; 0 when the attempt did not come that far.
        transactional: Whether it was committed together with the activity's completion.
    """

    run_id: str
    activity_id: str
    activity_type: str
    attempt: int
    key: str
    value: str = ""
    began: float = 0.0
    ended: float = 0.0
    transactional: bool = False


class Write(Struct, frozen=True, gc=False):
    """A commit or a claim as somebody beside the database has seen it: who wrote to a run, under which epoch."""

    run_id: str
    epoch: int
    worker: str
    first_seq: int = 0
    events: int = 0
    claim: bool = False


class Fault(Struct, frozen=True, gc=False):
    """A time in which something was broken, on the clock of the effects."""

    began: float
    ended: float
    what: str = ""


class Evidence(Struct, frozen=True):
    """All that is known when a test is over.

    Attributes:
        snapshot: What the database holds.
        earlier: What it held before, if somebody looked.
        operations: What clients asked for.
        effects: What activities did, once everything in `ledger` was asked to write there.
        ledger: The types of activities that write all their effects to the ledger.
        writes: Who wrote what, in order, if somebody looked.
        faults: When something was broken.
        finished: The workflows that must have ended by now; None when that cannot be said.
        secrets: What must not stand anywhere in the database in plain.
    """

    snapshot: Snapshot
    earlier: Snapshot | None = None
    operations: Sequence[Operation] = ()
    effects: Sequence[Effect] = ()
    ledger: frozenset[str] = frozenset()
    writes: Sequence[Write] = ()
    faults: Sequence[Fault] = ()
    finished: frozenset[str] | None = None
    secrets: Sequence[bytes] = ()
