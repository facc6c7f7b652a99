"""Transactions of callers, in front of the codec."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from msgspec import structs

from durable._engine.records import Message, NewRun, StartVerdict
from durable.store._inside import Delivery, Inside
from durable.store._parcel import Parcel, Whose


class EncodedInside:
    """See `durable.store.Inside`.

    Args:
        inside: The transaction itself.
        run: Encodes a run that is to be created.
        message: Encodes a message for a workflow, which is known by its id: the run is found in the transaction.
    """

    def __init__(
        self,
        inside: Inside,
        run: Callable[[NewRun], Awaitable[NewRun]],
        message: Callable[[str, Message], Awaitable[Message]],
    ) -> None:
        self._inside = inside
        self._run = run
        self._message = message

    async def create_run(self, run: NewRun) -> StartVerdict | None:
        """Create a run."""
        return await self._inside.create_run(await self._run(run))

    async def send(
        self, workflow_id: str, run_id: str | None, first_run_id: str | None, message: Message
    ) -> Delivery:
        """Put a message into an inbox."""
        encoded = await self._message(workflow_id, message)
        return await self._inside.send(workflow_id, run_id, first_run_id, encoded)

    async def attribute_types(self, wanted: Mapping[str, int]) -> dict[str, int]:
        """Give types to attributes, which are never encoded."""
        return await self._inside.attribute_types(wanted)


def message_of(workflow_id: str) -> Callable[[Parcel, Message], Message]:
    """Return how a message to that workflow is walked."""
    return lambda parcel, one: structs.replace(one, data=parcel.event(Whose(workflow_id), one.type, one.data))
