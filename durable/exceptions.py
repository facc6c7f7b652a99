"""Every error that `durable` raises, in one tree.

    DurableError                              the base of all; never raised itself
     |- FailureError                          part of an execution's outcome; leaving a workflow, it fails the workflow
     |   |- ApplicationError                  you raise it, in activities and workflows: the way to fail on purpose
     |   |- CancelledError                    ended because it was asked to
     |   |- TerminatedError                   ended by an operator
     |   |- TimeoutError                      a deadline passed, or a worker was lost; `type` says which
     |   |- ActivityError                     an activity failed for good; `cause` says why
     |   |- ChildWorkflowError                a child workflow failed; `cause` says why
     |   |- ActivityAlreadyStartedError       the id of an activity that a client starts is taken, likewise
     |   `- WorkflowAlreadyStartedError       the workflow id is taken; wait, or choose another id or policy
     |- ActivityFailureError                  the same of an activity that a client started
     |- WorkflowFailureError                  the client waited for a result, and there is none; `cause` says why
     |- WorkflowContinuedAsNewError           the client waited for one run, and the workflow goes on in another
     |- ScheduleAlreadyRunningError           a schedule of that id is there already; update it, or delete it first
     |- ScheduleNotFoundError                 no such schedule
     |- WorkerDeploymentNotFoundError         no such deployment, or no such version of it: no worker of it has come
     |- WorkerDeploymentConflictError         somebody else has changed it, or what is asked for would strand runs
     |- WorkflowNotFoundError                 no such workflow, or it is closed and can no longer be told anything
     |- AmbiguousWorkflowError                several open workflows have the attribute that one was to be found by
     |- ActivityNotFoundError                 no such attempt of an activity is open: it has ended, or never was
     |- AsyncActivityCancelledError           an activity that is completed from outside is asked to end
     |- WorkflowStillOpenError                it is open, and only a closed workflow can be deleted
     |- WorkflowUpdateFailedError             an update was refused, or failed; `cause` says why
     |- WorkflowUpdateRPCTimeoutOrCancelledError  an update has no outcome yet; it goes on
     |- WorkflowQueryFailedError              the query's handler raised, or there is none
     |   `- WorkflowQueryTimeoutError         nobody has answered in time: no worker runs, or none has the code
     |- WorkflowQueryRejectedError            the query was not allowed in the workflow's state
     |- NotInWorkflowError, NotInActivityError  called where it means nothing; the text names what to call instead
     |- RegistrationError                     a definition is wrong, missing where it is needed, or there twice
     |- WorkflowTaskError                     workflow code is at fault: the run stays open, blocked, until it is fixed
     |   |- NondeterminismError               the code asks for something else than the history says
     |   |- ReadOnlyContextError              a query or a validator tried to change something
     |   |- RestrictedWorkflowAccessError     it called what no replay sees again: a clock, random numbers, files, ...
     |   |- DeadlockError                     the code held the event loop for too long
     |   `- SpinError                         the code goes round and round without awaiting anything that takes time
     |- ConversionError                       a value cannot be stored, or not be read back as the type that was asked
     |   `- PayloadTooLargeError              it can, but it is larger than the limit
     |- FilterError                           a list filter, or a page token, is not one; the text names the place
     |- StoreError                            the database
     |   |- StoreUnavailableError             it cannot be reached (now); the library itself goes on trying
     |   |   `- PayloadCodecError             the payload codec cannot encode or decode (now); it goes on trying, too
     |   |- SchemaError                       the tables are missing, older or newer; the text names the command
     |   |- StoreConfigurationError           a setting of the server or the URL makes it unfit; the text names it
     |   |- TransactionError                  what was done to a transaction cannot be; it is undone
     |   `- UnfitConnectionError              a call cannot be part of the transaction it was given; nothing was written
     |- HistoryError                          a log cannot be read
     |   |- HistoryCorruptError               it is not what this library wrote
     |   `- UnknownEventError                 a newer release wrote it; it waits for a worker of that release
     `- WorkerError                           a worker cannot go on
         `- LeaseLostError                    others may already have taken over what it did

Wrong arguments raise `TypeError` and `ValueError`, at the caller and before anything is stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from durable._internal.instants import Duration
from durable._internal.left_out import no_attribute as _no_attribute

__all__ = [
    "ActivityAlreadyStartedError",
    "ActivityError",
    "ActivityFailureError",
    "ActivityNotFoundError",
    "ApplicationError",
    "ApplicationErrorCategory",
    "AsyncActivityCancelledError",
    "CancelledError",
    "ChildWorkflowError",
    "ConversionError",
    "DeadlockError",
    "DurableError",
    "FailureError",
    "FilterError",
    "HistoryCorruptError",
    "HistoryError",
    "LeaseLostError",
    "NondeterminismError",
    "NotInActivityError",
    "NotInWorkflowError",
    "PayloadCodecError",
    "PayloadTooLargeError",
    "ReadOnlyContextError",
    "RegistrationError",
    "RestrictedWorkflowAccessError",
    "RetryState",
    "ScheduleAlreadyRunningError",
    "ScheduleNotFoundError",
    "SchemaError",
    "SpinError",
    "StoreConfigurationError",
    "StoreError",
    "StoreUnavailableError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "TransactionError",
    "UnfitConnectionError",
    "UnknownEventError",
    "WorkerDeploymentConflictError",
    "WorkerDeploymentNotFoundError",
    "WorkerError",
    "WorkflowAlreadyStartedError",
    "WorkflowContinuedAsNewError",
    "WorkflowFailureError",
    "WorkflowNotFoundError",
    "WorkflowQueryFailedError",
    "WorkflowQueryRejectedError",
    "WorkflowQueryTimeoutError",
    "WorkflowStillOpenError",
    "WorkflowTaskError",
    "WorkflowUpdateFailedError",
    "WorkflowUpdateRPCTimeoutOrCancelledError",
    "is_cancelled_exception",
]


class DurableError(Exception):
    """The base of every error of this library."""

    @property
    def cause(self) -> BaseException | None:
        """What caused this error; the same as `__cause__`."""
        return self.__cause__


class TimeoutType(IntEnum):
    """Which deadline passed. Values are Temporal's."""

    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4


class RetryState(IntEnum):
    """Why something was not tried again. Values are Temporal's."""

    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7


class ApplicationErrorCategory(IntEnum):
    """How seriously an application error is to be taken. Values are Temporal's."""

    UNSPECIFIED = 0
    BENIGN = 1


class FailureError(DurableError):
    """Part of an execution's outcome: leaving a workflow function it fails the workflow, never just its task."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def stack_trace(self) -> str | None:
        """The traceback of the process in which it was first raised, as text, when it came from storage."""
        return getattr(self, "_stack_trace", None)


class ApplicationError(FailureError):
    """Fails an activity attempt or a workflow on purpose.

    Any other exception leaving an activity is stored as one of these, with the name of its class as `type`.

    Args:
        message: Text for people.
        details: Values for programs; they are stored as arguments are.
        type: A name for programs to tell failures apart, and for `non_retryable_error_types`.
        non_retryable: No further attempt, whatever the retry policy says.
        next_retry_delay: When to try again, instead of the retry policy's interval.
        category: BENIGN failures are expected: they are logged quietly.
    """

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: Duration | None = None,
        category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED,
    ) -> None:
        super().__init__(message if not type else f"{type}: {message}")
        self.message = message
        self.details: Sequence[Any] = details
        self.type = type
        self.non_retryable = non_retryable
        self.next_retry_delay = next_retry_delay
        self.category = category


class CancelledError(FailureError):
    """Something ended because it was asked to."""

    def __init__(self, message: str = "Cancelled", *details: Any) -> None:
        super().__init__(message)
        self.details: Sequence[Any] = details


class TerminatedError(FailureError):
    """A workflow was ended by an operator; its code had no say."""

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(message)
        self.details: Sequence[Any] = details


class TimeoutError(FailureError):
    """A deadline passed. It is not the builtin `TimeoutError`, which waiting in a workflow raises."""

    def __init__(
        self, message: str, *, type: TimeoutType | None = None, last_heartbeat_details: Sequence[Any] = ()
    ) -> None:
        super().__init__(message)
        self.type = type
        self.last_heartbeat_details = last_heartbeat_details


class ActivityError(FailureError):
    """An activity failed for good. `cause` is what the last attempt failed with."""

    def __init__(
        self,
        message: str,
        *,
        activity_type: str,
        activity_id: str,
        retry_state: RetryState | None = None,
        identity: str = "",
    ) -> None:
        super().__init__(message)
        self.activity_type = activity_type
        self.activity_id = activity_id
        self.retry_state = retry_state
        self.identity = identity


class ChildWorkflowError(FailureError):
    """A child workflow failed. `cause` is what it failed with."""

    def __init__(
        self,
        message: str,
        *,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        retry_state: RetryState | None = None,
        namespace: str = "",
    ) -> None:
        super().__init__(message)
        self.namespace = namespace
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type
        self.retry_state = retry_state


class WorkflowAlreadyStartedError(FailureError):
    """The workflow id is in use, or its policy does not allow another run. `run_id` is the run that is in the way."""

    def __init__(self, workflow_id: str, workflow_type: str, *, run_id: str | None = None) -> None:
        super().__init__(
            f"workflow {workflow_id!r} was already started{f' (run {run_id})' if run_id else ''}; use another id, "
            "another id_conflict_policy or id_reuse_policy, or get_workflow_handle() to reach the one that is there"
        )
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id


class ActivityAlreadyStartedError(FailureError):
    """The id of an activity is in use, or its policy does not allow another run. `run_id` is the run that is in the way."""

    def __init__(self, activity_id: str, activity_type: str, *, run_id: str | None = None) -> None:
        super().__init__(
            f"activity {activity_id!r} was already started{f' (run {run_id})' if run_id else ''}; use another id, "
            "another id_conflict_policy or id_reuse_policy, or get_activity_handle() to reach the one that is there"
        )
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.run_id = run_id


class ActivityFailureError(DurableError):
    """An activity that a client started closed without a result. `cause` says why, as with `WorkflowFailureError`."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__(f"activity execution failed: {cause}")
        self.__cause__ = cause


class WorkflowFailureError(DurableError):
    """A workflow closed without a result. `cause` says why: an `ApplicationError`, `CancelledError`, ..."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__(f"workflow execution failed: {cause}")
        self.__cause__ = cause


class WorkflowContinuedAsNewError(DurableError):
    """The run that was waited for goes on in another run, `new_execution_run_id`."""

    def __init__(self, new_execution_run_id: str) -> None:
        super().__init__(f"workflow continued as new in run {new_execution_run_id}")
        self.new_execution_run_id = new_execution_run_id


class WorkflowNotFoundError(DurableError):
    """There is no such workflow, or it is closed and can no longer be told anything."""

    def __init__(self, message: str, *, workflow_id: str, run_id: str | None = None) -> None:
        super().__init__(message)
        self.workflow_id = workflow_id
        self.run_id = run_id


class AmbiguousWorkflowError(DurableError):
    """Several open workflows have the search attribute that one was to be found by.

    Attributes:
        workflow_ids: Which.
    """

    def __init__(self, message: str, *, workflow_ids: Sequence[str]) -> None:
        super().__init__(message)
        self.workflow_ids = workflow_ids


class ActivityNotFoundError(DurableError):
    """The attempt of an activity that is meant is not open: it has ended, was timed out or replaced, or never was.

    Attributes:
        activity_id: The activity's id, or its number when it was named by a token.
        workflow_id: The workflow that asked for it, as far as that is known.
        run_id: The run that is meant, likewise.
    """

    def __init__(self, message: str, *, activity_id: str, workflow_id: str = "", run_id: str = "") -> None:
        super().__init__(message)
        self.activity_id = activity_id
        self.workflow_id = workflow_id
        self.run_id = run_id


class WorkflowStillOpenError(DurableError):
    """The workflow is open, and what was asked for is for closed ones."""

    def __init__(self, workflow_id: str, run_id: str) -> None:
        super().__init__(
            f"workflow {workflow_id!r} (run {run_id}) is open, and only a closed run can be deleted; terminate it before, or "
            "wait for its end"
        )
        self.workflow_id = workflow_id
        self.run_id = run_id


class AsyncActivityCancelledError(DurableError):
    """An activity that is completed from outside is asked to end; answer with `report_cancellation()`.

    Attributes:
        details: Why, an `activity.ActivityCancellationDetails`.
    """

    def __init__(self, details: Any = None) -> None:
        super().__init__(f"the activity is asked to end: {details}")
        self.details = details


class ScheduleAlreadyRunningError(DurableError):
    """There is a schedule of that id already. Update it, or delete it first."""

    def __init__(self, schedule_id: str = "") -> None:
        super().__init__(
            f"schedule {schedule_id!r} is there already; change it with "
            f"client.get_schedule_handle({schedule_id!r}).update(...), or delete it first"
        )
        self.schedule_id = schedule_id


class ScheduleNotFoundError(DurableError):
    """There is no such schedule: it was never created in this database, or it was deleted."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(
            f"there is no schedule {schedule_id!r}; client.list_schedules() shows those there are"
        )
        self.schedule_id = schedule_id


class WorkerDeploymentNotFoundError(DurableError):
    """There is no such deployment, or no such version of it: no worker of it has ever come."""


class WorkerDeploymentConflictError(DurableError):
    """A deployment is not changed: somebody else has changed it, or runs would be left without workers."""


class WorkflowUpdateFailedError(DurableError):
    """An update was refused, its handler failed, or its workflow ended first. `cause` says which."""

    def __init__(self, *, cause: BaseException) -> None:
        super().__init__(f"workflow update failed: {cause}")
        self.__cause__ = cause


class WorkflowUpdateRPCTimeoutOrCancelledError(DurableError):
    """An update had not come far enough in the time that its sender would wait. It goes on."""


class WorkflowQueryFailedError(DurableError):
    """The handler of a query raised, or the workflow has no such query."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class WorkflowQueryTimeoutError(WorkflowQueryFailedError):
    """A query had no answer in time: no worker runs that has the workflow's code, or it has not read its messages."""


class WorkflowQueryRejectedError(DurableError):
    """A query was not allowed in the state the workflow is in.

    Attributes:
        status: That state.
    """

    def __init__(self, status: IntEnum, condition: str) -> None:
        super().__init__(f"the query was rejected by {condition}: the workflow is {status.name}")
        self.status = status


class NotInWorkflowError(DurableError, RuntimeError):
    """Something that belongs into workflow code was called elsewhere."""


class NotInActivityError(DurableError, RuntimeError):
    """Something that belongs into activity code was called elsewhere."""


class RegistrationError(DurableError, ValueError):
    """A definition is wrong, is missing where it is needed, or two have one name."""


class WorkflowTaskError(DurableError):
    """Workflow code is at fault. The run stays open and blocked, and goes on after the next fixed deploy."""


class NondeterminismError(WorkflowTaskError):
    """Replayed, the workflow's code asked for something else than its history recorded."""


class ReadOnlyContextError(WorkflowTaskError):
    """A query, a validator or the like tried to change the workflow."""


class RestrictedWorkflowAccessError(WorkflowTaskError):
    """Workflow code called something that no replay sees again: the clock, random numbers, files, sockets and the like.

    Attributes:
        qualified_name: What it called, for example "time.time".
    """

    def __init__(self, message: str, qualified_name: str) -> None:
        super().__init__(message)
        self.qualified_name = qualified_name


class DeadlockError(WorkflowTaskError):
    """Workflow code held the event loop for too long, so nothing else in the process could go on."""


class SpinError(WorkflowTaskError):
    """Workflow code goes round and round without awaiting anything that takes time."""


class ConversionError(DurableError, ValueError):
    """A value cannot be stored, or what is stored cannot be read as the type that was asked for.

    Attributes:
        path: Where in the value, for example `input[0].items[3].price`.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class PayloadTooLargeError(ConversionError):
    """A value is larger than the payload limit; store it elsewhere and pass a reference."""

    def __init__(self, size: int, limit: int, *, path: str = "") -> None:
        super().__init__(
            f"takes {size} bytes when encoded, the limit is {limit}; store it elsewhere and pass a reference",
            path=path,
        )
        self.size = size
        self.limit = limit


class FilterError(DurableError, ValueError):
    """A list filter, or a page token, is not one. The text says where, what was expected, and what would be right.

    Attributes:
        column: The place in the filter's text, counted in characters from 1; 0 for a page token.
    """

    def __init__(self, column: int, message: str) -> None:
        super().__init__(f"column {column}: {message}" if column else message)
        self.column = column


class StoreError(DurableError):
    """The base of everything that concerns the database."""


class StoreUnavailableError(StoreError, ConnectionError):
    """The database cannot be reached, or gave up in the middle."""


class PayloadCodecError(StoreUnavailableError):
    """The payload codec failed: what is stored of a run cannot be read, or what it made not be stored, for now.

    To the runs it concerns it is as if the database were away. Nothing was written.
    """


class SchemaError(StoreError):
    """The tables in the database are missing, or older or newer than this release."""


class StoreConfigurationError(StoreError, ValueError):
    """The URL, or a setting of the database, makes it unfit."""


class TransactionError(StoreError):
    """The function of a transactional activity did to its transaction what cannot be; what it wrote is undone.

    It committed it or rolled it back, or went on behind a statement that had failed. The activity fails with it and is not
    tried again, since its code is at fault.
    """


class UnfitConnectionError(StoreError, ValueError):
    """The connection that a call was given cannot carry it: no transaction is open on it, or it leads elsewhere.

    Nothing was written, and the transaction, if there is one, is as it was.
    """


class HistoryError(DurableError):
    """A log cannot be read."""


class HistoryCorruptError(HistoryError):
    """A log is not what this library wrote."""


class UnknownEventError(HistoryError):
    """A newer release wrote part of this log; it waits for a worker of that release."""


class WorkerError(DurableError):
    """A worker cannot go on."""


class LeaseLostError(WorkerError):
    """The worker could not renew its lease in time; others may already have taken over."""


def is_cancelled_exception(exception: BaseException) -> bool:
    """Whether `exception` means a cancellation: asyncio's, ours, or one of these as the cause of a failed operation."""
    return isinstance(exception, asyncio.CancelledError | CancelledError) or (
        isinstance(exception, ActivityError | ChildWorkflowError)
        and isinstance(exception.cause, CancelledError)
    )


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> object:
        raise _no_attribute(__name__, name)
