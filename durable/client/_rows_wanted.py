"""Rows for activities that run beside their workflow, without one: whoever wants to reach them asks the run's owner.

The way is the table of queries, with a question that no workflow is asked; the row that comes is the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from durable._engine._questions import Asked, encode, rows_wanted
from durable._internal.ids import uuid7
from durable._internal.instants import SECOND
from durable.client._connection import Connection
from durable.store import Hint, HintKind, Question

ASK_EVERY = 1.0
"""Seconds after which the owner is asked again."""


class RowsWanted:
    """Asks the owner of one run for rows.

    Attributes:
        run_id: The run.
    """

    def __init__(self, connection: Connection, run_id: str, workflow_type: str, task_queue: str) -> None:
        self.run_id = run_id
        self._connection = connection
        self._workflow_type = workflow_type
        self._task_queue = task_queue
        self._asked_at = float("-inf")

    async def ask(self, ids: Collection[int]) -> None:
        """Ask for rows of these activities, unless that was done a moment ago.

        Raises:
            StoreUnavailableError: The database is away.
        """
        now = asyncio.get_running_loop().time()
        if now - self._asked_at < ASK_EVERY:
            return
        self._asked_at = now
        store = self._connection.store
        question = Question(
            query_id=uuid7(),
            run_id=self.run_id,
            workflow_type=self._workflow_type,
            task_queue=self._task_queue,
            name=rows_wanted(ids),
            input=encode(Asked()),
            expires_in=round(ASK_EVERY * SECOND),
        )
        await self._connection.patiently(lambda: store.ask(question))
        store.hint([Hint(HintKind.QUERY, self._task_queue)])
