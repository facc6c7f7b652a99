"""Queries of callers without the workflow's code: this worker answers those it is given, from memory or from the log."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

from durable._engine._questions import Answered, Asked, decode, encode, wanted_rows
from durable._engine.versioning import places
from durable.client._query import answer as answer_from_log
from durable.exceptions import DurableError, StoreUnavailableError, WorkflowQueryFailedError
from durable.history import FORMAT, EventRow, Payload, Payloads
from durable.store import ANY_KEY, Hint, HintKind, QueryAnswer, Question
from durable.worker._glances import unseen
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

BATCH = 20
"""Queries taken at once: each may be a replay, and others may take the rest."""

SWEEP_EVERY = 10
"""Looks between two sweeps."""


class Answering(Home, Protocol):
    """The incarnation, as it answers queries."""

    def query(
        self, run_id: str, name: str, input: Payloads, headers: Mapping[str, Payload]
    ) -> Payload | None:
        """Answer a query from memory, or None when the run is not here, at rest and up to date."""
        ...

    def give_rows(self, run_id: str, ids: Collection[int]) -> None:
        """Give rows to those of these activities that run beside their workflow here."""
        ...

    def unbroken(self, run: object, work: Callable[[], Payload]) -> Payload:
        """Return what workflow code gives outside of its run's turns, unless it holds the event loop for too long."""
        ...


class Questions:
    """The loop that takes queries and answers them, for one incarnation."""

    def __init__(self, home: Answering) -> None:
        self._home = home
        self._look = asyncio.Event()

    async def run(self) -> None:
        """Answer until cancelled. Whatever goes wrong, there is another look."""
        home = self._home
        if home.options.workflow_types == []:
            await asyncio.Event().wait()
        stop = home.store.listen(self._hinted, HintKind.QUERY)
        looks = 0
        try:
            while True:
                self._look.clear()
                looks += 1
                try:
                    await self._answer_all()
                    if looks % SWEEP_EVERY == 0:
                        await home.store.sweep_questions(BATCH * SWEEP_EVERY)
                except StoreUnavailableError as error:
                    logger.warning("queries wait, the database is away: %s", error)
                except Exception:
                    logger.exception("answering queries failed, trying again")
                try:
                    pause = unseen(home.options.poll, home.options.poll)
                    async with asyncio.timeout(pause * random.uniform(0.9, 1.1)):
                        await self._look.wait()
                except TimeoutError:
                    pass
        finally:
            stop()

    def look(self) -> None:
        """Look for queries now."""
        self._look.set()

    def _hinted(self, hint: Hint) -> None:
        if hint.key in (ANY_KEY, self._home.task_queue):
            self._look.set()

    async def _answer_all(self) -> None:
        home = self._home
        while home.lease.held and not home.leaving:
            questions = await home.store.take_questions(
                home.worker_id,
                places(home.task_queue, home.options.version),
                home.options.workflow_types,
                BATCH,
                format=FORMAT,
            )
            for question in questions:
                data = encode(await self._answered(question))
                answer = QueryAnswer(question.query_id, question.run_id, data)
                await home.store.answer_questions([answer])
                home.hint([Hint(HintKind.ANSWER, question.query_id)])
            if len(questions) < BATCH:
                return

    async def _answered(self, question: Question) -> Answered:
        home, run_id, name = self._home, question.run_id, question.name
        if (wanted := wanted_rows(name)) is not None:
            home.give_rows(run_id, wanted)
            return Answered(result=home.converter.to_payload(None))
        try:
            asked = decode(question.input, Asked)
            found = home.query(run_id, name, asked.input, asked.headers)
            if found is None:
                found = self._from_log(question, asked, await home.store.read_events(run_id))
        except StoreUnavailableError:
            raise
        except DurableError as error:
            return Answered(failure=home.converter.to_payload(str(error)))
        return Answered(result=found)

    def _from_log(self, question: Question, asked: Asked, rows: list[EventRow]) -> Payload:
        home = self._home
        definition = home.options.workflow(question.workflow_type)
        if definition is None:
            raise WorkflowQueryFailedError(
                f"query {question.name!r}: the worker that owns the run does not know workflow "
                f"{question.workflow_type!r}"
            )
        return home.unbroken(
            question,
            lambda: answer_from_log(
                definition,
                question.run_id,
                rows,
                question.name,
                asked.input,
                home.converter,
                home.namespace,
                asked.headers,
                home.options.workflow_interceptors,
            ),
        )
