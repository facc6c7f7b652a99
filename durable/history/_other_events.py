"""Events of what a run does to other workflows: its children, signals and cancel requests."""

from __future__ import annotations

from durable.history._facts import CommandEvent, EventType, Input, RetryPolicyData
from durable.history._failures import Failure
from durable.history._limits import Limits
from durable.history._payloads import Payload, Payloads


class StartChildWorkflowExecutionInitiated(CommandEvent, frozen=True, omit_defaults=True):
    """A child workflow was asked for. Whether it could be started is told by an input of a later task.

    Attributes:
        run_id: The child's first run.
        cancellation_type: What the parent's code sees when it cancels the child, a name of
            `ChildWorkflowCancellationType` in lower case.
    """

    type = EventType.START_CHILD_WORKFLOW_EXECUTION_INITIATED

    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    task_queue: str = ""
    input: Payloads = ()
    parent_close_policy: str = "terminate"
    cancellation_type: str = "wait_cancellation_completed"
    id_reuse_policy: str = "allow_duplicate"
    execution_timeout: int | None = None
    run_timeout: int | None = None
    task_timeout: int | None = None
    retry_policy: RetryPolicyData | None = None
    cron_schedule: str = ""
    memo: dict[str, Payload] = {}
    search_attributes: dict[str, Payload] = {}
    headers: dict[str, Payload] = {}
    priority: int = 3
    limits: Limits | None = None
    static_summary: str = ""
    static_details: str = ""


class OperationInput(Input, frozen=True, omit_defaults=True):
    """News of command `id`, a child workflow or a message to another workflow."""

    id: int = 0


class ChildWorkflowExecutionStarted(OperationInput, frozen=True, omit_defaults=True):
    """The child is there, as run `run_id`."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_STARTED

    run_id: str = ""


class StartChildWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """The child could not be started: its workflow id is in use, or may not be used again."""

    type = EventType.START_CHILD_WORKFLOW_EXECUTION_FAILED

    cause: str = "workflow_already_exists"


class ChildWorkflowExecutionCompleted(OperationInput, frozen=True, omit_defaults=True):
    """The child returned."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_COMPLETED

    result: Payload = Payload()


class ChildWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """The child failed and will not be tried again."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_FAILED

    failure: Failure = Failure()
    retry_state: str | None = None


class ChildWorkflowExecutionCanceled(OperationInput, frozen=True, omit_defaults=True):
    """The child ended because it had been asked to."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_CANCELED

    details: Payloads = ()


class ChildWorkflowExecutionTerminated(OperationInput, frozen=True, omit_defaults=True):
    """The child was ended by an operator."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_TERMINATED

    reason: str = ""


class ChildWorkflowExecutionTimedOut(OperationInput, frozen=True, omit_defaults=True):
    """The child outlived its timeout."""

    type = EventType.CHILD_WORKFLOW_EXECUTION_TIMED_OUT

    timeout_type: str = "run"
    retry_state: str | None = None


class ExternalCommand(CommandEvent, frozen=True, omit_defaults=True):
    """Something is to be said to another workflow: its run `run_id`, or else whichever is open.

    `first_run_id` narrows that to the runs of one chain: a child is meant, and nobody who took its id later.
    """

    workflow_id: str = ""
    run_id: str = ""
    first_run_id: str = ""


class SignalExternalWorkflowExecutionInitiated(ExternalCommand, frozen=True, omit_defaults=True):
    """Another workflow, or a child, is to be signalled."""

    type = EventType.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED

    name: str = ""
    input: Payloads = ()
    headers: dict[str, Payload] = {}


class ExternalWorkflowExecutionSignaled(OperationInput, frozen=True, omit_defaults=True):
    """The signal is in the other run's inbox."""

    type = EventType.EXTERNAL_WORKFLOW_EXECUTION_SIGNALED


class SignalExternalWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """There was no such open run to signal."""

    type = EventType.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED

    cause: str = "not_found"


class RequestCancelExternalWorkflowExecutionInitiated(ExternalCommand, frozen=True, omit_defaults=True):
    """Another workflow, or a child, is to be asked to cancel itself; `id` is the request's, `child` the child's."""

    type = EventType.REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED

    reason: str = ""
    child: int = 0


class ExternalWorkflowExecutionCancelRequested(OperationInput, frozen=True, omit_defaults=True):
    """The cancel request is in the other run's inbox."""

    type = EventType.EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED


class RequestCancelExternalWorkflowExecutionFailed(OperationInput, frozen=True, omit_defaults=True):
    """There was no such open run to ask."""

    type = EventType.REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED

    cause: str = "not_found"
