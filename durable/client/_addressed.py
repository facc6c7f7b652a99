"""One workflow execution, found by its id, and told something: what a handle is built on."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import Any, Generic, TypeVar

from durable._engine._messages import message, named
from durable._internal.ids import check_name, derived_uuid, uuid7
from durable.client._checked import check_result_type
from durable.client._connection import Connection
from durable.client._inside import CLOSED, HELD_BACK, UNKNOWN, UNKNOWN_RUN, chain_over, send_inside
from durable.client._patience import PATIENCE
from durable.converter import DataConverter
from durable.exceptions import StoreUnavailableError, WorkflowNotFoundError
from durable.history import Input
from durable.store import Hint, HintKind, Nowhere, RunRecord, SendOutcome, beneath

W_co = TypeVar("W_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)


def requested(request_id: str | None, kind: str) -> str:
    """Return the id of a message that may be sent again: always the same for a request's id; a fresh one without it."""
    return (
        uuid7()
        if request_id is None
        else derived_uuid(f"durable {kind}", check_name(request_id, "request_id"))
    )


class Addressed(Generic[W_co, R_co]):
    """A workflow by id, or one run of it. Making one asks nothing of the database."""

    def __init__(
        self,
        connection: Connection,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: Any = Any,
        tentative: bool = False,
    ) -> None:
        self._connection = connection
        self.id = check_name(id, "id")
        self.run_id = run_id
        self.result_run_id = result_run_id
        self.first_execution_run_id = first_execution_run_id
        self._result_type = check_result_type(result_type)
        self._tentative = tentative  # whether its start has yet to be committed, as far as is known

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id!r} run {self.run_id or self.result_run_id}>"

    @property
    def _converter(self) -> DataConverter:
        return self._connection.converter_for(self.id)

    async def _find(self, run_id: str | None, *, measured: bool = False) -> RunRecord:
        find = self._connection.store.find_run
        record = await self._connection.patiently(lambda: find(self.id, run_id, measured=measured))
        if record is None:
            newest = None
            if run_id is not None:
                newest = await self._connection.patiently(lambda: find(self.id, measured=False))
            text = UNKNOWN if newest is None else UNKNOWN_RUN.format(run_id=run_id)
            raise WorkflowNotFoundError(f"workflow {self.id!r}: {text}", workflow_id=self.id, run_id=run_id)
        return record

    async def _check_committed(self) -> None:
        """Return only if the start is there: waiting inside one's own transaction would have no end."""
        try:
            await self._find(self.result_run_id)
        except WorkflowNotFoundError:
            raise WorkflowNotFoundError(
                f"workflow {self.id!r}: the transaction that it was started in is still open, or has been rolled back; "
                "commit it before you wait for the result",
                workflow_id=self.id,
                run_id=self.result_run_id,
            ) from None
        self._tentative = False

    async def _find_own(self, *, measured: bool = False) -> RunRecord:
        """Return the run this handle is about: the given one, else the newest of the chain it started, or of all."""
        if self.run_id is not None or self.result_run_id is None:
            return await self._find(self.run_id, measured=measured)
        newest = await self._find(None, measured=measured)
        own = (self.first_execution_run_id, self.result_run_id)
        if newest.first_run_id in own or newest.run_id in own:
            return newest
        return await self._find(self.result_run_id, measured=measured)

    async def _send_inside(self, event: Input, caller: object, *, own: bool = False) -> str:
        """Put a message into the run's inbox in a transaction of the caller's; return which run's. See `_send`."""
        first = self.first_execution_run_id if own and self.run_id is None else None
        inside = await self._connection.store.inside(caller)
        try:
            return await send_inside(inside, self.id, self.run_id, first, message("", event.message, event))
        except WorkflowNotFoundError as error:
            if error.run_id is not None and await self._was_read(error.run_id, event.message):
                return error.run_id
            raise

    async def _send(self, event: Input, *, own: bool = False) -> RunRecord:
        """Put a message into the run's inbox, once, however often the database has to be asked; return the run as it was.

        Args:
            event: What it becomes, under the id that it names.
            own: Whether only runs of the chain are meant that this handle started, if it did.
        """
        store = self._connection.store
        followed: set[str] = set()
        until = asyncio.get_running_loop().time() + PATIENCE
        while True:
            record = await self._find(self.run_id)
            if own:
                self._check_chain(record)
            new = [message(record.run_id, event.message, event)]
            outcome = (await self._connection.patiently(partial(store.send, new)))[0]
            if outcome in (SendOutcome.SENT, SendOutcome.REPEATED):
                store.hint([Hint(HintKind.MESSAGE, record.run_id)])
                return record
            if outcome is SendOutcome.HELD_BACK:
                # It is about to close, and takes nothing until it has: a moment.
                if asyncio.get_running_loop().time() > until:
                    raise StoreUnavailableError(
                        f"workflow {self.id!r} has been about to close for {PATIENCE:g} s and took no message; send it again"
                    )
                await asyncio.sleep(random.uniform(0.01, HELD_BACK))
                continue
            if await self._was_read(record.run_id, event.message):
                return record
            if self.run_id is None and record.run_id not in followed:
                # It may have closed by going on in another run; look again.
                followed.add(record.run_id)
                continue
            text = UNKNOWN if outcome is SendOutcome.NOT_FOUND else CLOSED
            raise WorkflowNotFoundError(
                f"workflow {self.id!r}: {text}", workflow_id=self.id, run_id=record.run_id
            )

    def _check_chain(self, record: RunRecord) -> None:
        first = self.first_execution_run_id
        if self.run_id is None and first is not None and record.first_run_id != first:
            raise chain_over(self.id, first, record.run_id)

    async def _was_read(self, run_id: str, message_id: str) -> bool:
        """Whether a message whose send was in doubt has become an event, or has an outcome, being an update."""
        store = beneath(self._connection.store)  # where message ids are as plain as anywhere
        if isinstance(store, Nowhere):
            return False  # a `SyncClient` has no connection to look with
        if await self._connection.patiently(lambda: store.find_update(run_id, message_id)):
            return True
        rows = await self._connection.patiently(lambda: store.read_events(run_id))
        return any(named(message_id) in row.data for row in rows)
