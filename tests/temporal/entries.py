"""The entries: Temporal's samples, its feature suite, and tests of its Python SDK, by the names they have there.

A test shows one with `@pytest.mark.temporal("child_workflow/result")`. What is not shown by a test says why.
"""

from __future__ import annotations

from collections.abc import Iterator

SAMPLES: dict[str, str] = {
    "hello": "activity activity_async activity_choice activity_heartbeat activity_method activity_multiprocess "
    "activity_retry async_activity_completion cancellation change_log_level child_workflow continue_as_new cron "
    "exception local_activity mtls parallel_activity patch query search_attributes signal update",
    "message_passing": "introduction safe_message_handlers update_with_start_lazy_initialization waiting_for_handlers "
    "waiting_for_handlers_and_compensation",
    "patterns": "batch_sliding_window custom_decorator dsl polling_frequent polling_infrequent "
    "polling_periodic_sequence resource_pool sleep_for_days updatable_timer worker_specific_task_queues patching "
    "replay schedules worker_versioning worker_multiprocessing eager_wf_start hello_standalone_activity "
    "workflow_streams gevent_async trio_async",
    "data": "context_propagation custom_converter pydantic_converter encryption external_storage "
    "external_storage_redis custom_metric prometheus open_telemetry sentry langfuse_tracing langsmith_tracing "
    "env_config",
    "ai": "openai_agents langgraph_plugin deepagents_plugin google_adk_agents google_genai strands_plugin "
    "litellm_activity bedrock",
    "infra": "hello_nexus nexus_cancel nexus_messaging nexus_multiple_args nexus_standalone_operations lambda_worker "
    "cloud_export_to_parquet activity_worker",
}
"""samples-python: each is an example that runs, or says why not."""

FEATURES: dict[str, str] = {
    "activity": "basic_no_workflow_timeout cancel_abandon cancel_try_cancel cancel_wait_cancel heartbeating "
    "retry_on_error running_concurrently shutdown",
    "child_workflow": "cancel_abandon cancel_try_cancel cancel_wait_completed cancel_wait_requested handle result "
    "retry signal start throws_on_execute throws_on_start throws_on_termination throws_on_timeout",
    "continue_as_new": "continue_as_same signals_block_continue_as_new updates_do_not_block_continue_as_new",
    "data_converter": "binary binary_protobuf codec empty failure json json_protobuf",
    "eager_activity": "non_remote_activities_worker",
    "eager_workflow": "successful_start",
    "local_activity": "backoff_with_persistent_timer cancel_abandon cancel_failing cancel_try_cancel "
    "cancel_wait_completed complete_after_shutdown complete_eventually complete_immediately concurrent "
    "non_retryable_error_from_activity non_retryable_error_in_options one_success_one_fail retry_on_error serial "
    "shutdown_sends_cancellation",
    "query": "successful_query timeout_due_to_no_active_workers unexpected_arguments unexpected_query_type_name "
    "unexpected_return_type",
    "reset": "reset_and_delete",
    "schedule": "backfill basic cron duplicate_error pause trigger",
    "search_attributes": "set upsert",
    "signal": "activities basic child_workflow external prevent_close signal_with_start workflow_to_workflow",
    "telemetry": "metrics",
    "timer": "timer",
    "tracing": "tracing",
    "update": "activities async_accepted basic basic_async client_interceptor deduplication non_durable_reject self "
    "task_failure validation_replay worker_restart",
    "build_id_versioning": "activity_and_child_on_correct_version continues_as_new_on_correct_version "
    "only_appropriate_worker_gets_task unversioned_worker_gets_unversioned_task unversioned_worker_no_task "
    "versions_added_while_worker_polling",
    "deployment_versioning": "routing_auto_upgrade routing_pinned routing_with_override routing_with_ramp",
    "worker_shutdown": "poll_complete_on_shutdown",
    "nexus": "sync_success",
    "client": "http_proxy",
    "bugs": "activity_start_race child_workflow_cancel_panic",
}
"""The feature suite."""

BEHAVIOURS: dict[str, str] = {
    "workflow": "workflow_info signal_and_query signal_and_query_handlers signal_and_query_errors "
    "signal_query_bad_param cancel_activity cancel_activity_local cancel_before_run uncaught_cancel "
    "cancel_child_started cancel_child_unstarted cancel_multi cancel_unsent cancel_external activity_timeout "
    "continue_as_new already_started already_started_child deadlock deadlock_eviction deadlock_interruptible "
    "deadlock_uninterruptible deadlock_fill_up_slots patch patch_memoized patch_activation_callback uuid uuid7 "
    "wait_condition_timeout query_does_not_run_condition cancel_signal_and_timer_fired_in_same_task "
    "sleep_task_cancellation cache_eviction_tear_down eviction_swallow queries_doing_bad_things "
    "update_handlers_happy update_handlers_unhappy update_task_fails update_before_worker_start "
    "update_in_first_task_sees_init failure_types_configured unfinished_handlers id_conflict completion_order "
    "retry_delay workflow_init async_loop_ordering lock_semaphore timeout_error priorities root_execution "
    "previous_run_failure random_seed uncancel_shield",
    "worker_activity": "thread_cancel process_cancel heartbeat_details heartbeat_converter_fail heartbeat_timeout "
    "worker_shutdown_graceful executor_crash async_complete async_fail async_cancel contextvars "
    "cancel_after_return reset",
    "replayer": "complete incomplete failed nondeterministic many_fail_fast many_fail_slow ordering swallowed_cancel",
    "update_with_start": "start_and_update existing_workflow conflict_policy not_sent_twice rejected_update "
    "workflow_closed start_fails update_fails handle_reuse",
    "client_api": "schedules id_reuse start_delay result_follow describe terminate cancel signal list_count",
}
"""Tests of the Python SDK, by what they show."""

SUITES: dict[str, dict[str, str]] = {
    "Samples": SAMPLES,
    "Feature suite": FEATURES,
    "Behaviour of the Python SDK": BEHAVIOURS,
}

_NEXUS = "Nexus joins namespaces of a server; call a child workflow, or a client of the other database in an activity"
_LATER_PLUGIN = "a plugin of its own, later; the agent example shows the plain way"

_DATA_SAMPLES = {
    "context_propagation",
    "custom_converter",
    "encryption",
    "pydantic_converter",
    "custom_metric",
    "prometheus",
    "open_telemetry",
}

REASONS: dict[str, tuple[str, str]] = {
    "hello/mtls": (
        "not yet",
        "connections to PostgreSQL take TLS settings from the URL; an example comes later",
    ),
    "patterns/workflow_streams": ("not yet", "comes later"),
    "patterns/gevent_async": ("not yet", "comes later; workers run on asyncio"),
    "patterns/trio_async": ("not yet", "comes later; workers run on asyncio"),
    **{
        f"data/{name}": ("not yet", "comes later")
        for name in SAMPLES["data"].split()
        if name not in _DATA_SAMPLES
    },
    **{f"ai/{name}": ("not yet", _LATER_PLUGIN) for name in SAMPLES["ai"].split()},
    **{f"infra/{name}": ("left out", _NEXUS) for name in SAMPLES["infra"].split() if "nexus" in name},
    "infra/lambda_worker": ("left out", "a worker owns runs and lives longer than a function call"),
    "infra/cloud_export_to_parquet": ("left out", "the history is a table of yours: export it with SQL"),
    "infra/activity_worker": ("left out", "workers of other languages; the tables are no protocol"),
    "data_converter/binary_protobuf": (
        "left out",
        "protobuf is no dependency; a payload converter can add it",
    ),
    "data_converter/json_protobuf": ("left out", "protobuf is no dependency; a payload converter can add it"),
    "nexus/sync_success": ("left out", _NEXUS),
    "client/http_proxy": ("not yet", "there is no server to reach through a proxy"),
    **{
        f"build_id_versioning/{name}": (
            "left out",
            "superseded by deployment versioning, in Temporal as well",
        )
        for name in FEATURES["build_id_versioning"].split()
    },
}
"""Why an entry is shown by no test: (status, reason)."""


DIFFERENCES: tuple[tuple[str, str, str], ...] = (
    (
        "an activity or child that the code cancels: its task, its handle, a timeout around it, the workflow",
        "`ActivityError` or `ChildWorkflowError` with a `CancelledError` as its cause",
        "`asyncio.CancelledError`, as from every await, so that `asyncio.timeout`, task groups and anyio's scopes work. "
        "`is_cancelled_exception(error)` is true of both. With TRY_CANCEL and ABANDON it comes at once",
    ),
    (
        "the same, with WAIT_CANCELLATION_COMPLETED",
        "the activity's outcome; `ActivityError` when it ended as cancelled",
        "the activity's outcome: a result is returned, a failure is an `ActivityError`, and `asyncio.CancelledError` comes "
        "when it ended as cancelled; with which details is in the history",
    ),
    (
        "an activity that ends as cancelled although nobody cancelled it",
        "fails, and is tried again",
        "the same; `report_cancellation()` then raises `ValueError`",
    ),
    (
        "a cancel of the workflow beside a result",
        "depends on the SDK's flags: one of the two is lost",
        "the result reaches the code, the cancel meets the next await",
    ),
    (
        "`wait_condition(fn, timeout=0)` when `fn()` is true",
        "`TimeoutError`",
        "returns: nothing is waited for, and what was asked holds",
    ),
    (
        "a condition that raises",
        "fails the workflow task, whatever it raises",
        "raises where it is awaited, and fails the workflow if it is an error that does",
    ),
    (
        "an update that no worker has seen yet",
        "is in the memory of a server, and may be lost",
        "is stored before the call returns: whatever crashes, the workflow will look at it",
    ),
    (
        "an `ExceptionGroup` of failures that leaves a workflow",
        "blocks the workflow task",
        "fails the workflow if each of its members would",
    ),
    (
        "a task group that cancels its tasks, `asyncio.wait`, `as_completed`",
        "go through sets, in another order at each replay",
        "go in the order in which the tasks were made",
    ),
    (
        "the query `__enhanced_stack_trace`",
        "answers with the stacks, and the source files they go through",
        "is not there; `__stack_trace` has the stacks, with the line of each frame",
    ),
    (
        "arguments of an activity that changed since it was scheduled",
        "are never compared",
        "warn at replay, and are an error for a strict `Replayer`",
    ),
)
"""Where the two differ on purpose: (what, in Temporal, here)."""


def entries() -> Iterator[tuple[str, str]]:
    """Each entry as (suite, name), in order."""
    for suite, groups in SUITES.items():
        for group, names in groups.items():
            for name in names.split():
                yield suite, f"{group}/{name}"
