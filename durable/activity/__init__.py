"""What activity authors call: the decorator, and what a running activity knows and can say.

An activity is a function that does what workflow code must not: input and output, clocks, chance. It runs outside of
the workflow, is tried again when it fails, and its result is recorded, so that it is not run again by a replay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable._internal.left_out import no_attribute as _no_attribute
from durable.activity._activity import Activity, ActivityMethod, defn, method
from durable.activity._call import ActivityCall
from durable.activity._context import (
    ActivityCancellationDetails,
    Info,
    LoggerAdapter,
    cancellation_details,
    client,
    heartbeat,
    in_activity,
    info,
    is_cancelled,
    is_worker_shutdown,
    logger,
    metric_meter,
    payload_converter,
    raise_complete_async,
    shield_thread_cancel_exception,
    wait_for_cancelled,
    wait_for_cancelled_sync,
    wait_for_worker_shutdown,
    wait_for_worker_shutdown_sync,
)
from durable.activity._options import ActivityConfig, LocalActivityConfig

__all__ = [
    "Activity",
    "ActivityCall",
    "ActivityCancellationDetails",
    "ActivityConfig",
    "ActivityMethod",
    "Info",
    "LocalActivityConfig",
    "LoggerAdapter",
    "cancellation_details",
    "client",
    "defn",
    "heartbeat",
    "in_activity",
    "info",
    "is_cancelled",
    "is_worker_shutdown",
    "logger",
    "method",
    "metric_meter",
    "payload_converter",
    "raise_complete_async",
    "shield_thread_cancel_exception",
    "wait_for_cancelled",
    "wait_for_cancelled_sync",
    "wait_for_worker_shutdown",
    "wait_for_worker_shutdown_sync",
]


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> object:
        raise _no_attribute(__name__, name)
