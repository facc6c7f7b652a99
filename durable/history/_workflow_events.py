"""Events of the run itself: its start, what it is told, and its end."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from durable.history._facts import CommandEvent, EventType, Input, RetryPolicyData
from durable.history._failures import Failure
from durable.history._limits import Limits
from durable.history._payloads import Payload, Payloads


class ParentLink(Struct, frozen=True, gc=False, omit_defaults=True):
    """Whose child a run is: the parent's run, and the number of the command there that started it.

    A child that continues as new, or is retried, hands this on: the parent hears of the end of the last run.
    """

    workflow_id: str = ""
    run_id: str = ""
    id: int = 0


class WorkflowExecutionStarted(Input, frozen=True, omit_defaults=True):
    """The first event of every run: everything that the run was started with.

    Attributes:
        execution_timeout: How long this run and all that follow it may take together.
        attempt: Which try of the workflow's retry policy this run is, from 1.
        first_run_id: The first run of the chain of runs that continue, retry or repeat each other; "" for itself.
        continued_run_id: The run before it in that chain.
        expires_at: The instant at which the chain's execution timeout passes.
        parent_close_policy: What becomes of it when its parent ends, a name of `ParentClosePolicy` in lower case.
        root_workflow_id: The top of the tree of parents, with `root_run_id`; "" when it has no parent.
        last_result: What the chain's last successful run returned.
        last_failure: Why the run before this one failed.
        delay: How long after its creation it begins: a delay that was asked for, a wait before another attempt, or the
            time to the next tick of its cron schedule.
        known: Ids of messages that the run before it has read lately: one that is sent again, and moves here unread, is
            dropped here as it would have been there.
        schedule_id: The schedule that started the chain, "" for none.
        scheduled_at: The nominal instant for which it did.
        scheduled_before: The schedule's nominal instant before that one.
        original_run_id: The run that this event was first written for, in the history of one that it was reset to.
        versioning_override: What holds for it whatever its workflow says of versions: `<deployment>:<build>`, or
            "auto_upgrade"; "" for nothing.
        inherited_version: The version that it is pinned to from its first task on, since the run before it or its parent
            was; as far as that serves its queue.
        initial_versioning: How its first task finds a version, when the run before it said so: "auto_upgrade" or
            "use_ramping_version".
    """

    type = EventType.WORKFLOW_EXECUTION_STARTED
    NEWER = dict.fromkeys(
        (
            "continued_run_id",
            "expires_at",
            "parent",
            "parent_close_policy",
            "root_workflow_id",
            "root_run_id",
            "cron_schedule",
            "search_attributes",
            "priority",
            "last_result",
            "last_failure",
            "delay",
            "known",
            "schedule_id",
            "scheduled_at",
            "scheduled_before",
            "original_run_id",
            "versioning_override",
            "inherited_version",
            "initial_versioning",
            "limits",
        ),
        2,
    )

    workflow_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    seed: int = 0
    execution_timeout: int | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None
    retry_policy: RetryPolicyData | None = None
    attempt: int = 1
    first_run_id: str = ""
    memo: dict[str, Payload] = {}
    headers: dict[str, Payload] = {}
    identity: str = ""
    static_summary: str = ""
    static_details: str = ""
    continued_run_id: str = ""
    expires_at: int | None = None
    parent: ParentLink | None = None
    parent_close_policy: str = ""
    root_workflow_id: str = ""
    root_run_id: str = ""
    cron_schedule: str = ""
    search_attributes: dict[str, Payload] = {}
    priority: int = 3
    last_result: Payload | None = None
    last_failure: Failure | None = None
    delay: int = 0
    known: tuple[str, ...] = ()
    schedule_id: str = ""
    scheduled_at: int | None = None
    scheduled_before: int | None = None
    original_run_id: str = ""
    versioning_override: str = ""
    inherited_version: str = ""
    initial_versioning: str = ""
    limits: Limits | None = None


class WorkflowExecutionSignaled(Input, frozen=True, omit_defaults=True):
    """A signal was sent to the run."""

    type = EventType.WORKFLOW_EXECUTION_SIGNALED

    name: str = ""
    input: Payloads = ()
    headers: dict[str, Payload] = {}
    identity: str = ""


class WorkflowExecutionCancelRequested(Input, frozen=True, omit_defaults=True):
    """Somebody asked the run to cancel itself."""

    type = EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED

    reason: str = ""
    identity: str = ""


class WorkflowExecutionReset(Input, frozen=True, omit_defaults=True):
    """The run goes on from here instead of the run `base_run_id`, whose first `event_id` events stand before this one.

    It is the last input of the task it is in, which runs again with it: from that task on, random numbers come from
    `seed`, and children are named after the run `run_id`.
    """

    type = EventType.WORKFLOW_EXECUTION_RESET

    run_id: str = ""
    base_run_id: str = ""
    event_id: int = 0
    seed: int = 0
    reason: str = ""
    identity: str = ""


class WorkflowExecutionOptionsUpdated(Input, frozen=True, omit_defaults=True):
    """An operator changed what holds for the run whatever its workflow says; "" lifted it, see the start."""

    type = EventType.WORKFLOW_EXECUTION_OPTIONS_UPDATED

    versioning_override: str = ""
    identity: str = ""


class WorkflowTaskCompleted(CommandEvent, frozen=True, omit_defaults=True):
    """Another version of the workers ran this task than the one before, and runs what follows until this is said again.

    The first of its task's commands, without a number. No code asks for it.

    Attributes:
        worker_deployment_version: `<deployment>:<build>`; "" for workers without a version.
        versioning_behavior: What the workflow says there, a name of `VersioningBehavior` in lower case, or "".
    """

    type = EventType.WORKFLOW_TASK_COMPLETED

    worker_deployment_version: str = ""
    versioning_behavior: str = ""


class WorkflowExecutionCompleted(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow function returned. `new_run_id` is the run that its cron schedule started, if it has one."""

    type = EventType.WORKFLOW_EXECUTION_COMPLETED
    NEWER = {"new_run_id": 2}

    result: Payload = Payload()
    new_run_id: str = ""


class WorkflowExecutionFailed(CommandEvent, frozen=True, omit_defaults=True):
    """A workflow failure left the workflow function. `new_run_id` is the run that tries again, if one does."""

    type = EventType.WORKFLOW_EXECUTION_FAILED
    NEWER = {"new_run_id": 2}

    failure: Failure = Failure()
    retry_state: str | None = None
    new_run_id: str = ""


class WorkflowExecutionCanceled(CommandEvent, frozen=True, omit_defaults=True):
    """A cancellation that had been requested left the workflow function."""

    type = EventType.WORKFLOW_EXECUTION_CANCELED

    details: Payloads = ()


class WorkflowExecutionContinuedAsNew(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow asked to go on as another run, `new_run_id`, with a fresh history."""

    type = EventType.WORKFLOW_EXECUTION_CONTINUED_AS_NEW
    NEWER = {"initial_versioning_behavior": 2}

    new_run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    run_timeout: int | None = None
    task_timeout: int | None = None
    backoff: int = 0
    retry_policy: RetryPolicyData | None = None
    memo: dict[str, Payload] | None = None
    search_attributes: dict[str, Payload] | None = None
    headers: dict[str, Payload] = {}
    initial_versioning_behavior: str = ""


class WorkflowExecutionTerminated(Input, frozen=True, omit_defaults=True):
    """An operator ended the run without asking its code. `reset_run_id` is the run that it was reset to, if it was."""

    type = EventType.WORKFLOW_EXECUTION_TERMINATED
    NEWER = {"reset_run_id": 2}

    reason: str = ""
    details: Payloads = ()
    identity: str = ""
    reset_run_id: str = ""


class WorkflowExecutionTimedOut(Input, frozen=True, omit_defaults=True):
    """The run or its execution outlived its timeout. `new_run_id` is the run that tries again, if one does."""

    type = EventType.WORKFLOW_EXECUTION_TIMED_OUT
    NEWER = {"new_run_id": 2}

    timeout_type: str = "run"
    new_run_id: str = ""


class WorkflowExecutionUpdateAccepted(Input, frozen=True, omit_defaults=True):
    """An update passed its validator, and its handler began. A rejected one leaves no event. `message` is its id."""

    type = EventType.WORKFLOW_EXECUTION_UPDATE_ACCEPTED

    name: str = ""
    input: Payloads = ()
    headers: dict[str, Payload] = {}
    identity: str = ""


class WorkflowExecutionUpdateCompleted(CommandEvent, frozen=True, omit_defaults=True):
    """The handler of the update `update` (the id of its message) ended, with a result or a failure."""

    type = EventType.WORKFLOW_EXECUTION_UPDATE_COMPLETED

    update: str = ""
    result: Payload | None = None
    failure: Failure | None = None


class MarkerRecorded(CommandEvent, frozen=True, omit_defaults=True):
    """The code took the way of a patch. It has no number: `id` stays 0.

    Attributes:
        name: What kind of marker it is.
        patch_id: The patch.
        deprecated: Whether code that no longer asks for the patch replays as well.
    """

    type = EventType.MARKER_RECORDED

    name: str = "patch"
    patch_id: str = ""
    deprecated: bool = False


class UpsertWorkflowSearchAttributes(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow changed what it is found by. An attribute without a value is removed, others stay as they are."""

    type = EventType.UPSERT_WORKFLOW_SEARCH_ATTRIBUTES

    search_attributes: dict[str, Payload] = {}


class WorkflowPropertiesModified(CommandEvent, frozen=True, omit_defaults=True):
    """The workflow changed its memo. An entry of `removed` goes, others stay as they are."""

    type = EventType.WORKFLOW_PROPERTIES_MODIFIED

    memo: dict[str, Payload] = {}
    removed: tuple[str, ...] = ()


def modified_memo(memo: Mapping[str, Payload], change: WorkflowPropertiesModified) -> dict[str, Payload]:
    """Return a memo after a change of it."""
    return {key: value for key, value in {**memo, **change.memo}.items() if key not in change.removed}
