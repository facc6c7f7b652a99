"""Runs that the end of their parent ends: whoever finds them ends them, whether anybody owns them or could run them.

The close of a parent leaves a termination in the inbox of each child that is to end with it. Who closed the parent looks
for these at once, who owns such a child looks when it reads the message, and every worker looks now and then. The end of
a child may condemn children of its own, which the next look finds.

A cancel request condemns a run as well, as long as that waits to be admitted under its concurrency key: it has not begun, so
there is no code to hear of the request, and it might wait for long. Such a run ends as cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from durable.client._parents import CANCELED, cancel_waiting
from durable.exceptions import HistoryError
from durable.history import EventRow, EventType, decode_data
from durable.store import Close, Message, RunRecord, RunStatus
from durable.worker._home import Home

logger = logging.getLogger("durable.worker")

BATCH = 200
"""Runs looked for at once."""

AT_ONCE = 20
"""Runs ended at the same time: enough to share commits, few enough to leave connections to others."""

TERMINATION = int(EventType.WORKFLOW_EXECUTION_TERMINATED)


def condemns(message: Message) -> bool:
    """Whether a message ends the run it is for."""
    return message.type == TERMINATION


class Condemned:
    """See the module; for one incarnation."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._looking = False
        self._again = False

    def look(self) -> None:
        """Look soon: there may be such runs."""
        self._again = True
        if not self._looking:
            self._looking = True
            self._home.spawn(self._look())

    async def _look(self) -> None:
        try:
            while self._again:
                self._again = False
                await self._home.patiently(self.end_all)
        finally:
            self._looking = False

    async def end_all(self) -> None:
        """End every run that is condemned now, and those that are condemned by that.

        Raises:
            StoreUnavailableError: The database is away; the rest is found by the next look.
        """
        store = self._home.store
        while runs := await store.condemned_runs(BATCH):
            ended = 0
            messages = await store.read_messages([run.run_id for run in runs])
            terminations = {m.run_id: m for m in messages if condemns(m)}
            waiting = [run for run in runs if run.run_id not in terminations]
            ends = [self._end(run, terminations[run.run_id]) for run in runs if run.run_id in terminations]
            ends += map(self._cancel, waiting)
            for start in range(0, len(ends), AT_ONCE):
                ended += sum(await asyncio.gather(*ends[start : start + AT_ONCE]))
            if not ended:
                # Somebody else is at it, or in the way.
                return

    async def _end(self, run: RunRecord, message: Message) -> bool:
        try:
            event = decode_data(message.type, message.data)
        except HistoryError as error:
            logger.error("run %s cannot be ended with its parent: %s", message.run_id, error)
            return False
        ended = await self._home.store.terminate(
            message.run_id, partial(_row, message), Close(RunStatus.TERMINATED)
        )
        if ended:
            self._home.ended(message.run_id, event, run.workflow_type)
        return ended

    async def _cancel(self, run: RunRecord) -> bool:
        store = self._home.store
        try:
            canceled = await cancel_waiting(store, run)
        except HistoryError as error:
            logger.error("run %s cannot be cancelled while it waits: %s", run.run_id, error)
            return False
        if canceled:
            self._home.ended(run.run_id, CANCELED, run.workflow_type)
        return canceled


def _row(message: Message, seq: int) -> EventRow:
    """The closing event: the message as it is, in no task of the workflow."""
    return EventRow(seq, seq, message.type, message.data)
