"""Options that are accepted somewhere, each with a test that fails when it is dropped on its way in; see `dropped`."""

from __future__ import annotations

_S = "tests/scenarios"
_ACTIVITIES = f"{_S}/test_activities.py"
_LOCAL = f"{_S}/test_local_activities.py"
_HELLO = f"{_S}/samples/test_hello.py"
_STARTS = f"{_S}/test_starts.py"
_CHAINS = f"{_S}/test_chains.py"
_CHILDREN = f"{_S}/test_children.py"
_CONTINUE = f"{_S}/test_continue.py"
_UPDATES = f"{_S}/test_updates.py"
_MESSAGES = f"{_S}/test_messages.py"
_LIMITS = f"{_S}/test_limits.py"
_PRIORITIES = f"{_S}/test_priorities.py"
_ONE = "[sqlite-cached]"

DROPS: dict[str, str] = {
    # ---- of a start
    "start: id": f"{_STARTS}::test_one_open_run_of_an_id{_ONE}",
    "start: task_queue": f"{_HELLO}::test_activity{_ONE}",
    "start: execution_timeout": f"{_STARTS}::test_run_timeout[sqlite-cached-execution_timeout]",
    "start: run_timeout": f"{_STARTS}::test_run_timeout[sqlite-cached-run_timeout]",
    "start: task_timeout": f"{_S}/test_faults.py::test_a_task_timeout_ends_a_turn_that_holds_the_thread{_ONE}",
    "start: id_reuse_policy": f"{_STARTS}::test_terminate_existing{_ONE}",
    "start: id_conflict_policy": f"{_STARTS}::test_one_open_run_of_an_id{_ONE}",
    "start: memo": f"{_STARTS}::test_describe_and_memo{_ONE}",
    "start: retry_policy": f"{_CHAINS}::test_a_workflow_is_tried_again_and_knows_why{_ONE}",
    "start: cron_schedule": f"{_CHAINS}::test_a_cron_schedule_runs_at_its_ticks{_ONE}",
    "start: priority": f"{_CHAINS}::test_priorities_are_inherited_along_the_chain[sqlite]",
    "start: concurrency": f"{_LIMITS}::test_at_most_so_many_workflows_of_a_key_run{_ONE}",
    "start: start_delay": f"{_STARTS}::test_start_delay{_ONE}",
    "start: static_summary": f"{_STARTS}::test_describe_and_memo{_ONE}",
    "start: static_details": f"{_STARTS}::test_describe_and_memo{_ONE}",
    "start: start_signal": f"{_S}/test_update_with_start.py::test_signal_with_start[sqlite-cached-before]",
    "start: start_signal_args": f"{_S}/test_update_with_start.py::test_signal_with_start[sqlite-cached-before]",
    "start: request_id": f"{_STARTS}::test_a_start_of_one_request_is_one{_ONE}",
    # ---- of an activity
    "activity: task_queue": f"{_ACTIVITIES}::test_an_activity_on_another_queue_is_run_by_who_serves_it{_ONE}",
    "activity: priority": f"{_PRIORITIES}::test_what_is_inherited{_ONE}",
    "activity: concurrency": f"{_LIMITS}::test_at_most_so_many_of_a_key_run_over_all_workers{_ONE}",
    "activity: circuit_breaker": f"{_LIMITS}::test_failures_open_a_breaker_and_a_success_closes_it{_ONE}",
    "activity: schedule_to_close_timeout": f"{_HELLO}::test_activity_async{_ONE}",
    "activity: schedule_to_start_timeout": f"{_ACTIVITIES}::"
    f"test_schedule_to_start_passes_when_nobody_serves_the_queue{_ONE}",
    "activity: start_to_close_timeout": f"{_HELLO}::test_activity{_ONE}",
    "activity: heartbeat_timeout": f"{_ACTIVITIES}::"
    "test_a_silent_attempt_is_ended_by_its_heartbeat_timeout[sqlite-cached-default]",
    "activity: retry_policy": f"{_HELLO}::test_exception{_ONE}",
    "activity: cancellation_type": f"{_S}/test_cancel_activities.py::test_thread_cancel{_ONE}",
    "activity: activity_id": "tests/workflow/test_operations.py::test_every_way_to_write_an_activity",
    "activity: summary": "tests/workflow/test_operations.py::test_every_way_to_write_an_activity",
    "activity: eager": f"{_S}/test_cancel.py::test_a_queued_activity_that_was_cancelled_never_runs{_ONE}",
    "activity: local_retry_threshold": f"{_LOCAL}::test_a_threshold_of_zero_waits_in_no_memory{_ONE}",
    "worker: max_concurrent_local_activities": f"{_LOCAL}::test_cancelled_while_it_waits_for_a_slot{_ONE}",
    "activity.defn: name": f"{_HELLO}::test_activity{_ONE}",
    "activity.defn: no_thread_cancel_exception": f"{_S}/test_cancel_activities.py::"
    f"test_no_thread_cancel_exception{_ONE}",
    # ---- of a retry policy, and of failures that answer it
    "retry policy: initial_interval": f"{_HELLO}::test_activity_retry{_ONE}",
    "retry policy: backoff_coefficient": f"{_HELLO}::test_activity_retry{_ONE}",
    "retry policy: maximum_interval": f"{_HELLO}::test_activity_retry{_ONE}",
    "retry policy: maximum_attempts": f"{_ACTIVITIES}::"
    f"test_start_to_close_of_the_last_attempt_is_recorded{_ONE}",
    "retry policy: non_retryable_error_types": f"{_ACTIVITIES}::"
    "test_error_types_that_a_policy_excludes[sqlite-cached-class]",
    "application error: type": f"{_ACTIVITIES}::test_maximum_attempts{_ONE}",
    "application error: non_retryable": f"{_ACTIVITIES}::test_what_is_not_retryable_is_not_retried{_ONE}",
    "application error: next_retry_delay": f"{_ACTIVITIES}::test_a_failure_may_ask_for_its_own_delay{_ONE}",
    # ---- of a workflow, and of a child
    "workflow: task_queue": "tests/workflow/test_definitions.py::test_a_worker_serves_its_queue",
    "workflow: execution_timeout": "tests/workflow/test_children.py::test_options_go_on_top_of_options",
    "workflow: run_timeout": f"{_CHILDREN}::test_a_child_that_outlives_its_timeout{_ONE}",
    "workflow: id": f"{_CHILDREN}::test_an_id_that_is_taken{_ONE}",
    "workflow: cancellation_type": f"{_S}/test_children_cancelled.py::test_abandoned{_ONE}",
    "workflow: parent_close_policy": f"{_CHILDREN}::"
    "test_children_outlive_a_parent_that_abandons_them[sqlite-complete]",
    "workflow: id_reuse_policy": f"{_CHILDREN}::test_options_reach_the_child{_ONE}",
    "workflow: retry_policy": f"{_CHILDREN}::test_options_reach_the_child{_ONE}",
    "workflow: memo": f"{_CHILDREN}::test_options_reach_the_child{_ONE}",
    "workflow: static_summary": f"{_CHILDREN}::test_options_reach_the_child{_ONE}",
    "workflow: static_details": f"{_CHILDREN}::test_options_reach_the_child{_ONE}",
    "workflow: priority": f"{_PRIORITIES}::test_what_is_inherited{_ONE}",
    "workflow: concurrency": f"{_LIMITS}::test_children_have_keys{_ONE}",
    "workflow: cron_schedule": f"{_CHAINS}::test_a_child_with_a_cron_schedule_waits_for_its_tick[sqlite]",
    "workflow.defn: name": f"{_HELLO}::test_activity{_ONE}",
    "workflow.defn: failure_exception_types": f"{_S}/test_faults.py::test_types_that_fail_a_workflow_by_choice{_ONE}",
    "workflow.signal: name": f"{_MESSAGES}::test_class_style_queries{_ONE}",
    "workflow.signal: unfinished_policy": f"{_UPDATES}::test_unfinished_handlers[sqlite-cached-HandlerUnfinishedPolicy.ABANDON]",
    "workflow.query: name": f"{_MESSAGES}::test_class_style_queries{_ONE}",
    "workflow.update: name": f"{_UPDATES}::test_task_failure_blocks_and_a_failure_fails_the_update{_ONE}",
    "workflow.update: unfinished_policy": f"{_UPDATES}::test_unfinished_handlers[sqlite-cached-HandlerUnfinishedPolicy.ABANDON]",
    "workflow.update: dynamic": f"{_UPDATES}::test_dynamic_handlers_and_their_validator{_ONE}",
    # ---- of the run that follows
    "continue_as_new: args": f"{_S}/samples/test_patterns.py::test_resource_pool{_ONE}",
    "continue_as_new: workflow": f"{_CONTINUE}::test_it_may_go_on_as_another_workflow_and_fail_there{_ONE}",
    "continue_as_new: task_queue": "tests/replay/test_instance_continue.py::test_everything_that_can_be_said",
    "continue_as_new: run_timeout": "tests/replay/test_instance_continue.py::test_everything_that_can_be_said",
    "continue_as_new: task_timeout": "tests/replay/test_instance_continue.py::test_everything_that_can_be_said",
    "continue_as_new: backoff_start_interval": f"{_CONTINUE}::test_the_next_run_may_wait{_ONE}",
    "continue_as_new: retry_policy": "tests/replay/test_instance_continue.py::test_everything_that_can_be_said",
    "continue_as_new: memo": "tests/replay/test_instance_continue.py::test_everything_that_can_be_said",
    "continue_as_new: search_attributes": "tests/replay/test_instance_continue.py::"
    "test_everything_that_can_be_said",
    # ---- of waiting, inside
    "sleep: summary": f"{_S}/test_timers.py::test_a_timer_below_a_millisecond_is_one{_ONE}",
    "wait_condition: timeout": f"{_S}/test_timers.py::test_a_condition_beside_its_timeout[sqlite-cached-timeout]",
    "wait_condition: timeout_summary": f"{_S}/test_timers.py::"
    f"test_an_updatable_timer_wakes_at_the_time_it_was_moved_to{_ONE}",
    "receive: timeout": f"{_MESSAGES}::test_receive_with_timeout{_ONE}",
    "wait: return_when": "tests/workflow/test_waiting.py::test_wait_returns_lists_in_the_order_given",
    "wait: timeout": "tests/workflow/test_waiting.py::test_wait_returns_lists_in_the_order_given",
    "as_completed: timeout": "tests/workflow/test_waiting.py::test_as_completed_times_out",
    "map: concurrency": "tests/workflow/test_waiting.py::test_map_runs_so_many_at_a_time",
    "map: return_exceptions": "tests/workflow/test_waiting.py::test_map_can_return_failures",
    "memo_value: default": "tests/replay/test_helpers.py::test_facts",
    "memo_value: type_hint": "tests/replay/test_helpers.py::test_facts",
    "external handle: run_id": "tests/workflow/test_children.py::"
    "test_external_handles_refuse_what_cannot_be_an_id",
    # ---- of a handle
    "result: follow_runs": f"{_CONTINUE}::test_who_does_not_follow_is_told_where_it_goes_on{_ONE}",
    "result: timeout": f"{_STARTS}::test_waiting_for_a_result_may_time_out_and_goes_on{_ONE}",
    "cancel: reason": f"{_S}/test_cancel_activities.py::test_the_reason_is_recorded{_ONE}",
    "terminate: reason": f"{_STARTS}::test_terminate{_ONE}",
    "signal: request_id": f"{_MESSAGES}::test_a_signal_of_one_request_is_taken_once{_ONE}",
    "cancel: request_id": f"{_MESSAGES}::test_a_cancel_of_one_request_is_taken_once{_ONE}",
    "signal: args": f"{_S}/samples/test_patterns.py::test_batch_sliding_window{_ONE}",
    "query: args": f"{_MESSAGES}::test_class_style_queries{_ONE}",
    "query: reject_condition": f"{_S}/test_queries.py::test_reject_conditions[sqlite-completes]",
    "query: result_type": f"{_S}/test_queries.py::test_an_answer_of_another_type_than_was_asked_for{_ONE}",
    "query: rpc_timeout": f"{_S}/test_queries.py::test_timeout_due_to_no_active_workers{_ONE}",
    "execute_update: args": f"{_UPDATES}::test_basic{_ONE}",
    "execute_update: id": f"{_UPDATES}::test_deduplication{_ONE}",
    "execute_update: rpc_timeout": f"{_UPDATES}::test_unknown_updates_and_bad_arguments_are_refused{_ONE}",
    "start_update: id": f"{_UPDATES}::test_async_accepted{_ONE}",
    "update result: rpc_timeout": f"{_UPDATES}::test_async_accepted{_ONE}",
    # ---- of a worker, and of a client
    "worker: task_queue": f"{_HELLO}::test_activity{_ONE}",
    "worker: workflows": f"{_S}/test_tuning.py::test_a_worker_leaves_alone_what_it_does_not_list{_ONE}",
    "worker: activities": f"{_S}/test_faults.py::test_an_unregistered_activity_stays_pending_with_a_reason{_ONE}",
    "worker: max_task_queue_activities_per_second": f"{_LIMITS}::test_the_last_worker_that_says_a_rate_decides[sqlite]",
    "worker: max_concurrent_activities": f"{_ACTIVITIES}::test_more_activities_than_slots{_ONE}",
    "worker: graceful_shutdown_timeout": f"{_S}/test_behaviours.py::test_worker_shutdown_graceful[sqlite-async]",
    "worker: lease_duration": f"{_S}/test_bad_input.py::test_workers_that_contradict_themselves[sqlite]",
    "worker: deadlock_timeout": f"{_S}/test_behaviours.py::test_a_run_whose_turn_was_ended_is_taken_down_and_goes_on_with_mended_code[sqlite]",
    "connect: data_converter": f"{_S}/test_codec.py::"
    f"test_everything_comes_back_and_nothing_is_readable_in_the_database{_ONE}",
    "connect: migrate": f"{_S}/test_bad_input.py::"
    "test_a_database_without_tables_and_without_leave_to_make_them[sqlite]",
    "connect: default_workflow_query_reject_condition": f"{_S}/test_queries.py::"
    "test_a_client_may_reject_by_default[sqlite]",
    "activity.defn: dynamic": f"{_S}/test_dynamic_activities.py::test_every_type_that_has_no_definition"
    "[sqlite-cached-eager]",
    "workflow.defn: dynamic": f"{_S}/test_dynamic_workflows.py::test_a_function_that_runs_all{_ONE}",
}
