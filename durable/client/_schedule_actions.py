"""Actions of schedules between people and the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from durable._engine.schedules.records import ActionRecord, ScheduleRecord
from durable._internal.instants import to_timedelta
from durable._internal.shown import shown
from durable.client._connection import Connection
from durable.client._schedule_spec import ScheduleSpec
from durable.client._schedule_types import (
    Schedule,
    ScheduleAction,
    ScheduleActionStartWorkflow,
    SchedulePolicy,
    ScheduleState,
)
from durable.client._start_options import check
from durable.client._target import Target
from durable.common import TypedSearchAttributes
from durable.converter._checked import to_checked_payloads
from durable.history import Payload, Payloads, decode_retry_policy, priority_of
from durable.history._search_attributes import decode_search_attributes, encode_search_attributes
from durable.interceptor._headers import checked_headers

OPTIONS = (
    "id",
    "task_queue",
    "execution_timeout",
    "run_timeout",
    "task_timeout",
    "retry_policy",
    "memo",
    "priority",
    "static_summary",
    "static_details",
)
"""What an action says about the start, with the names of `StartOptions`."""


def to_record(
    connection: Connection, schedule: Schedule, old: ScheduleRecord | None = None
) -> ScheduleRecord:
    """Return a schedule as it is stored, checked.

    Raises:
        TypeError: A field is of a wrong type.
        ValueError: A field is out of range.
        ConversionError: An argument cannot be stored, or is not of the type the workflow takes.
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a Schedule, not {type(schedule).__name__}: {shown(schedule)}")
    for name, kind in (("spec", ScheduleSpec), ("policy", SchedulePolicy), ("state", ScheduleState)):
        value = getattr(schedule, name)
        if not isinstance(value, kind):
            raise TypeError(f"Schedule.{name} must be a {kind.__name__}, not {type(value).__name__}")
    return ScheduleRecord(
        action=_action(connection, schedule.action),
        spec=schedule.spec.to_record(),
        policy=schedule.policy.to_record(),
    )


def _action(connection: Connection, action: ScheduleAction) -> ActionRecord:
    if not isinstance(action, ScheduleActionStartWorkflow):
        raise TypeError(f"Schedule.action must be a ScheduleActionStartWorkflow, not {shown(action)}")
    action.check()
    target = Target.of(action.workflow, tuple(action.args), {})
    said = check({name: getattr(action, name) for name in OPTIONS}, target.options)
    converter = connection.converter_for(action.id)
    return ActionRecord(
        workflow_type=target.name,
        workflow_id=action.id,
        task_queue=said.task_queue,
        input=_input(connection, action.id, target),
        execution_timeout=said.execution_timeout,
        run_timeout=said.run_timeout,
        task_timeout=said.task_timeout,
        retry_policy=said.retry_policy,
        memo={
            key: value if isinstance(value, Payload) else converter.to_payload(value, path=f"memo {key}")
            for key, value in said.memo.items()
        },
        headers=dict(checked_headers(action.headers or {})),
        search_attributes=encode_search_attributes(
            action.typed_search_attributes or TypedSearchAttributes.empty
        ),
        priority=said.priority,
        limits=said.limits,
        static_summary=said.static_summary,
        static_details=said.static_details,
    )


def _input(connection: Connection, workflow_id: str, target: Target) -> Payloads:
    """The arguments, of which some may be payloads that were read from the database."""
    converter = connection.converter_for(workflow_id)
    name = f"{target.name} input"
    args: Sequence[Any] = target.args
    if not any(isinstance(value, Payload) for value in args):
        return to_checked_payloads(converter, args, target.arg_types, name)
    payloads = [
        value if isinstance(value, Payload) else converter.to_payload(value, path=name) for value in args
    ]
    if target.arg_types is not None:
        converter.from_payloads(payloads, target.arg_types[: len(payloads)], path=name)
    return tuple(payloads)


def from_record(record: ScheduleRecord, state: ScheduleState) -> Schedule:
    """Return a stored schedule as people write it. Its arguments and memo stay payloads."""
    action = record.action
    arguments: tuple[Any, ...] = action.input
    memo: Mapping[str, Any] = action.memo
    return Schedule(
        action=ScheduleActionStartWorkflow(
            action.workflow_type,
            args=arguments,
            id=action.workflow_id,
            task_queue=action.task_queue,
            execution_timeout=_timedelta(action.execution_timeout),
            run_timeout=_timedelta(action.run_timeout),
            task_timeout=_timedelta(action.task_timeout),
            retry_policy=decode_retry_policy(action.retry_policy),
            memo=dict(memo) or None,
            typed_search_attributes=decode_search_attributes(action.search_attributes),
            priority=priority_of(action.priority, action.limits),
            headers=action.headers or None,
            static_summary=action.static_summary,
            static_details=action.static_details,
        ),
        spec=ScheduleSpec.from_record(record.spec),
        policy=SchedulePolicy.from_record(record.policy),
        state=state,
    )


def _timedelta(micros: int | None) -> Any:
    return None if micros is None else to_timedelta(micros)
