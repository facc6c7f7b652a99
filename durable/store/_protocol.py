"""The port: what a database must do for `durable`, in operations of the domain.

A store decides nothing beyond locks and presence: semantics live in `_engine`, so a second database costs SQL, not a
second engine. One method writes histories, `commit`. Each method is one transaction, and says below what it promises;
`durable.testing.conformance` holds every store to it.

Ambiguity: any method that writes may raise `StoreUnavailableError` although it took effect, and so may a cancellation.
Each is built so that asking again, or reading back, tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from durable._engine.hints import Glance, Hint, HintKind
from durable._engine.lanes import BreakerNews, BreakerRecord, Forced, KeyRecord
from durable._engine.records import (
    ActivityRecord,
    AttemptOutcome,
    ClaimedRun,
    CommitResult,
    Heartbeat,
    HeartbeatAnswer,
    ListedRun,
    Message,
    NewRun,
    QueryAnswer,
    Question,
    RunRecord,
    SendOutcome,
    StartVerdict,
    Transition,
    UpdateOutcome,
    WorkerRecord,
)
from durable._engine.schedules.rows import ScheduleRow, ScheduleWrite
from durable._engine.versioning import DeploymentRow, QueueRoute, VersionRow
from durable.history import EventRow
from durable.store._filter import CountQuery, ListQuery, Position
from durable.store._fleet_protocol import FleetStore
from durable.store._inside import Inside
from durable.store._operator_protocol import OperatorStore
from durable.store._transaction_protocol import TransactionStore


class Lease(Protocol):
    """A worker's life, kept up from a thread of its own with a connection of its own.

    All methods are called from one private event loop in that thread.
    """

    async def renew(self) -> bool:
        """Prolong the lease by its duration, counted from the database's now.

        Returns:
            False when the worker has been marked dead: it must stop at once, for good.

        Raises:
            StoreUnavailableError: It may or may not have been prolonged; try again.
        """
        ...

    async def aclose(self) -> None:
        """Free the lease's connection (not the lease)."""
        ...


class Store(OperatorStore, FleetStore, TransactionStore, Protocol):
    """A database, opened and checked by `open_store`. All methods may be called concurrently from one event loop."""

    url: str
    """Where it is, without any password."""

    # ---------------------------------------------------------------- runs

    async def create_runs(self, runs: Sequence[NewRun]) -> list[StartVerdict]:
        """Create runs, each with its first event; each start stands or falls alone.

        At most one run of a workflow id is open at any time. The insert comes first and the policies are applied by
        later statements with a fresh view, so that no interleaving passes a policy it should not pass. A run id that is
        already there answers SAME. A delayed start is left without an owner, and its run timeout counts from the end of
        the delay. A run with an `activity` gets two events and the activity's row, QUEUED with id 1 and due at
        the end of the delay, and neither an owner nor a `wake_at`. TERMINATE_EXISTING (and reuse TERMINATE_IF_RUNNING) is not done here: the client
        terminates the open run first, so here it acts as FAIL.

        The messages of a start (`NewRun.messages`) are put into the inbox of the run its verdict names, STARTED, SAME
        or USED_EXISTING, in the same transaction; one whose id is there already, or has been consumed with an outcome,
        is left out. A run that holds messages back is waited for, as long as a call waits for anything. When that run
        closes meanwhile the start is judged again.
        """
        ...

    async def find_run(
        self, workflow_id: str, run_id: str | None = None, *, measured: bool = True
    ) -> RunRecord | None:
        """Return that run, or, without a run id, the workflow's open run or else the one started last.

        Measuring the history of an open run reads all of it. Unmeasured, which costs the same however long the history
        is, `history_length` and `history_size` are -1.
        """
        ...

    async def read_events(self, run_id: str, after: int = 0, limit: int | None = None) -> list[EventRow]:
        """Return the run's events behind position `after`, in order."""
        ...

    async def read_closing_events(self, run_ids: Sequence[str]) -> dict[str, EventRow]:
        """Return the last event of each of these runs that is closed, by run id."""
        ...

    async def read_activities(self, run_id: str) -> list[ActivityRecord]:
        """Return the rows of a run's activities, by id."""
        ...

    # ---------------------------------------------------------------- lists

    async def attribute_types(self, wanted: Mapping[str, int] = ...) -> dict[str, int]:
        """Give search attributes a type, and return the types of those that have one, by name.

        Whoever writes an attribute first decides: a name of `wanted` that has a type keeps it, and the caller looks whether
        it is the wanted one. A type never changes. Without `wanted` all that are known are returned.
        """
        ...

    async def list_runs(
        self, query: ListQuery, limit: int, behind: Position | None = None
    ) -> tuple[list[ListedRun], Position | None]:
        """Return a page of the runs a query finds, in its order, and where it ended; None when it is the last one.

        It finds what was committed before it was asked: a start, an upsert, a close.
        """
        ...

    async def count_runs(self, query: CountQuery) -> list[tuple[str | int | None, int]]:
        """Return how many runs a query finds, for each group, the largest first; without groups for None."""
        ...

    # ---------------------------------------------------------------- messages

    async def send(self, messages: Sequence[Message]) -> list[SendOutcome]:
        """Put messages into inboxes of open runs; each stands or falls alone.

        A message accepted here is read before its run closes. `REPEATED` is answered for an id that is in the inbox; the
        caller looks into the history for one that has been consumed already. An update that has an outcome is REPEATED
        too. `HELD_BACK` is answered for a moment by a run that is about to close (`Transition.hold_back`).
        """
        ...

    async def inside(self, connection: object) -> Inside:
        """Return what a caller's open transaction can be told to do; see there.

        Args:
            connection: A connection of his, of any library that `_seats` knows.

        Raises:
            TypeError: It is no connection.
            UnfitConnectionError: It leads to another database or namespace than this one, or nothing can be written there
                as a part of a transaction. Nothing was.
        """
        ...

    async def read_messages(self, run_ids: Sequence[str]) -> list[Message]:
        """Return all unread messages of these runs, by position."""
        ...

    async def read_owned_messages(self, worker_id: str, limit: int) -> list[Message]:
        """Return unread messages of runs this worker owns, by position: what hints would have told."""
        ...

    # ---------------------------------------------------------------- the commit path

    async def commit(self, transitions: Sequence[Transition]) -> CommitResult:
        """Write a batch of transitions of different runs in one transaction, or two, each transition all or nothing.

        The one writer of histories. Each transition is fenced: the run's row is locked where `epoch` is its own and it
        is open, and `(run_id, seq)` is unique. Never waits for a row somebody else has locked: that transition is BUSY.
        A run that closes is looked at for unread messages under its lock, by a later statement. A closed run loses its
        unread internal messages and activity rows, its owner and its `wake_at`.

        Children (`starts`) are created under their policies, and messages to other workflows (`sends`) go to the open
        run that is meant; what became of each is a message in the sender's own inbox, in the same transaction. Creating
        a run may have to wait for a stranger who creates one under the same workflow id: such transitions are written
        apart from the others, which they never hold up, and are BUSY when it takes long. A receiver that is locked by a
        closing transaction, or holds messages back, makes the sender BUSY.

        A close makes its successor, moves to it what `Unread` lets move, and gives every update that is lost with the
        run its outcome; each of its open children that is not to be abandoned gets an internal message, with the id
        "parent-closed", of type WORKFLOW_EXECUTION_TERMINATED or WORKFLOW_EXECUTION_CANCEL_REQUESTED. A child that
        cannot be locked makes the transition BUSY.

        A transition that was written before is WRITTEN, and nothing happens again: all its events stand there byte for
        byte, and the run has its epoch still. Their time is that of the first commit, not `now`.

        Events are stamped with the database's now, or with `Transition.time` where that says when they happened.

        Raises:
            StoreUnavailableError: Nothing is known. Read back by `read_events` and `owned_runs`, and classify.
            ValueError: One of them is malformed (something else stands at an event's position, a successor is of another
                workflow); nothing was written of its part of the batch. Commit them again apart: those that were
                written are WRITTEN.
        """
        ...

    async def locked_by(self, run_id: str) -> str:
        """Return who has kept the run's row locked for more than `LOCKED_LONG`, in words for people; "" for nobody.

        What it says may be out of date when it is read. Where nobody can lock a row for long it is always "".
        """
        ...

    async def find_update(self, run_id: str, message_id: str) -> UpdateOutcome | None:
        """Return how far an update has come: its outcome, ADMITTED while it is unread, None if the run knows nothing of it."""
        ...

    async def condemned_runs(self, limit: int) -> list[RunRecord]:
        """Return open runs with an unread termination in their inbox, whoever owns or holds them, and those with a cancel
        request that wait to be admitted."""
        ...

    # ---------------------------------------------------------------- claims

    async def claim_runs(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ClaimedRun]:
        """Make this worker the owner of at most `limit` runs that are ready, and return them with all they need.

        Ready: open, unowned, and due (`wake_at` passed; by priority, with a share for the lower ones) or, when not
        held, with an unread message. Only of these queues and types (of all types if None), with a format up to `format`, and only while
        the worker's own lease is live, in the same statement. Bumps `epoch`, clears `wake_at`. Events, messages and
        activity rows are read behind the claim.

        Of runs that are pinned, only those that are pinned to `version`. Of those that follow their queue, only if the
        queue is routed to `version` as this transaction sees it, for that workflow id; where no worker of any version
        has ever served the queue, it is routed to workers without one (""). See `durable._engine.versioning`.

        Runs with two deaths are on probation: `claim_probationer` gives them, one by one, and this never does, so that
        no worker gets one beside others by chance.
        """
        ...

    async def claim_probationer(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        *,
        format: int,
        version: str = "",
    ) -> ClaimedRun | None:
        """As `claim_runs`, for one ready run with two deaths or more (not quarantined), or None."""
        ...

    async def owned_runs(self, worker_id: str) -> dict[str, int]:
        """Return run id and epoch of all runs that the database says this worker owns."""
        ...

    async def reload_run(self, worker_id: str, run_id: str, epoch: int) -> ClaimedRun | None:
        """Return an owned run as a claim would, without claiming it; None when it is not owned under this epoch."""
        ...

    async def next_wake(self, task_queues: Sequence[str]) -> int | None:
        """Return in how many microseconds the next unowned run or queued activity of these places becomes due, or None.

        It is 0 for what became due within the last `RECENT` microseconds. What has been due for longer is not counted:
        a claim that came back without it will not get it by coming back at once, since nobody there can serve it.
        """
        ...

    async def glance(self, task_queues: Sequence[str]) -> Glance:
        """Return, by one read, whether there is anything at these places, or due for anybody, that is worth a look.

        Never misses what a claim or another look would find then; it may show what they would not.
        """
        ...

    # ---------------------------------------------------------------- activities

    async def claim_activities(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        activity_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
        version: str = "",
    ) -> list[ActivityRecord]:
        """Make this worker run at most `limit` queued activities that are due, by priority, then age.

        Only of places that are for workers of `version`, as in `claim_runs`.
        Those that wait in lanes (`NewActivity.lane`) share with the rest: in a priority, the chance of a lane to be next
        is as large as its share, the rest of a queue being one more lane with a share of 1. In a lane the oldest is
        first. Of a key no more become RUNNING than its limit, whoever claims at the same time; one that weighs more than
        the limit counts as much as the limit, and one that does not fit holds up what is behind it under its key. Behind
        an open circuit breaker nothing is given out but what fails fast, `refused`. No more than a queue's rate.

        Only of these queues and types (of all types if None), of runs with a format up to `format`: what a newer release
        wrote waits for its workers. Only while the worker's own lease is live. The row becomes RUNNING, `started_at` is
        the database's now and `deadline` the earliest of close_by, now + start_to_close and now + heartbeat.
        """
        ...

    async def finish_attempts(self, outcomes: Sequence[AttemptOutcome]) -> list[bool]:
        """End attempts; each stands or falls alone. False: that attempt had already been ended otherwise.

        With a message the row becomes DONE and the message goes to the run's inbox, together, if the run is open. With
        `retry_in` the row becomes QUEUED with the next attempt number, without a `start_by`. With `outside` it becomes
        QUEUED under the same number, due at `NEVER_DUE`, with `outside_since` and the deadlines of a running attempt.

        The next attempt of a paused row is due at `NEVER_DUE`, unless its cancellation is requested. An outcome with a
        `revision` that is not the row's is not taken. With `sole` the run is closed at once: its last two events are
        appended behind the two it began with, and its row goes.
        """
        ...

    async def heartbeat(self, beats: Sequence[Heartbeat]) -> list[HeartbeatAnswer]:
        """Record signs of life: progress, and a new deadline; answers whether the attempt is still wanted."""
        ...

    async def stray_outcomes(self, limit: int) -> list[tuple[ActivityRecord, Message]]:
        """Return rows of runs of one activity that are DONE, each with the message that brought the outcome.

        Only releases that know no such runs leave any: whoever finds one ends the run, with the row's state.
        """
        ...

    async def owned_activities(self, worker_id: str) -> list[ActivityRecord]:
        """Return the rows that are RUNNING at this worker, as the database has it."""
        ...

    async def expired_activities(self, limit: int) -> list[ActivityRecord]:
        """Return rows, QUEUED or RUNNING, whose `deadline` passed, and RUNNING rows without a worker (it was lost).

        The deadline of a QUEUED row is the earlier of `start_by` and `close_by`.
        """
        ...

    # ---------------------------------------------------------------- limits

    async def read_key(self, kind: int, key: str) -> KeyRecord:
        """Return what is known of a concurrency key, of activities or of workflows."""
        ...

    async def set_key(self, kind: int, key: str, most: int | None) -> None:
        """Set how much of a key may run, whatever is asked for; None leaves it to what is asked for.

        What runs goes on. Workflows that wait go on with the next claim.
        """
        ...

    async def sweep_keys(self, limit: int) -> int:
        """Remove what is kept of at most `limit` keys that nothing has and nobody has set; return how many."""
        ...

    async def tell_breakers(self, news: Sequence[BreakerNews]) -> None:
        """Take the news of how attempts ended that were behind circuit breakers, in this order.

        A failure is remembered for the breaker's window; as many as its threshold open it. A success of anything closes
        one that is half open, and a failure opens it again. News that come twice count twice: they are no facts of a run.
        """
        ...

    async def read_breaker(self, key: str) -> BreakerRecord:
        """Return what is known of a circuit breaker; one that nothing has failed behind is closed."""
        ...

    async def force_breaker(self, key: str, forced: Forced | None) -> None:
        """Keep a circuit breaker open or closed; None closes it and leaves it to itself."""
        ...

    async def set_rate(self, task_queue: str, per_second: float | None) -> None:
        """Let so many activities of a task queue start in a second, of one second at once; None for any number."""
        ...

    async def read_rate(self, task_queue: str) -> float | None:
        """Return how many activities of a task queue may start in a second; None for any number."""
        ...

    # ---------------------------------------------------------------- queries

    async def ask(self, question: Question) -> bool:
        """Write a query down for a worker that has the code; a repeated one is the same. False: there is no such run.

        Nothing about the run changes, and no lock of it is taken.
        """
        ...

    async def take_questions(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
    ) -> list[Question]:
        """Return at most `limit` queries without an answer that this worker is to answer, the oldest first.

        These are queries of runs it owns; of runs of these queues and types (all types if None), with a format up to `format`, that nobody
        owns; and of such runs whose owner has not answered for `QUERY_PATIENCE`. Each is given to one worker at a time,
        and to another one when it has not answered for `QUERY_TAKEN_FOR`.
        """
        ...

    async def answer_questions(self, answers: Sequence[QueryAnswer]) -> None:
        """Write answers down; the first one of a query stays, and one that nobody waits for is dropped."""
        ...

    async def read_answers(self, query_ids: Sequence[str]) -> list[QueryAnswer]:
        """Return the answers of those of these queries that have one."""
        ...

    async def sweep_questions(self, limit: int) -> int:
        """Delete at most `limit` queries whose askers have given up waiting; return how many."""
        ...

    # ---------------------------------------------------------------- schedules

    async def write_schedule(self, write: ScheduleWrite) -> list[StartVerdict] | None:
        """Replace or create a schedule, and create the runs that it starts, in one transaction.

        A claim on it ends. Each start stands or falls alone, as in `create_runs`; a run id that is already there answers
        SAME.

        Returns:
            The verdicts of the starts; None when the schedule has another revision, is gone, or is there already: then
            nothing was written.

        Raises:
            StoreUnavailableError: Unknown; read the schedule again.
        """
        ...

    async def find_schedule(self, schedule_id: str) -> ScheduleRow | None:
        """Return a schedule as it is now."""
        ...

    async def list_schedules(self, after: str, limit: int) -> list[ScheduleRow]:
        """Return at most `limit` schedules whose ids come behind `after`, by the bytes of their ids."""
        ...

    async def next_schedule(self) -> int | None:
        """Return in how many microseconds the next schedule may be claimed, 0 when one may be now, None for never."""
        ...

    async def claim_schedules(self, limit: int) -> list[ScheduleRow]:
        """Return at most `limit` schedules whose `wake_at` has passed, the longest overdue first, skipping what is locked.

        For `TAKEN_FOR`, or until it is written, nobody else is given one. The claim is a courtesy: what fences a decision
        is the revision.
        """
        ...

    async def ended_schedules(self, limit: int) -> Sequence[str]:
        """Return the ids of schedules one of whose `running` chains has no open run."""
        ...

    async def delete_schedule(self, schedule_id: str) -> bool:
        """Delete a schedule, and nothing of what it has started; False when there is none."""
        ...

    # ---------------------------------------------------------------- versions

    async def find_deployments(self, name: str | None = None) -> list[DeploymentRow]:
        """Return the deployment of that name, or all, by name. There is one once a worker of it has come."""
        ...

    async def find_versions(self, deployment: str) -> list[VersionRow]:
        """Return the versions of a deployment, the oldest first."""
        ...

    async def write_deployment(self, row: DeploymentRow) -> bool:
        """Replace the deployment that has this revision, and route its queues accordingly, in one transaction.

        A queue that its current version does not serve is routed to workers without a version, and one that its
        ramping version does not serve has no ramp. What another deployment had said about these queues is over.

        Returns:
            False when it has another revision, or is not there: then nothing was written.
        """
        ...

    async def forget_version(self, version: str, *, pinned: bool = False) -> bool:
        """Remove a version, unless it is current or ramping, one of its workers lives, or a run is pinned to it.

        Args:
            version: Which.
            pinned: Whether it goes though runs are pinned to it.
        """
        ...

    async def queue_routes(self, task_queues: Sequence[str]) -> dict[str, QueueRoute]:
        """Return whom runs of these queues belong to that follow them; none for a queue that no version has served."""
        ...

    async def moved_runs(self, worker_id: str, task_queues: Sequence[str], version: str) -> list[str]:
        """Return the runs that this worker owns and that are not, or no longer, for workers of its version."""
        ...

    async def stranded_versions(self) -> list[tuple[str, str]]:
        """Return versions, each with a queue, that runs wait for which are ready, and of which no worker lives."""
        ...

    # ---------------------------------------------------------------- workers

    async def register_worker(self, worker: WorkerRecord) -> Lease:
        """Write a fresh incarnation with a live lease, and return what keeps it alive. A known id is refused."""
        ...

    async def unregister_worker(self, worker_id: str) -> None:
        """Mark a worker that owns nothing any more as dead and remove it."""
        ...

    async def list_workers(self) -> list[WorkerRecord]:
        """Return every worker that is not removed."""
        ...

    async def bury_worker(self, worker_id: str, renewals: int) -> bool:
        """Mark a worker dead, for good, if its lease has expired and `renewals` is still its count."""
        ...

    async def take_over(self, limit: int) -> int:
        """Free at most `limit` runs and activities of workers that are dead or do not exist; return how many.

        A freed run gets `wake_at` now and one death more; the third death of a run, which it met on probation,
        quarantines it: no `wake_at`, `hold`, and a reason that says how many workers died and what to do. A freed activity is RUNNING without a worker. Skips what is locked.
        A dead worker that nothing names any more is removed.
        """
        ...

    async def timed_out_runs(self, limit: int) -> list[RunRecord]:
        """Return open runs whose run timeout has passed."""
        ...

    # ---------------------------------------------------------------- hints and life

    def hint(self, hints: Sequence[Hint]) -> None:
        """Tell whoever listens, soon, coalesced, outside any transaction of ours. Never waits, never fails."""
        ...

    def listen(self, callback: Callable[[Hint], None], *kinds: HintKind) -> Callable[[], None]:
        """Call `callback`, on the event loop, for hints of these kinds; return how to stop. Best effort.

        Args:
            callback: Called with each hint, of this and of other processes.
            kinds: What it wants to hear of; everything when none is named.
        """
        ...

    async def now(self) -> int:
        """Return the database's time."""
        ...

    async def aclose(self) -> None:
        """Finish what is under way and close every connection; again does nothing."""
        ...
