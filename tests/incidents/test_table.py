"""Which incident of which system is shown not to happen here, and by which test."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
OWNERS, WAITS, CONTENTS = (f"tests/incidents/test_{name}.py" for name in ("owners", "waits", "contents"))
WORKERS, WATCHDOG = "durable/testing/conformance/_workers.py", "tests/worker/test_watchdog.py"

INCIDENTS: dict[str, list[str]] = {
    "dbos-py#716: a restart of the database during recovery strands runs": [
        f"{OWNERS}::test_dbos_py_716_the_database_goes_away_during_recovery",
        "tests/crash/test_lives.py::test_everything_completes_although_the_server_is_killed",
    ],
    "dbos-py#742, dbos-java#491: recovery runs work it did not claim, or that runs already": [
        f"{OWNERS}::test_dbos_py_742_two_recover_the_same_runs",
        "tests/scenarios/test_held_up.py::test_a_stale_look_does_not_execute_again",
    ],
    "dbos-py#804: a draining process claims again under its old name": [
        f"{OWNERS}::test_dbos_py_804_a_draining_process_of_the_same_name_claims_nothing",
    ],
    "dbos-ts#1205: of two processes one delivers and one times out the same wait": [
        f"{WAITS}::test_dbos_ts_1205_signal_and_timeout_race_for_one_wait",
        f"{WAITS}::test_dbos_ts_1205_both_have_come_when_a_worker_looks",
    ],
    "dbos-py#76, absurd#61, inngest#1433: a wake-up between a check and its wait is lost": [
        f"{WAITS}::test_absurd_61_to_wait_to_tell_and_to_look_in_every_order",
        "tests/scenarios/test_held_up.py::test_all_works_without_any_hint",
    ],
    "dbos-py#619: threads and events are kept for ever by what timed out": [
        f"{WAITS}::test_dbos_py_619_what_timed_out_leaves_nothing_in_memory",
    ],
    "dbos-py#710, sdk-python#494: a task is collected, a `finally` runs in a wrong context": [
        f"{WAITS}::test_dbos_py_710_evictions_run_no_finally",
        "tests/replay/test_loop_teardown.py::test_a_hostile_run_ends_at_once_in_its_own_context_and_never_again",
    ],
    "sdk-python#784, #806: code that blocks or swallows its eviction keeps slots for ever": [
        f"{WAITS}::test_sdk_python_784_code_that_swallows_everything_keeps_no_slot",
        f"{WATCHDOG}::test_a_turn_that_swallows_the_exception_once_counts_as_broken",
        f"{WATCHDOG}::test_a_turn_that_resists_costs_the_process",
        "tests/crash/test_lives.py::test_an_endless_loop_blocks_its_run_and_no_other",
    ],
    "sdk-python#1573: local activities complete in another order in a replay": [
        f"{WAITS}::test_sdk_python_1573_twenty_local_activities_end_in_any_order",
    ],
    "hatchet#4128: a parked task is timed out and duplicated": [
        f"{WAITS}::test_hatchet_4128_a_parked_run_is_timed_out_by_nothing",
    ],
    "hatchet#4043, hatchet#1022, inngest#4897: recorded children are dispatched again": [
        f"{CONTENTS}::test_hatchet_4043_a_reset_starts_no_recorded_child_again",
        "tests/scenarios/test_reset.py::test_children_of_the_prefix_reconnect",
    ],
    "hatchet#4611, kestra#14806: a NUL or surrogate in an error message wedges the failure path": [
        f"{CONTENTS}::test_hatchet_4611_text_that_no_database_takes_wedges_nothing",
        "tests/inputs/test_bad_inputs.py::test_b9_whatever_an_activity_raises_is_recorded",
    ],
    "CVE-2024-2689: text that is no UTF-8 crashes a server in a loop": [
        f"{CONTENTS}::test_cve_2024_2689_bytes_that_are_no_text_hold_one_run",
    ],
    "restate#5196: a run is suspended on a completion that only it can produce": [
        "tests/testing/test_invariants.py::test_what_is_planted_is_found",  # I12, which every scenario is held to
    ],
    "procrastinate#1518: a worker's row goes before its jobs; an error in completing leaves one at work": [
        f"{OWNERS}::test_procrastinate_1518_an_error_while_completing_leaves_nothing_half_done",
        f"{WORKERS}::check_take_over_frees_at_most_its_limit",
        f"{WORKERS}::check_a_dead_worker_that_nothing_names_is_removed",
    ],
    "prefect#17767, #19027, #19090: changes of state queue up at one row": [
        f"{OWNERS}::test_prefect_17767_many_children_do_not_queue_up_at_their_parent",
        "tests/store/test_postgres_closing.py::test_parent_and_child_closing_together_never_deadlock",
    ],
    "trigger.dev#1566: each restart duplicates a queued task": [
        f"{OWNERS}::test_trigger_dev_1566_restarts_multiply_nothing",
    ],
    "river#1318, #1324, #1331: what is stuck is rescued too early, never, or not behind the first page": [
        f"{OWNERS}::test_river_1318_what_may_take_long_hides_nothing_that_is_stuck",
    ],
    "croniter#90, #137, #191, dagster#13272: the next instant goes back, or is searched for ever": [
        f"{CONTENTS}::test_croniter_137_five_years_in_a_zone",
        "tests/engine/schedules/test_times.py::test_a_spec_that_never_fires_again_is_found_out",
        "tests/engine/schedules/test_times_random.py::test_a_timetable_means_what_looking_at_each_instant_finds",
    ],
}


def test_every_incident_has_a_test_that_is_there() -> None:
    assert len(INCIDENTS) == 19
    named = [one for tests in INCIDENTS.values() for one in tests]
    for one in named:
        path, _, test = one.partition("::")
        assert f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), one
    for module in (OWNERS, WAITS, CONTENTS):
        source = (ROOT / module).read_text(encoding="utf-8")
        there = [line.split("def ")[1].split("(")[0] for line in source.splitlines() if "def test_" in line]
        assert {f"{module}::{test}" for test in there} <= set(named)
