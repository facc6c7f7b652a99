"""What workflow authors call: the decorators, and everything workflow code does besides plain Python.

Workflow code is ordinary `async` Python on an event loop of its own. What it waits for is recorded, and it is run
again from that record after a crash, so it takes time, chance and the world outside from here and from activities.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from durable._internal.left_out import no_attribute as _no_attribute
from durable.activity import ActivityConfig, LocalActivityConfig
from durable.common import ActivityCancellationType, ChildWorkflowCancellationType, ParentClosePolicy
from durable.exceptions import NondeterminismError, ReadOnlyContextError
from durable.workflow import unsafe
from durable.workflow._activities import (
    ActivityHandle,
    execute_activity,
    execute_activity_method,
    start_activity,
    start_activity_method,
)
from durable.workflow._calls import QueryCall, SignalCall, UpdateCall, WorkflowCall
from durable.workflow._child_handle import ChildWorkflowHandle, ExternalWorkflowHandle
from durable.workflow._child_options import ChildWorkflowConfig
from durable.workflow._children import (
    execute_child_workflow,
    get_external_workflow_handle,
    get_external_workflow_handle_for,
    start_child_workflow,
)
from durable.workflow._continue import (
    ContinueAsNewConfig,
    ContinueAsNewError,
    ContinueAsNewVersioningBehavior,
    continue_as_new,
)
from durable.workflow._definition import DynamicWorkflowConfig, HandlerUnfinishedPolicy, WorkflowConfig
from durable.workflow._defn import defn
from durable.workflow._info import Info, ParentInfo, RootInfo
from durable.workflow._last_run import (
    get_last_completion_result,
    get_last_failure,
    has_last_completion_result,
    has_last_failure,
)
from durable.workflow._local_activities import (
    execute_local_activity,
    execute_local_activity_method,
    start_local_activity,
    start_local_activity_method,
)
from durable.workflow._messages import (
    Query,
    Signal,
    get_dynamic_query_handler,
    get_dynamic_signal_handler,
    get_dynamic_update_handler,
    get_query_handler,
    get_signal_handler,
    get_update_handler,
    set_dynamic_query_handler,
    set_dynamic_signal_handler,
    set_dynamic_update_handler,
    set_handler,
    set_query_handler,
    set_signal_handler,
    set_update_handler,
)
from durable.workflow._methods import (
    BoundQuery,
    BoundSignal,
    BoundUpdate,
    QueryMethod,
    RunMethod,
    SignalMethod,
    UpdateMethod,
    dynamic_config,
    init,
    query,
    run,
    signal,
    update,
)
from durable.workflow._patches import deprecate_patch, patched
from durable.workflow._saga import Saga, saga
from durable.workflow._state import (
    LoggerAdapter,
    cancellation_reason,
    get_current_details,
    in_workflow,
    info,
    instance,
    is_failure_exception,
    logger,
    memo,
    memo_value,
    metric_meter,
    new_random,
    now,
    payload_converter,
    random,
    random_seed,
    register_random_seed_callback,
    set_current_details,
    time,
    time_ns,
    upsert_memo,
    upsert_search_attributes,
    uuid4,
    uuid7,
)
from durable.workflow._updates import Update, UpdateInfo, all_handlers_finished, current_update_info
from durable.workflow._waiting import as_completed, map, sleep, sleep_until, wait, wait_condition
from durable.workflow._workflow import Workflow

__all__ = [
    "ActivityCancellationType",
    "ActivityConfig",
    "ActivityHandle",
    "BoundQuery",
    "BoundSignal",
    "BoundUpdate",
    "ChildWorkflowCancellationType",
    "ChildWorkflowConfig",
    "ChildWorkflowHandle",
    "ContinueAsNewConfig",
    "ContinueAsNewError",
    "ContinueAsNewVersioningBehavior",
    "DynamicWorkflowConfig",
    "ExternalWorkflowHandle",
    "HandlerUnfinishedPolicy",
    "Info",
    "LocalActivityConfig",
    "LoggerAdapter",
    "NondeterminismError",
    "ParentClosePolicy",
    "ParentInfo",
    "Query",
    "QueryCall",
    "QueryMethod",
    "ReadOnlyContextError",
    "RootInfo",
    "RunMethod",
    "Saga",
    "Signal",
    "SignalCall",
    "SignalMethod",
    "Update",
    "UpdateCall",
    "UpdateInfo",
    "UpdateMethod",
    "Workflow",
    "WorkflowCall",
    "WorkflowConfig",
    "all_handlers_finished",
    "as_completed",
    "cancellation_reason",
    "continue_as_new",
    "current_update_info",
    "defn",
    "deprecate_patch",
    "dynamic_config",
    "execute_activity",
    "execute_activity_method",
    "execute_child_workflow",
    "execute_local_activity",
    "execute_local_activity_method",
    "get_current_details",
    "get_dynamic_query_handler",
    "get_dynamic_signal_handler",
    "get_dynamic_update_handler",
    "get_external_workflow_handle",
    "get_external_workflow_handle_for",
    "get_last_completion_result",
    "get_last_failure",
    "get_query_handler",
    "get_signal_handler",
    "get_update_handler",
    "has_last_completion_result",
    "has_last_failure",
    "in_workflow",
    "info",
    "init",
    "instance",
    "is_failure_exception",
    "logger",
    "map",
    "memo",
    "memo_value",
    "metric_meter",
    "new_random",
    "now",
    "patched",
    "payload_converter",
    "query",
    "random",
    "random_seed",
    "register_random_seed_callback",
    "run",
    "saga",
    "set_current_details",
    "set_dynamic_query_handler",
    "set_dynamic_signal_handler",
    "set_dynamic_update_handler",
    "set_handler",
    "set_query_handler",
    "set_signal_handler",
    "set_update_handler",
    "signal",
    "sleep",
    "sleep_until",
    "start_activity",
    "start_activity_method",
    "start_child_workflow",
    "start_local_activity",
    "start_local_activity_method",
    "time",
    "time_ns",
    "unsafe",
    "update",
    "upsert_memo",
    "upsert_search_attributes",
    "uuid4",
    "uuid7",
    "wait",
    "wait_condition",
]


if not TYPE_CHECKING:  # to a type checker, a name that is not here is an error

    def __getattr__(name: str) -> object:
        raise _no_attribute(__name__, name)
