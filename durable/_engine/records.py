"""What crosses the port between the engine and a store: frozen records, no behaviour.

A store keeps these as rows and gives them back; it never looks into the bytes. Instants and durations are integers of
microseconds. Where a value depends on the database's clock it is given as a duration ("due in"), and the store adds its
own now: local clocks decide nothing.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from durable._engine.activity_records import ActivityRecord as ActivityRecord
from durable._engine.activity_records import ActivityState as ActivityState
from durable._engine.activity_records import Anew as Anew
from durable._engine.activity_records import NewActivity as NewActivity
from durable._engine.activity_records import SoleActivity as SoleActivity
from durable._engine.lanes import Lane
from durable._engine.versioning import Stamp
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import EventRow, Payload


class RunStatus(IntEnum):
    """The stored status of a run: Temporal's numbers, and 0 for a row that is open but held back from claims."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7


class Hold(IntEnum):
    """Why an open run is not claimed because of a message: it wakes by its `wake_at`, or by an operator, only."""

    NONE = 0
    BLOCKED = 1
    """A workflow task failed; it is tried again at `wake_at`."""
    QUARANTINED = 2
    """It was alone in a worker that died, for the third time; only an operator frees it."""
    PAUSED = 3


class Unread(IntEnum):
    """What a closing run does about messages in its inbox that are not the library's own."""

    REFUSE = 1
    """Any of them refuses the close."""
    REFUSE_SIGNALS = 2
    """Any but an update refuses it; updates go on to the successor."""
    MOVE = 3
    """None refuses it: they go on to the successor, in their order."""


class NewRun(Struct, frozen=True, gc=False):
    """A run to be created: its row and its first event.

    Attributes:
        run_id: A UUIDv7 made by whoever starts it. A start repeated with the same run id is the same start.
        started: The encoded `WorkflowExecutionStarted`, event 1 of task 1.
        info: Encoded `RunInfo`, what lists and descriptions show of a run beside its row.
        owner: The worker that owns it from the start, or None. It is honoured only while that worker's lease is live,
            and without a delay: nobody owns a run that is not to begin yet.
        delay: How long until it may first be claimed.
        run_timeout: How long until the run is timed out, counted from the end of the delay; None for never.
        first_run_id: The first run of the chain it continues; "" when it is the first itself.
        parent_run_id: The run whose child it is, or None.
        parent_close_policy: What the end of that run does to it; None when it has no parent, or is abandoned by it.
        messages: What is put into the inbox of the run that the verdict names, with it or not at all: of the new run, or
            of the existing one that the start was content with. Their `run_id` is ignored.
        search_attributes: What the run is found by.
        version: The version it is pinned to from the start, as far as that serves its queue; or `RAMPING`; "" when it
            follows its queue.
        override: What holds for it whatever its workflow says: that version, or `AUTO_UPGRADE`; "" for nothing.
        lane: Where it waits until it is admitted, if not with the rest of its queue.
        admitted: Whether it goes on for one that was admitted.
        activity: Its one activity, if it has no code: nobody owns or claims it, and its end is the activity's.
    """

    run_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    started: bytes
    info: bytes = b"{}"
    format: int = 1
    priority: int = 3
    delay: int = 0
    run_timeout: int | None = None
    owner: str | None = None
    reuse: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    conflict: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.FAIL
    first_run_id: str = ""
    parent_run_id: str | None = None
    parent_close_policy: ParentClosePolicy | None = None
    messages: tuple[Message, ...] = ()
    search_attributes: dict[str, Payload] = {}
    version: str = ""
    override: str = ""
    lane: Lane | None = None
    admitted: bool = False
    activity: SoleActivity | None = None


class StartOutcome(IntEnum):
    """What became of a start."""

    STARTED = 1
    SAME = 2
    """This very run (same run id) is already there: the start was repeated."""
    USED_EXISTING = 3
    """The workflow id has an open run, and the start was content with it."""
    REJECTED = 4
    """The workflow id is in use, or may not be used again. Nothing was written."""


class StartVerdict(Struct, frozen=True, gc=False):
    """The answer to one `NewRun`. `run_id` names the run that is there now; `epoch` is set when the caller owns it."""

    outcome: StartOutcome
    run_id: str
    workflow_type: str
    epoch: int = 0
    now: int = 0


class RunRecord(Struct, frozen=True, gc=False):
    """A run's row as readers see it. `first_run_id` is the first run of its chain, itself when it continues no other.

    `pinned_to` and `override` are of versions, see `NewRun`; told where a run is looked for, not where it is claimed.
    """

    run_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    status: RunStatus
    hold: Hold
    reason: str
    owner: str | None
    epoch: int
    wake_at: int | None
    priority: int
    deaths: int
    started_at: int
    closed_at: int | None
    times_out_at: int | None
    history_length: int
    history_size: int
    info: bytes
    first_run_id: str
    parent_run_id: str | None
    pinned_to: str = ""
    override: str = ""


class ListedRun(Struct, frozen=True, gc=False):
    """A run as lists show it.

    Attributes:
        execution_at: When it begins, or began: later than `started_at` after a delay.
        history_length: How many events it has, once it has closed; None before.
        fault: Why `info` could not be decoded by a codec; then it is as it is stored.
        version: The version it is pinned to, else the one that ran its newest task; "" for none.
        behavior: A number of `VersioningBehavior`, with what overrides it.
        hold: What holds it; not that it waits for its turn, as one does that has a concurrency key.
        reason: Why it does not go on, or was ended, as its row tells.
    """

    run_id: str
    workflow_id: str
    workflow_type: str
    task_queue: str
    status: RunStatus
    started_at: int
    execution_at: int
    closed_at: int | None
    history_length: int | None
    first_run_id: str
    parent_workflow_id: str | None
    parent_run_id: str | None
    root_workflow_id: str
    root_run_id: str
    info: bytes
    version: str = ""
    behavior: int = 0
    hold: Hold = Hold.NONE
    reason: str = ""
    fault: Exception | None = None


class Message(Struct, frozen=True, gc=False):
    """A message to a run: an event in waiting. The owner appends `data` as it stands.

    Attributes:
        run_id: The run it is for; it must be open.
        message_id: Unique for the run; the event carries it too, so that a repeated send doubles nothing.
        type: The `EventType` it becomes.
        data: The encoded facts of that event.
        position: Its place in the one order of all messages of the database; 0 until it is stored.
        internal: Sent by the library itself: it needs no look at the run's status and no lock.
        fault: Why `data` could not be decoded by a codec, when it is read; then it is as it is stored.
    """

    run_id: str
    message_id: str
    type: int
    data: bytes
    position: int = 0
    internal: bool = False
    fault: Exception | None = None


class SendOutcome(IntEnum):
    """What became of a message."""

    SENT = 1
    REPEATED = 2
    """It is in the inbox already, or in the history: the send was repeated."""
    CLOSED = 3
    NOT_FOUND = 4
    HELD_BACK = 5
    """The run is about to close and takes nothing for a moment; send it again soon."""


TAKEN = (SendOutcome.SENT, SendOutcome.REPEATED)
"""What is said of messages that are with their run."""


class Reply(Struct, frozen=True, gc=False):
    """What a run tells itself about something it did to others: one of two messages, chosen when that is written.

    Both are internal, and in the run's own inbox in the same transaction, so that no crash comes between.
    """

    message_id: str
    done_type: int
    done: bytes
    failed_type: int
    failed: bytes


class ChildStart(Struct, frozen=True, gc=False):
    """A child to be created, under the policies of its `NewRun`; `reply` tells whether it is there."""

    run: NewRun
    reply: Reply


class ExternalSend(Struct, frozen=True, gc=False):
    """A message to whatever open run a workflow id has; `reply` tells whether there was one.

    Attributes:
        workflow_id: Whose run is meant.
        run_id: Only this run, if given.
        first_run_id: Only a run of this chain, if given.
        message_id: Unique for the receiver: one that is there already counts as sent.
        type: The `EventType` it becomes there.
        data: The encoded facts of that event.
    """

    workflow_id: str
    message_id: str
    type: int
    data: bytes
    reply: Reply
    run_id: str | None = None
    first_run_id: str | None = None


class UpdateStage(IntEnum):
    """How far an update has come. Values are Temporal's."""

    ADMITTED = 1
    """In the inbox: it will be looked at, whatever crashes."""
    ACCEPTED = 2
    COMPLETED = 3
    """It has its one outcome: a result, a failure, or a rejection."""


class UpdateOutcome(Struct, frozen=True, gc=False):
    """What callers of an update wait for.

    Attributes:
        message_id: The update's, as a message.
        stage: ACCEPTED or COMPLETED when written; what is read may also be ADMITTED.
        data: The encoded outcome, empty before there is one.
    """

    message_id: str
    stage: UpdateStage
    data: bytes = b""


class Close(Struct, frozen=True, gc=False):
    """The run ends with this transition; its last event says how.

    Attributes:
        status: How.
        unread: What unread messages mean to it. One in `consumed` never counts.
        successor: The run that goes on under the same workflow id, created in the same transaction, behind the close.
            It is not held up by any policy. What moves to it keeps its message id and its order.
        update_lost: The encoded outcome for updates that end with the run: those in the inbox that nobody takes over,
            and those that are accepted and have no outcome.
    """

    status: RunStatus
    unread: Unread = Unread.REFUSE
    successor: NewRun | None = None
    update_lost: bytes = b""


class Release(Struct, frozen=True, gc=False):
    """Ownership is given up with this transition.

    Attributes:
        wake_at: The instant at which it must be claimed again (its next timer), None to wait for a message.
        hold: Why it is held back from messages, if it is.
        reason: The reason, for people.
        wake_in: Instead of `wake_at`: how long from the database's now.
    """

    wake_at: int | None = None
    wake_in: int | None = None
    hold: Hold = Hold.NONE
    reason: str = ""


class Upsert(Struct, frozen=True, gc=False):
    """A change of what a run is found by, and of what is shown of it.

    Attributes:
        search_attributes: The attributes that change; one without a value is removed.
        info: The whole new `NewRun.info`.
        stamp: Set when another version ran the newest task than the one before it.
    """

    search_attributes: dict[str, Payload]
    info: bytes
    stamp: Stamp | None = None


class Transition(Struct, frozen=True, gc=False):
    """All that one step of one run writes: applied whole under the fence (`run_id`, `epoch`), or not at all.

    Attributes:
        events: Rows from the next free `seq` on; `time` is ignored, the store stamps the database's.
        not_before: The instant below which no event of it is stamped: the time of the newest event that is there.
        time: The instant at which its events happened, exactly, when code has run under that time already; None for the
            commit's. Not before `not_before`, and not in the database's future.
        consumed: Positions of inbox messages that these events were, or that are dropped.
        activities: Rows to insert; one with the same id is replaced.
        activities_done: Ids of rows to delete; none of `activities`.
        activities_canceled: Ids of rows whose `cancel_requested` is set, those of `activities` included.
        messages: What it sends to runs it knows, itself included.
        starts: Children to be created.
        sends: What it sends to other workflows by their ids.
        outcomes: What became of updates.
        upsert: Set when it changes what the run is found by.
        close: Set when the run closes. `REFUSED` over unread messages, see `Unread`. Its children that are open get an
            internal message each: a termination or a cancel request, as their `parent_close_policy` says.
        hold_back: New messages from outside are not taken for this long, so that a close can get through. Microseconds.
        release: Set when ownership is given up.
        proven: The code has run as far as the log goes, and neither killed its worker nor failed: the death count goes to
            0, and a hold and its reason go.
    """

    run_id: str
    epoch: int
    events: tuple[EventRow, ...] = ()
    not_before: int = 0
    time: int | None = None
    consumed: tuple[int, ...] = ()
    activities: tuple[NewActivity, ...] = ()
    activities_done: tuple[int, ...] = ()
    activities_canceled: tuple[int, ...] = ()
    messages: tuple[Message, ...] = ()
    starts: tuple[ChildStart, ...] = ()
    sends: tuple[ExternalSend, ...] = ()
    outcomes: tuple[UpdateOutcome, ...] = ()
    upsert: Upsert | None = None
    close: Close | None = None
    release: Release | None = None
    hold_back: int = 0
    proven: bool = False


class Verdict(IntEnum):
    """What became of one transition."""

    WRITTEN = 1
    BUSY = 2
    """A row it needs is locked by somebody else. Nothing was written; it comes again a little later."""
    LOST = 3
    """The run has another owner or is closed. Nothing was written, and never will be under this epoch."""
    REFUSED = 4
    """It closes the run, and there is an unread message that `Unread` does not let pass.

    Nothing was written; read the message first.
    """


class CommitResult(Struct, frozen=True, gc=False):
    """The answer to a batch: the database's time, with which its events were stamped, and a verdict for each run.

    An event's time is the later of `now` and its transition's `not_before`, or its transition's `time` if it has one.

    Attributes:
        now: The database's time; the latest one, when `times` is given.
        verdicts: What became of each transition.
        started: The children and successors that were created and belong to their `NewRun.owner`, in no order. It is
            told once: behind a lost answer `owned_runs` tells.
        times: For each transition the time that stands for `now` with it, when the batch was written in parts that have
            times of their own; else empty.
    """

    now: int
    verdicts: tuple[Verdict, ...]
    started: tuple[StartVerdict, ...] = ()
    times: tuple[int, ...] = ()


class ClaimedRun(Struct, frozen=True, gc=False):
    """A run that the claiming worker now owns, with all that it needs, read behind the claim.

    `fault` is why it could not be decoded by a codec; then all of it is as it is stored.
    """

    run: RunRecord
    events: tuple[EventRow, ...]
    messages: tuple[Message, ...]
    activities: tuple[ActivityRecord, ...]
    fault: Exception | None = None


class SoleEnd(Struct, frozen=True, gc=False):
    """How a run of one activity ends with it: its status, and its last two events, the activity's outcome and its own."""

    status: RunStatus
    outcome: EventRow
    closing: EventRow


class AttemptOutcome(Struct, frozen=True, gc=False):
    """How an attempt of an activity with a row ended; applied only while the row still shows that attempt, running.

    Attributes:
        worker: The worker that ran it, or None when a scanner ends it (a deadline, or a lost worker).
        message: The outcome for the run, if this was the last attempt.
        retry_in: How long until the next attempt, if there is one.
        progress: What the next attempt is given.
        state: The state the row must be in; scanners also end QUEUED rows whose deadline passed.
        outside: The attempt goes on without its worker, until somebody outside ends it.
        revision: What the row's must be, if it matters to the outcome.
        base: From which attempt people count behind it.
        sole: Instead of a message: the end of the run whose only activity it is.
    """

    run_id: str
    id: int
    attempt: int
    worker: str | None
    message: Message | None = None
    retry_in: int | None = None
    progress: bytes = b""
    state: ActivityState = ActivityState.RUNNING
    outside: bool = False
    revision: int | None = None
    base: int = 0
    sole: SoleEnd | None = None


NEVER_DUE = 4_000_000_000 * 1_000_000
"""The instant at which a queued activity is due that nobody is to claim: beyond the year 2096."""


class Heartbeat(Struct, frozen=True, gc=False):
    """A sign of life of a running attempt; without a worker, of one that somebody outside is to end."""

    run_id: str
    id: int
    attempt: int
    worker: str | None
    progress: bytes


class HeartbeatAnswer(IntEnum):
    """What a running attempt is told."""

    GO_ON = 1
    CANCEL_REQUESTED = 2
    GONE = 3
    """The attempt is no longer wanted: timed out, taken over, or its run has closed."""
    PAUSED = 4
    """An operator paused the activity; the attempt is to end, and is made again later."""
    RESET = 5
    """An operator sent the activity back to its first attempt."""


QUERY_PATIENCE = 1_000_000
"""Microseconds after which others answer a query in the place of the run's owner: it is busy, or dead."""

QUERY_TAKEN_FOR = 2_000_000
"""Microseconds for which a query that was taken is left to whoever took it: longer than a replay, as a rule."""


class Question(Struct, frozen=True, gc=False):
    """A query by somebody who does not have the workflow's code, for a worker that has.

    Attributes:
        query_id: A UUID made by the asker: asked again it is the same query.
        run_id: Whose run is asked, open or closed.
        workflow_type: The run's; filled in by the store.
        task_queue: The run's; filled in by the store.
        name: The query's.
        input: Its arguments, encoded.
        expires_in: How long somebody waits for the answer.
    """

    query_id: str
    run_id: str
    workflow_type: str
    task_queue: str
    name: str
    input: bytes
    expires_in: int


class QueryAnswer(Struct, frozen=True, gc=False):
    """The answer to a `Question`, or why there is none, encoded."""

    query_id: str
    run_id: str
    data: bytes


class WorkerRecord(Struct, frozen=True, gc=False):
    """A worker incarnation; `version` is "" for one without. `expired` and `dead_for_sure` are judged by the database (or the operating system)."""

    worker_id: str
    identity: str
    task_queues: tuple[str, ...]
    lease: int
    renewals: int
    expired: bool
    dead: bool
    dead_for_sure: bool = False
    version: str = ""


RECENT = 100_000
"""Microseconds for which `next_wake` still counts what is due already: longer than a claim and the question behind it
are apart."""


LOCKED_LONG = 10_000_000
"""Microseconds for which somebody may have locked a run before people are told: steps take far less."""
