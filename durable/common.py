"""What several parts of the library share: retry policies, search attributes, and small policies with Temporal's names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from durable._internal.backoff import exponential
from durable._internal.ids import check_name
from durable._internal.instants import MICROSECOND, Duration, to_duration
from durable._internal.left_out import no_attribute as _no_attribute
from durable._internal.shown import shown
from durable._limits import CircuitBreaker, Concurrency, Priority
from durable._metering import (
    MetricAttributes,
    MetricCommon,
    MetricCounter,
    MetricGauge,
    MetricGaugeFloat,
    MetricHistogram,
    MetricHistogramFloat,
    MetricHistogramTimedelta,
    MetricMeter,
)
from durable._search_attributes import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    SearchAttributeValue,
    TypedSearchAttributes,
)

__all__ = [
    "ActivityCancellationType",
    "ActivityExecutionStatus",
    "ActivityIDConflictPolicy",
    "ActivityIDReusePolicy",
    "AutoUpgradeVersioningOverride",
    "ChildWorkflowCancellationType",
    "CircuitBreaker",
    "Concurrency",
    "MetricAttributes",
    "MetricCommon",
    "MetricCounter",
    "MetricGauge",
    "MetricGaugeFloat",
    "MetricHistogram",
    "MetricHistogramFloat",
    "MetricHistogramTimedelta",
    "MetricMeter",
    "ParentClosePolicy",
    "PendingActivityState",
    "PinnedVersioningOverride",
    "Priority",
    "QueryRejectCondition",
    "RawValue",
    "RetryPolicy",
    "SearchAttributeIndexedValueType",
    "SearchAttributeKey",
    "SearchAttributePair",
    "SearchAttributeUpdate",
    "SearchAttributeValue",
    "TypedSearchAttributes",
    "VersioningBehavior",
    "VersioningOverride",
    "WorkerDeploymentVersion",
    "WorkflowExecutionStatus",
    "WorkflowIDConflictPolicy",
    "WorkflowIDReusePolicy",
]


class WorkflowIDReusePolicy(IntEnum):
    """Whether a workflow id may be used again after its last run has closed. Values are Temporal's."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4


class WorkflowIDConflictPolicy(IntEnum):
    """What a start does when the workflow id has an open run. Values are Temporal's."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class ActivityIDReusePolicy(IntEnum):
    """Whether the id of an activity that a client starts may be used again once its last run has closed."""

    UNSPECIFIED = 0
    """ALLOW_DUPLICATE."""
    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3


class ActivityIDConflictPolicy(IntEnum):
    """What the start of an activity by a client does when its id has an open run."""

    UNSPECIFIED = 0
    """FAIL."""
    FAIL = 1
    USE_EXISTING = 2


class ActivityExecutionStatus(IntEnum):
    """Where an activity that a client started is in its life. Values are Temporal's."""

    UNSPECIFIED = 0
    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    TIMED_OUT = 6


class PendingActivityState(IntEnum):
    """What an open activity waits for. Values are Temporal's."""

    UNSPECIFIED = 0
    SCHEDULED = 1
    """For a worker, or for the end of a wait before its next attempt."""
    STARTED = 2
    """For the end of an attempt."""
    CANCEL_REQUESTED = 3
    """For the end of an attempt that is asked to end."""
    PAUSED = 4
    """For an operator."""
    PAUSE_REQUESTED = 5
    """For the end of an attempt, and then for an operator."""


class ParentClosePolicy(IntEnum):
    """What the end of a workflow does to a child that is still open. Values are Temporal's."""

    UNSPECIFIED = 0
    TERMINATE = 1
    ABANDON = 2
    REQUEST_CANCEL = 3


class QueryRejectCondition(IntEnum):
    """In which states of a workflow a query is not wanted. Values are Temporal's."""

    NONE = 1
    NOT_OPEN = 2
    """It is closed, however it ended."""
    NOT_COMPLETED_CLEANLY = 3
    """It is closed and has no result."""


class WorkflowExecutionStatus(IntEnum):
    """Where a run is in its life. Values are Temporal's; a blocked run is RUNNING with a reason."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7


class ActivityCancellationType(IntEnum):
    """What a workflow sees when it cancels an activity. Values are Temporal's."""

    TRY_CANCEL = 0
    WAIT_CANCELLATION_COMPLETED = 1
    ABANDON = 2


class ChildWorkflowCancellationType(IntEnum):
    """What a workflow sees when it cancels a child. Values are Temporal's."""

    ABANDON = 0
    """The await ends at once; the child is told nothing."""
    TRY_CANCEL = 1
    """The child is asked to cancel itself; the await ends at once."""
    WAIT_CANCELLATION_COMPLETED = 2
    """The child is asked; the await ends with the child, and has its outcome if that is not the cancellation."""
    WAIT_CANCELLATION_REQUESTED = 3
    """The child is asked; the await ends once the request is in its inbox."""


class VersioningBehavior(IntEnum):
    """What a new version of the workers means to a workflow that is under way. Values are Temporal's."""

    UNSPECIFIED = 0
    PINNED = 1
    """It stays with the version that ran its first task, to its end."""
    AUTO_UPGRADE = 2
    """It goes on with the version that is current at its next task; its code needs patches where it changes."""


@dataclass(frozen=True)
class WorkerDeploymentVersion:
    """A version of the workers of an application: which application, and which build of it.

    Attributes:
        deployment_name: The application. It has no `.` and no `:`, since texts that name a version are cut there.
        build_id: The build, for example a release or a commit. It has no `:`.

    Raises:
        ValueError: A part is empty, too long, or has what it must not have.
        TypeError: A part is no string.
    """

    deployment_name: str
    build_id: str

    def __post_init__(self) -> None:
        check_name(self.deployment_name, "deployment_name")
        check_name(self.build_id, "build_id")
        for mark in ".:":
            if mark in self.deployment_name:
                raise ValueError(f"deployment_name must not contain {mark!r}: {shown(self.deployment_name)}")
        if ":" in self.build_id:
            raise ValueError(f"build_id must not contain ':': {shown(self.build_id)}")

    def to_canonical_string(self) -> str:
        """Return `<deployment_name>.<build_id>`."""
        return f"{self.deployment_name}.{self.build_id}"

    @classmethod
    def from_canonical_string(cls, canonical: str) -> WorkerDeploymentVersion:
        """Return the version that a text names, as `to_canonical_string` makes it.

        Raises:
            ValueError: It names none.
        """
        name, dot, build = canonical.partition(".")
        if not dot:
            raise ValueError(f"{shown(canonical)} must have the form '<deployment_name>.<build_id>'")
        return cls(name, build)


class VersioningOverride:
    """What holds for one run whatever its workflow says: `PinnedVersioningOverride` or `AutoUpgradeVersioningOverride`."""

    __slots__ = ()


@dataclass(frozen=True)
class PinnedVersioningOverride(VersioningOverride):
    """The run belongs to workers of this version, and to no others.

    Attributes:
        version: The version.
    """

    version: WorkerDeploymentVersion

    def __post_init__(self) -> None:
        version: object = self.version
        if not isinstance(version, WorkerDeploymentVersion):
            raise TypeError(f"version must be a WorkerDeploymentVersion, not {shown(version)}")


@dataclass(frozen=True)
class AutoUpgradeVersioningOverride(VersioningOverride):
    """The run goes on with the version that is current at its next task."""


@dataclass(frozen=True)
class RawValue:
    """A value as it is stored, which is not decoded as an argument, nor encoded as one.

    Dynamic handlers take `Sequence[RawValue]`; `workflow.payload_converter().from_payload(raw.payload, Kind)` reads one.

    Attributes:
        payload: A `durable.converter.Payload`.
    """

    payload: Any


if TYPE_CHECKING:
    _ErrorTypes = Sequence[type[BaseException] | str]
else:
    _ErrorTypes = Sequence[str]  # what they come to: a policy that is a value is read back as that


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how fast a failed activity (or workflow) is tried again. Defaults are Temporal's.

    Attributes:
        initial_interval: The wait before the second attempt.
        backoff_coefficient: What each further wait is multiplied by; at least 1.
        maximum_interval: The longest wait; 100 times the initial interval when None.
        maximum_attempts: How many attempts there may be; 0 means no limit.
        non_retryable_error_types: Failures never tried again: exception classes, or their names as in
            `ApplicationError.type`. The names are what is kept.
    """

    initial_interval: Duration = timedelta(seconds=1)
    backoff_coefficient: float = 2.0
    maximum_interval: Duration | None = None
    maximum_attempts: int = 0
    non_retryable_error_types: _ErrorTypes | None = None

    def __post_init__(self) -> None:
        initial = to_duration(self.initial_interval, "initial_interval", allow_zero=False)
        coefficient: object = self.backoff_coefficient
        if isinstance(coefficient, bool) or not isinstance(coefficient, int | float):
            raise TypeError(f"backoff_coefficient must be a number, not {type(coefficient).__name__}")
        if not 1.0 <= coefficient <= 1_000_000:
            raise ValueError(f"backoff_coefficient must be from 1 to 1000000, not {shown(coefficient)}")
        if self.maximum_interval is not None:
            maximum = to_duration(self.maximum_interval, "maximum_interval", allow_zero=False)
            if maximum < initial:
                raise ValueError("maximum_interval must not be shorter than initial_interval")
        attempts: object = self.maximum_attempts
        if isinstance(attempts, bool) or not isinstance(attempts, int):
            raise TypeError(f"maximum_attempts must be a whole number, not {type(attempts).__name__}")
        if attempts < 0:
            raise ValueError(f"maximum_attempts must be 0 (no limit) or more, not {attempts}")
        types: object = self.non_retryable_error_types
        if types is not None and (isinstance(types, str) or not isinstance(types, Iterable)):
            raise TypeError(
                f"non_retryable_error_types must be a list, not {shown(types)}; put it in brackets"
            )
        entries = list(self.non_retryable_error_types or ())
        for entry in entries:
            if not isinstance(entry, str) and not (
                isinstance(entry, type) and issubclass(entry, BaseException)
            ):
                raise TypeError(
                    f"non_retryable_error_types takes exception classes and their names, not {shown(entry)}"
                )
        if not all(isinstance(entry, str) for entry in entries):
            names = [entry if isinstance(entry, str) else entry.__name__ for entry in entries]
            object.__setattr__(self, "non_retryable_error_types", names)

    def next_delay(self, failed_attempts: int) -> timedelta:
        """Return the wait behind the given number of failed attempts, without jitter."""
        initial = to_duration(self.initial_interval, "initial_interval")
        maximum = 100 * initial
        if self.maximum_interval is not None:
            maximum = to_duration(self.maximum_interval, "maximum_interval")
        return exponential(initial, self.backoff_coefficient, maximum, failed_attempts) * MICROSECOND


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> object:
        raise _no_attribute(__name__, name)
