"""What is said of task queues, and a look at all of them."""

from __future__ import annotations

from durable._engine.deadlines import DeadlineTurn, LateRun, LateRuns
from durable._engine.deeds import Deed
from durable._engine.fleet import MOST_COUNTED, QueueState, Survey, survey_of
from durable.store.postgres._pack import deed_columns
from durable.store.postgres._part import Part


class Fleet(Part):
    """The port's methods about task queues and all workers together."""

    async def set_queue_state(self, task_queue: str, state: QueueState, *, deed: Deed) -> bool:
        """Say whether the workers of a queue are to take work."""
        columns = deed_columns(deed)
        if state is QueueState.OPEN:
            return bool(await self._fetch("open_queue", task_queue, *columns))
        return bool(await self._fetch("set_queue_state", task_queue, int(state), *columns))

    async def queue_state(self, task_queue: str) -> QueueState:
        """Return what was said of a queue; OPEN if nothing was."""
        rows = await self._read("queue_state", task_queue)
        return QueueState(rows[0]["state"]) if rows else QueueState.OPEN

    async def survey(self) -> Survey:
        """Return what there is to know of all queues."""
        rows = await self._read("survey", MOST_COUNTED)
        return survey_of((row["kind"], row["what"], row["number"], row["age"]) for row in rows)

    async def take_survey_turn(self, worker_id: str, hold: int) -> bool:
        """Return whether this worker is the one that is to survey, for so long."""
        return bool(await self._fetch("take_survey_turn", worker_id, hold))

    async def take_deadline_turn(
        self, workflow_type: str, worker_id: str, hold: int, *, near: int = 0, past: int = 0
    ) -> DeadlineTurn | None:
        """Return up to where runs of a type were told of, if this worker is the one that is to look."""
        rows = await self._fetch("take_deadline_turn", workflow_type, worker_id, hold, near, past)
        return DeadlineTurn(rows[0]["now"], rows[0]["near"], rows[0]["past"]) if rows else None

    async def late_runs(
        self, workflow_type: str, *, since: int, until: int, told: int, limit: int
    ) -> LateRuns:
        """Return the open runs of a type that began in a certain time."""
        rows = await self._read("late_runs", workflow_type, since, until, told, MOST_COUNTED, limit)
        late = [LateRun(r["workflow_id"], str(r["run_id"]), r["began_at"]) for r in rows if r["run_id"]]
        return LateRuns(next(r["began_at"] for r in rows if r["run_id"] is None), late)
