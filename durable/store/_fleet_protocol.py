"""The part of the port that is about task queues and all workers together; see `_protocol`."""

from __future__ import annotations

from typing import Protocol

from durable._engine.deadlines import DeadlineTurn, LateRuns
from durable._engine.deeds import Deed
from durable._engine.fleet import QueueState, Survey


class FleetStore(Protocol):
    """What is said of task queues, and a look at all of them."""

    async def set_queue_state(self, task_queue: str, state: QueueState, *, deed: Deed) -> bool:
        """Say whether the workers of a queue are to take work. False, and nothing is logged, if that was said before."""
        ...

    async def queue_state(self, task_queue: str) -> QueueState:
        """Return what was said of a queue; OPEN if nothing was."""
        ...

    async def survey(self) -> Survey:
        """Return what there is to know of all queues. Reads at most some `MOST_COUNTED` rows of a kind, by indexes."""
        ...

    async def take_survey_turn(self, worker_id: str, hold: int) -> bool:
        """Return whether this worker is the one that is to survey, for `hold` microseconds from now.

        It stays so for as long as it asks again before they are over; then whoever asks first is it.
        """
        ...

    async def take_deadline_turn(
        self, workflow_type: str, worker_id: str, hold: int, *, near: int = 0, past: int = 0
    ) -> DeadlineTurn | None:
        """Return up to where runs of a type were told of, if this worker is the one that is to look; None if another is.

        It is so for `hold` microseconds, and for as long as it asks again before they are over.

        Args:
            workflow_type: The type.
            worker_id: Who asks.
            hold: For how long, in microseconds.
            near: Up to where it has told of runs whose deadline is near, which is kept unless more is known.
            past: Likewise, of runs whose deadline has passed.
        """
        ...

    async def late_runs(
        self, workflow_type: str, *, since: int, until: int, told: int, limit: int
    ) -> LateRuns:
        """Return the open runs of a type that began after `since` and not after `until`.

        Of those that began after `told` too the first `limit` are named. Reads no others, and at most some `MOST_COUNTED`.
        """
        ...
