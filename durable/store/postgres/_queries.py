"""Queries that wait for a worker with the code."""

from __future__ import annotations

from collections.abc import Sequence

from durable._engine.records import QUERY_PATIENCE, QUERY_TAKEN_FOR, QueryAnswer, Question
from durable._engine.versioning import queue_of
from durable.store.postgres import _rows
from durable.store.postgres._part import Part


class Queries(Part):
    """The port's methods about queries."""

    async def ask(self, question: Question) -> bool:
        """Write a query down for the workers; again does nothing."""
        if not _rows.is_run_id(question.run_id):
            return False
        return bool(
            await self._fetch(
                "ask",
                question.query_id,
                question.run_id,
                question.name,
                question.input,
                question.expires_in,
            )
        )

    async def take_questions(
        self,
        worker_id: str,
        task_queues: Sequence[str],
        workflow_types: Sequence[str] | None,
        limit: int,
        *,
        format: int,
    ) -> list[Question]:
        """Return queries that this worker is to answer, for a while to it alone."""
        rows = await self._fetch(
            "take_questions",
            worker_id,
            list(task_queues),
            None if workflow_types is None else list(workflow_types),
            limit,
            format,
            QUERY_PATIENCE,
            QUERY_TAKEN_FOR,
        )
        return [
            Question(
                query_id=str(row["query_id"]),
                run_id=str(row["run_id"]),
                workflow_type=row["workflow_type"],
                task_queue=queue_of(row["task_queue"]),
                name=row["name"],
                input=row["input"],
                expires_in=row["expires_in"],
            )
            for row in rows
        ]

    async def answer_questions(self, answers: Sequence[QueryAnswer]) -> None:
        """Write answers down for those who asked; the first one stays."""
        if answers:
            await self._fetch(
                "answer_questions", [one.query_id for one in answers], [one.data for one in answers]
            )

    async def read_answers(self, query_ids: Sequence[str]) -> list[QueryAnswer]:
        """Return the answers that are there."""
        rows = await self._read("read_answers", list(query_ids))
        return [QueryAnswer(str(row["query_id"]), str(row["run_id"]), row["answer"]) for row in rows]

    async def sweep_questions(self, limit: int) -> int:
        """Delete queries that nobody waits for any more; return how many."""
        return len(await self._fetch("sweep_questions", limit))
