"""From one run to the next: what the code asked for when it continued as new, and what it was left by the run before."""

from __future__ import annotations

from typing import Any, cast

from durable._internal.ids import check_name
from durable.converter import DataConverter
from durable.history import (
    WorkflowExecutionContinuedAsNew,
    WorkflowExecutionStarted,
    encode_retry_policy,
)
from durable.history._search_attributes import encode_search_attributes
from durable.workflow._continue import Continuation, ContinueAsNewError
from durable.workflow._definition import WorkflowDefinition


def continued(
    said: Continuation, own: WorkflowDefinition, converter: DataConverter
) -> WorkflowExecutionContinuedAsNew:
    """Return the command that ends a run which continues as new.

    Args:
        said: What was asked for.
        own: The workflow that asks; it is the one that goes on, unless another one is named.
        converter: How values are stored.

    Raises:
        TypeError: The arguments do not fit the workflow.
        ConversionError: One of them cannot be stored, or is not of the type the workflow takes.
    """
    definition = own if said.definition is None and said.name is None else said.definition
    name = said.name if definition is None else definition.name
    assert name is not None
    args, path = said.args, f"{name} input"
    typed = None if definition is None or definition.dynamic else definition
    if typed is not None:
        args = typed.parameters.bind(args, {})
    payloads = converter.to_payloads(args, path=path)
    if typed is not None:
        converter.from_payloads(payloads, typed.arg_types[: len(payloads)], path=path)
    return WorkflowExecutionContinuedAsNew(
        workflow_type=name,
        task_queue=said.task_queue or "",
        input=payloads,
        run_timeout=said.run_timeout,
        task_timeout=said.task_timeout,
        backoff=said.backoff,
        retry_policy=None if said.retry_policy is None else encode_retry_policy(said.retry_policy),
        memo=None
        if said.memo is None
        else {
            check_name(key, "memo key"): converter.to_payload(value, path=f"memo {key}")
            for key, value in said.memo.items()
        },
        search_attributes=None
        if said.search_attributes is None
        else encode_search_attributes(said.search_attributes),
        initial_versioning_behavior=""
        if not said.initial_versioning_behavior
        else said.initial_versioning_behavior.name.lower(),
    )


def continuing(error: BaseException) -> WorkflowExecutionContinuedAsNew | None:
    """Return the command that left the code as `error`, if it did: by itself, or through task groups."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        found = [continuing(member) for member in group.exceptions]
        return found[0] if None not in found else None
    if isinstance(error, ContinueAsNewError):
        command: object = error.command
        assert isinstance(command, WorkflowExecutionContinuedAsNew)
        return command
    return None


class LastRun:
    """What the runs before this one left it; see `durable.workflow._runtime.LastRun`."""

    __slots__ = ("_converter", "_started")

    def __init__(self, started: WorkflowExecutionStarted, converter: DataConverter) -> None:
        self._started = started
        self._converter = converter

    @property
    def has_result(self) -> bool:
        """Whether one of them returned."""
        return self._started.last_result is not None

    @property
    def has_failure(self) -> bool:
        """Whether the last one failed."""
        return self._started.last_failure is not None

    def result(self, type_hint: Any) -> Any:
        """Return what the last one that returned has returned; None when none has."""
        found = self._started.last_result
        if found is None:
            return None
        return self._converter.from_payload(found, type_hint, path="last completion result")

    def failure(self) -> BaseException | None:
        """Return what the last one failed with; None when it did not fail."""
        found = self._started.last_failure
        return None if found is None else self._converter.from_failure(found)
