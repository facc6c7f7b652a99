"""A schedule as it is stored: frozen records, encoded into one row, no behaviour.

Instants and durations are integers of microseconds. What a schedule is *for* (`ScheduleRecord`) is written by people and
replaced by an update; what it has *done* (`ScheduleProgress`) is written by decisions only. The parts that both write,
paused or not and how many actions remain, are in `Standing`, which travels with the progress.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from durable._timetables.records import SpecRecord
from durable.common import WorkflowExecutionStatus
from durable.history import Failure, Limits, Payload, Payloads, RetryPolicyData


class ScheduleOverlapPolicy(IntEnum):
    """What happens to an action that is due while an earlier one is still running. Values are Temporal's."""

    SKIP = 1
    """It is not taken."""
    BUFFER_ONE = 2
    """It is taken when the running one has ended, unless one waits already."""
    BUFFER_ALL = 3
    """It is taken when all before it have ended."""
    CANCEL_OTHER = 4
    """The running one is asked to cancel itself, and it is taken when that one has ended."""
    TERMINATE_OTHER = 5
    """The running one is terminated, and it is taken when that one has ended."""
    ALLOW_ALL = 6
    """It is taken at once. Such runs are on their own: none gets another's result, none pauses the schedule."""


DEFAULT_CATCHUP_WINDOW = 365 * 24 * 3600 * 1_000_000
"""How late an action may still be taken when the policy does not say: a year, in microseconds, as Temporal has it."""


class PolicyRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """How a schedule acts. Temporal's fields."""

    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    catchup_window: int = DEFAULT_CATCHUP_WINDOW
    pause_on_failure: bool = False


class ActionRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a schedule starts: the fields of a workflow's start, without those that each start has of its own."""

    workflow_type: str
    workflow_id: str
    task_queue: str
    input: Payloads = ()
    execution_timeout: int | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None
    retry_policy: RetryPolicyData | None = None
    memo: dict[str, Payload] = {}
    headers: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    priority: int = 3
    limits: Limits | None = None
    static_summary: str = ""
    static_details: str = ""


class ScheduleRecord(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a schedule is for. Nothing but an update replaces it. Memo and search attributes are the schedule's own."""

    action: ActionRecord
    spec: SpecRecord
    policy: PolicyRecord = PolicyRecord()
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}


class Standing(Struct, frozen=True, gc=False, omit_defaults=True):
    """What people and the scheduler both change: Temporal's `ScheduleState`."""

    note: str = ""
    paused: bool = False
    limited_actions: bool = False
    remaining_actions: int = 0

    @property
    def acts(self) -> bool:
        """Whether actions are taken when they are due. What people ask for (trigger, backfill) always is."""
        return not self.paused and not (self.limited_actions and self.remaining_actions <= 0)


class PendingStart(Struct, frozen=True, gc=False, omit_defaults=True):
    """An action that is due and not yet taken.

    Attributes:
        nominal: The instant that the spec means.
        due: That instant with its jitter: when the action may be taken.
        overlap: A policy of its own; None for the schedule's, as it is when the action's turn comes.
        manual: Whether people asked for it. Then it is taken though the schedule is paused or out of actions.
    """

    nominal: int
    due: int
    overlap: ScheduleOverlapPolicy | None = None
    manual: bool = False


class PendingBackfill(Struct, frozen=True, gc=False, omit_defaults=True):
    """A period whose actions are to be taken as if it passed now: behind `after`, up to and including `until`."""

    after: int
    until: int
    overlap: ScheduleOverlapPolicy | None = None


class Asked(IntEnum):
    """What a running action was asked for by a later one."""

    NOTHING = 0
    CANCEL = 1
    TERMINATE = 2


class RunningAction(Struct, frozen=True, gc=False, omit_defaults=True):
    """An action that was taken and has not ended. `run_id` is the first run of its chain.

    Whoever takes a decision by which it is `asked` for something asks it behind the commit, and then writes that it was
    `told`; until that stands there, others ask it again.
    """

    workflow_id: str
    run_id: str
    asked: Asked = Asked.NOTHING
    told: Asked = Asked.NOTHING


class RecentAction(Struct, frozen=True, gc=False, omit_defaults=True):
    """An action that was taken: when it was due, when it was taken, and what is known of its end."""

    scheduled_at: int
    started_at: int
    workflow_id: str
    run_id: str
    status: WorkflowExecutionStatus = WorkflowExecutionStatus.RUNNING


class ScheduleProgress(Struct, frozen=True, gc=False, omit_defaults=True):
    """What a schedule has done, and what it is about to do. Written by decisions only.

    Attributes:
        schedule_id: The schedule's id, of which jitter and run ids are made.
        cursor: The instant up to which every nominal instant has been decided.
        last_trigger: The nominal instant of the last trigger, so that no two have the same.
        buffer: Actions that wait for a running one to end, oldest first.
        backfills: Periods that are still to be gone through, oldest first.
        running: Actions that later ones must not overlap with, oldest first; those of ALLOW_ALL are not among them.
        recent: The last actions, oldest first.
        missed_catchup: Nominal instants that were found later than the catch-up window allows.
        skipped_overlap: Actions that were not taken because of another.
        buffer_dropped: Actions that waited in vain: the buffer was full, or the schedule no longer acted at their turn.
        last_result: The result of the last action that had one, empty for none.
        last_failure: The failure of the last action, None when it succeeded.
        requests: The ids of what people asked for lately, oldest first, so that a request repeated in doubt is one.
    """

    schedule_id: str
    created_at: int
    cursor: int
    updated_at: int | None = None
    standing: Standing = Standing()
    last_trigger: int = 0
    buffer: tuple[PendingStart, ...] = ()
    backfills: tuple[PendingBackfill, ...] = ()
    running: tuple[RunningAction, ...] = ()
    recent: tuple[RecentAction, ...] = ()
    num_actions: int = 0
    missed_catchup: int = 0
    skipped_overlap: int = 0
    buffer_dropped: int = 0
    last_result: Payloads = ()
    last_failure: Failure | None = None
    requests: tuple[str, ...] = ()
