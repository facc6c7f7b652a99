"""Starts and messages that are part of a transaction of the caller's, and what is said when they cannot be."""

from __future__ import annotations

import asyncio
import random
import time

from durable._internal import machine
from durable.client._patience import PATIENCE
from durable.exceptions import StoreUnavailableError, WorkflowNotFoundError
from durable.store import Inside, Message, NewRun, SendOutcome, StartVerdict

HELD_BACK = 0.05
"""Seconds until a message is sent again at the latest that a run held back because it is about to close."""

CLOSED = "the workflow is closed; a closed workflow can be described and queried, and told nothing"
UNKNOWN = "there is no such workflow; check the id, and that client and worker use the same database"
UNKNOWN_RUN = "it has no run {run_id!r}; check the run id, or leave it out to mean the newest run"


def chain_over(workflow_id: str, first_run_id: str, run_id: str) -> WorkflowNotFoundError:
    """The error when a handle means another chain of runs than the one there is now."""
    return WorkflowNotFoundError(
        f"workflow {workflow_id!r}: the chain of runs that began with {first_run_id} is over; its id has been used again, "
        "by a run that this handle does not mean",
        workflow_id=workflow_id,
        run_id=run_id,
    )


async def create_inside(inside: Inside, run: NewRun) -> StartVerdict:
    """Create a run in a caller's transaction.

    Raises:
        StoreUnavailableError: The run that it is content with is about to close, and did not for long.
        Exception: What the caller's driver raises; see `Inside`.
    """
    waits = _Waits(run.workflow_id)
    while (verdict := await inside.create_run(run)) is None:
        await waits.pause()
    return verdict


async def send_inside(
    inside: Inside, workflow_id: str, run_id: str | None, first_run_id: str | None, message: Message
) -> str:
    """Put a message into a workflow's inbox in a caller's transaction; return which run's.

    Raises:
        WorkflowNotFoundError: There is no such workflow, it is closed, or it is another one by now.
        Exception: As `create_inside`.
    """
    waits = _Waits(workflow_id)
    sent = await inside.send(workflow_id, run_id, first_run_id, message)
    while sent.outcome is SendOutcome.HELD_BACK:
        await waits.pause()
        sent = await inside.send(workflow_id, run_id, first_run_id, message)
    if sent.outcome in (SendOutcome.SENT, SendOutcome.REPEATED):
        return sent.run_id
    if sent.outcome is SendOutcome.NOT_FOUND and sent.run_id and first_run_id is not None:
        raise chain_over(workflow_id, first_run_id, sent.run_id)
    text = CLOSED if sent.outcome is SendOutcome.CLOSED else UNKNOWN
    raise WorkflowNotFoundError(
        f"workflow {workflow_id!r}: {text}", workflow_id=workflow_id, run_id=sent.run_id or None
    )


class _Waits:
    """For a run that is about to close and takes nothing until it has: a moment, and not for ever."""

    def __init__(self, workflow_id: str) -> None:
        self._workflow_id = workflow_id
        self._until = machine.monotonic() + PATIENCE

    async def pause(self) -> None:
        if machine.monotonic() > self._until:
            raise StoreUnavailableError(
                f"workflow {self._workflow_id!r} has been about to close for {PATIENCE:g} s and took no message; send it again"
            )
        seconds = random.uniform(0.01, HELD_BACK)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            time.sleep(seconds)  # noqa: ASYNC251  # called by a `SyncClient`, where nobody else is held up
        else:
            await asyncio.sleep(seconds)
