"""Whose a value is: what converters and codecs may be told, for example to choose a key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

T = TypeVar("T")


class SerializationContext(ABC):  # noqa: B024 Temporal's base of all contexts; each kind has fields of its own
    """Whose a value is."""


@dataclass(frozen=True)
class WorkflowSerializationContext(SerializationContext):
    """A value of a workflow: its arguments and result, memo, and what is said to it.

    Attributes:
        namespace: The namespace of its database.
        workflow_id: Its id.
    """

    namespace: str
    workflow_id: str


@dataclass(frozen=True)
class ActivitySerializationContext(SerializationContext):
    """A value of an activity: its arguments, its result, its heartbeats.

    Attributes:
        namespace: The namespace of its database.
        activity_id: Its id within its run.
        activity_type: The name of its definition.
        activity_task_queue: The queue it was asked for on.
        workflow_id: The workflow that asked for it.
        workflow_type: The name of that workflow's definition.
        is_local: False: whoever asks does not know whether it will run beside its workflow.
    """

    namespace: str
    activity_id: str | None
    activity_type: str | None
    activity_task_queue: str | None
    workflow_id: str | None
    workflow_type: str | None
    is_local: bool = False


class WithSerializationContext(ABC):
    """Mixed into a payload converter, a failure converter or a codec that wants to know whose a value is.

    A converter is told the workflow or the activity. A codec is told the workflow whose log or inbox holds the value,
    always, so that what it encoded in one context it is asked to decode in the same.
    """

    @abstractmethod
    def with_context(self, context: SerializationContext) -> Self:
        """Return one of its kind for what belongs to `context`; itself, if that makes no difference."""


class WithPayloadFields(ABC):
    """Mixed into a codec that binds what it encodes to the field it stands in, beside the workflow.

    So that nobody who may write the database, but has no key, can make an argument of what was a result.
    """

    @abstractmethod
    def with_fields(self, fields: Sequence[str]) -> Self:
        """Return one of its kind for payloads that stand in these fields, one for each, in their order.

        Fields are called as the facts of events call them: `input`, `result`, `details`, `memo`, `headers`; all that
        belongs to a failure is in `failure`. A payload is decoded in the field in which it was encoded, always.
        """


def in_context(one: T, context: SerializationContext) -> T:
    """Return a converter or codec as it is for `context`."""
    return one.with_context(context) if isinstance(one, WithSerializationContext) else one
