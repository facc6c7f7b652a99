"""Updates: how they are named as messages, and what becomes of them for whoever waits.

An update is a message like any other, an event in waiting, until its run's owner lets the code look at it. From then on
it has an outcome: a row beside the history, which survives the run, and which a repeated send of the same id finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from durable._engine.records import UpdateOutcome, UpdateStage
from durable.history import (
    ApplicationFailure,
    EventData,
    Failure,
    Payload,
    WorkflowExecutionUpdateAccepted,
    WorkflowExecutionUpdateCompleted,
)

_PREFIX = "update:"


def message_id_of(update_id: str) -> str:
    """Return the id of the message that an update is sent as; one id per update, so that no repetition doubles it."""
    return _PREFIX + update_id


class UpdateResult(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The outcome of an update, as it is stored: one of a result and a failure.

    Attributes:
        rejected: The failure is a rejection: the update left no event.
        lost: The run ended before the update was completed.
    """

    result: Payload | None = None
    failure: Failure | None = None
    rejected: bool = False
    lost: bool = False


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(UpdateResult).decode


def decode_result(data: bytes) -> UpdateResult:
    """Return what an outcome's bytes hold.

    Raises:
        msgspec.DecodeError: They are not what this library wrote.
    """
    return _decode(data)


LOST = _encode(
    UpdateResult(
        failure=Failure(
            message="the workflow ended before the update was completed",
            info=ApplicationFailure(type="AcceptedUpdateCompletedWorkflow", non_retryable=True),
        ),
        lost=True,
    )
)
"""The outcome of updates that end with their run. The type is Temporal's."""


def rejections(rejected: Mapping[str, Failure]) -> list[UpdateOutcome]:
    """Return the outcomes of updates (by message id) that were refused."""
    return [
        UpdateOutcome(message, UpdateStage.COMPLETED, _encode(UpdateResult(failure=failure, rejected=True)))
        for message, failure in rejected.items()
    ]


def outcomes(events: Iterable[EventData]) -> list[UpdateOutcome]:
    """Return how far the updates have come that these events accept or complete."""
    found: dict[str, UpdateOutcome] = {}
    for event in events:
        if isinstance(event, WorkflowExecutionUpdateAccepted):
            found[event.message] = UpdateOutcome(event.message, UpdateStage.ACCEPTED)
        elif isinstance(event, WorkflowExecutionUpdateCompleted):
            result = UpdateResult(result=event.result, failure=event.failure)
            found[event.update] = UpdateOutcome(event.update, UpdateStage.COMPLETED, _encode(result))
    return list(found.values())
