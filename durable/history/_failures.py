"""A failure as it is stored: plain data, never an exception object, never anything that could be executed.

The shape is Temporal's `Failure`: a message, a stack trace as text, what kind of failure it is, and the failure that
caused it. Whoever turns exceptions into this and back is the failure converter.
"""

from __future__ import annotations

from msgspec import Struct

from durable.history._payloads import Payload, Payloads


class _Info(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind"):
    pass


class ApplicationFailure(_Info, frozen=True, omit_defaults=True, tag="application"):
    """Raised by user code, in an activity or a workflow."""

    type: str | None = None
    non_retryable: bool = False
    details: Payloads = ()
    next_retry_delay: int | None = None
    category: str | None = None


class TimeoutFailure(_Info, frozen=True, omit_defaults=True, tag="timeout"):
    """A deadline passed, or the worker was lost (then `timeout_type` is the one that would have ended it)."""

    timeout_type: str = "start_to_close"
    last_heartbeat_details: Payloads = ()


class CanceledFailure(_Info, frozen=True, omit_defaults=True, tag="canceled"):
    """Ended because it was asked to."""

    details: Payloads = ()


class TerminatedFailure(_Info, frozen=True, omit_defaults=True, tag="terminated"):
    """Ended by an operator, without being asked."""

    details: Payloads = ()


class ActivityFailure(_Info, frozen=True, omit_defaults=True, tag="activity"):
    """An activity failed for good; its `cause` tells why."""

    activity_type: str = ""
    activity_id: str = ""
    retry_state: str | None = None
    identity: str = ""


class ChildWorkflowFailure(_Info, frozen=True, omit_defaults=True, tag="child_workflow"):
    """A child workflow failed; its `cause` tells why."""

    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    retry_state: str | None = None
    namespace: str = ""


FailureInfo = (
    ApplicationFailure
    | TimeoutFailure
    | CanceledFailure
    | TerminatedFailure
    | ActivityFailure
    | ChildWorkflowFailure
)


class Failure(Struct, frozen=True, gc=False, omit_defaults=True):
    """Why something did not succeed, as data.

    Attributes:
        message: Text for people; always valid Unicode, at most `MAX_MESSAGE` characters.
        stack_trace: The traceback as text, cut in the middle when it is long.
        info: What kind of failure it is.
        cause: The failure behind this one.
        encoded: Message and stack trace as a codec left them, when they are hidden.
    """

    message: str = ""
    stack_trace: str = ""
    info: FailureInfo = ApplicationFailure()
    cause: Failure | None = None
    encoded: Payload | None = None


MAX_MESSAGE = 10_000
"""Characters of a stored message. A message of megabytes helps nobody, and would make each retry cost as much."""

MAX_STACK_TRACE = 20_000
"""Characters of a stored stack trace; both ends are kept, since both are read."""

MAX_CAUSES = 20
"""How many causes deep a failure is stored; exceptions can be chained in circles."""
