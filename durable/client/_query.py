"""Queries: answered from a run's log, by whoever has the code. Nothing is written, and no owner is needed."""

from __future__ import annotations

from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.converter import DataConverter
from durable.exceptions import WorkflowQueryFailedError
from durable.history import EventRow, Payload, Payloads, decode_history
from durable.workflow._definition import REGISTRY, WorkflowDefinition


def definition_for(workflow_type: str, task_queue: str) -> WorkflowDefinition:
    """Return this process's code of a workflow type.

    Raises:
        WorkflowQueryFailedError: There is none here.
    """
    found = REGISTRY.served(workflow_type, task_queue) or REGISTRY.named(workflow_type)
    if not found:
        raise WorkflowQueryFailedError(
            f"this process does not know workflow {workflow_type!r}, so it cannot answer a query from its log; import the "
            "module that defines it"
        )
    return found[-1]


def answer(
    definition: WorkflowDefinition,
    run_id: str,
    rows: list[EventRow],
    name: str,
    input: Payloads,
    converter: DataConverter,
    namespace: str,
) -> Payload:
    """Return the answer that the code gives in the state a log describes.

    Raises:
        WorkflowQueryFailedError: The code cannot be brought there, or the query failed.
    """
    events = decode_history(rows)

    def instance(*, trace: bool = False) -> Instance:
        return Instance(
            definition, run_id, converter, namespace=namespace, note=lambda text, error: None, trace=trace
        )

    code = instance()
    try:
        with Turns() as turns:
            try:
                replay(code, turns, events, rebuild=lambda: instance(trace=True))
            except Exception as error:
                raise WorkflowQueryFailedError(
                    f"query {name!r}: the workflow's code fails: {error}"
                ) from error
            return code.query(turns, name, input)
    finally:
        code.evict()
