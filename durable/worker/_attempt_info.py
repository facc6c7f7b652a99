"""What an attempt's function is told about it, and how its values are stored."""

from __future__ import annotations

from durable._engine._activities import idempotency_key, task_token
from durable._engine._sole import is_sole
from durable._internal.instants import to_datetime, to_timedelta
from durable.activity._context import Info
from durable.converter import ActivitySerializationContext, DataConverter
from durable.history import decode_retry_policy, priority_of
from durable.worker._attempts import Attempt


def converter_for(attempt: Attempt, converter: DataConverter, namespace: str) -> DataConverter:
    """Return what makes values of an attempt's payloads."""
    if not converter.takes_context:
        return converter
    scheduled, owner = attempt.scheduled, attempt.asked_by
    sole = is_sole(owner.workflow_type)
    return converter.with_context(
        ActivitySerializationContext(
            namespace=namespace,
            activity_id=scheduled.activity_id,
            activity_type=scheduled.activity_type,
            activity_task_queue=scheduled.task_queue,
            workflow_id=None if sole else owner.workflow_id,
            workflow_type=None if sole else owner.workflow_type,
            is_local=scheduled.local is not None,
        )
    )


def info_of(attempt: Attempt, converter: DataConverter, namespace: str) -> Info:
    """Return the facts about an attempt as it began: a heartbeat of its own, or a row it got, changes nothing."""
    scheduled, record, heartbeat = attempt.scheduled, attempt.claimed, attempt.previous_heartbeat
    owner = attempt.asked_by
    sole = is_sole(owner.workflow_type)
    return Info(
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        attempt=attempt.number if record is None else record.number,
        heartbeat_details=converter.from_payloads(heartbeat) if heartbeat else [],
        heartbeat_timeout=None if scheduled.heartbeat is None else to_timedelta(scheduled.heartbeat),
        idempotency_key=idempotency_key(attempt.run_id, scheduled),
        activity_run_id=attempt.run_id if sole else None,
        is_local=scheduled.local is not None,
        namespace=namespace,
        priority=priority_of(scheduled.priority, scheduled.limits),
        retry_policy=decode_retry_policy(scheduled.retry_policy),
        schedule_to_close_timeout=(
            None if scheduled.schedule_to_close is None else to_timedelta(scheduled.schedule_to_close)
        ),
        scheduled_time=to_datetime(attempt.scheduled_at),
        current_attempt_scheduled_time=to_datetime(
            (attempt.due_at or attempt.scheduled_at) if record is None else record.due_at
        ),
        start_to_close_timeout=(
            None if scheduled.start_to_close is None else to_timedelta(scheduled.start_to_close)
        ),
        started_time=to_datetime(attempt.started_at),
        task_queue=scheduled.task_queue,
        workflow_id=None if sole else owner.workflow_id,
        workflow_namespace=None if sole else namespace,
        workflow_run_id=None if sole else attempt.run_id,
        workflow_type=None if sole else owner.workflow_type,
        task_token=task_token(attempt.run_id, scheduled.id, attempt.number),
    )
