"""A start that rides with an update, carried out: both are stored, or neither is."""

from __future__ import annotations

from typing import Any

from durable._engine._messages import message
from durable._engine._updates import decode_result
from durable.client._connection import Connection
from durable.client._handle import WorkflowHandle
from durable.client._start_options import Start
from durable.client._starter import Starter
from durable.client._target import Target
from durable.client._updates import NewUpdate, WorkflowUpdateHandle, first_run_of
from durable.client._with_start import WithStartWorkflowOperation
from durable.exceptions import WorkflowAlreadyStartedError


async def start_with_update(
    connection: Connection,
    starter: Starter,
    operation: WithStartWorkflowOperation[Any, Any],
    asked: tuple[Target, Start],
    new: NewUpdate,
    *,
    named: bool,
) -> WorkflowUpdateHandle[Any]:
    """Start a workflow with an update in its inbox, or send it to the one that is there; return the update's handle.

    Args:
        connection: The database.
        starter: What starts workflows.
        operation: What tells whoever asks for the workflow's handle.
        asked: What to start, and how.
        new: The update.
        named: Whether the caller gave the update its id, so that it may have been sent before.

    Raises:
        Exception: As `Client.execute_update_with_start_workflow`.
    """
    target, said = asked
    workflow_id = said.id or ""

    async def known() -> WorkflowHandle[Any, Any] | None:
        return await _with_update(connection, workflow_id, target, new) if named else None

    async def start() -> WorkflowHandle[Any, Any]:
        handle = await known()
        try:
            handle = handle or await starter.start(
                workflow_id, target, said, message("", new.message_id, new.event)
            )
        except WorkflowAlreadyStartedError:
            # It may be that very update which somebody sent meanwhile.
            handle = await known()
            if handle is None:
                raise
        if handle.first_execution_run_id is None and handle.result_run_id is not None:
            handle.first_execution_run_id = await first_run_of(connection, handle.result_run_id)
        return handle

    workflow = await operation.run(start)
    return WorkflowUpdateHandle(
        connection,
        new.id,
        workflow.id,
        workflow_run_id=workflow.result_run_id,
        result_type=new.result_type,
    )


async def _with_update(
    connection: Connection, workflow_id: str, target: Target, new: NewUpdate
) -> WorkflowHandle[Any, Any] | None:
    """Return the workflow if its newest run knows the update, and has not ended without completing it."""
    store, patiently = connection.store, connection.patiently
    record = await patiently(lambda: store.find_run(workflow_id, measured=False))
    if record is None:
        return None
    outcome = await patiently(lambda: store.find_update(record.run_id, new.message_id))
    if outcome is None or (record.closed_at is not None and decode_result(outcome.data).lost):
        return None
    return WorkflowHandle(
        connection, workflow_id, result_run_id=record.run_id, result_type=target.result_type
    )
