"""Which fault is shown by what: `python -m tests.chaos.table` writes `docs/operations/faults.md`.

A fault is shown by tests (`path::name`), by a fault of `make chaos` (its name), or by another command; what is not shown, or
not in full, says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.chaos.faults import FAULTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations" / "faults.md"

SWEEP, LIVES, BANK = (f"tests/crash/test_{name}.py" for name in ("sweep", "lives", "bank"))
SERVER, LOCKS, OTHERS = (f"tests/store/test_postgres_{name}.py" for name in ("server", "locks", "others"))
REPLIES, CLOSING = (f"tests/store/test_postgres_{name}.py" for name in ("replies", "closing"))
FILES, HELD_UP = "tests/chaos/test_sqlite_files.py", "tests/scenarios/test_held_up.py"
WATCHDOG, FAULTY = "tests/worker/test_watchdog.py", "tests/scenarios/test_faults.py"


class Shown(NamedTuple):
    """A fault: what it is, what shows what becomes of it, and what of it is not shown, and why."""

    what: str
    by: tuple[str, ...]
    left: str = ""


TABLE: dict[str, Shown] = {
    "F1": Shown(
        "SIGKILL at every write to a socket, on six workflows",
        (f"{SWEEP}::test_killed_at_every_write_to_the_wire", f"{SWEEP}::test_killed_at_some_writes_to_the_wire"),
    ),
    "F2": Shown(
        "SIGKILL before, amid and after every call of a store that writes",
        (
            f"{SWEEP}::test_killed_at_every_write",
            f"{SWEEP}::test_killed_while_taking_over",
            "tests/crash/test_insurance.py::test_killed_at_every_write",
            "tests/crash/test_schedules.py::test_killed_at_every_write_of_a_schedule",
        ),
    ),
    "F3": Shown("SIGKILL at random", ("F3", "F3d", f"{BANK}::test_no_money_is_lost_when_workers_and_sessions_are_killed")),
    "F4": Shown("SIGTERM under load", ("F4", "tests/deployment/test_handover.py::test_sigterm_under_load")),
    "F5": Shown(
        "a worker stands still for longer than its lease, also inside a transaction",
        ("F5", "F5c", f"{BANK}::test_a_worker_that_wakes_up_again_cannot_commit"),
    ),
    "F6": Shown(
        "a run that kills its process", (f"{LIVES}::test_a_run_that_kills_its_worker_is_quarantined_and_no_other",)
    ),
    "F7": Shown(
        "code that holds the event loop",
        (
            f"{WATCHDOG}::test_a_blocked_loop_is_named_with_its_stack",
            f"{WATCHDOG}::test_a_turn_that_never_ends_is_broken",
            f"{LIVES}::test_an_endless_loop_blocks_its_run_and_no_other",
        ),
    ),
    "F8": Shown(
        "a fork of a process that has a client",
        ("tests/store/test_forks.py::test_f8_a_forked_child_is_told_to_connect_again_and_its_parent_goes_on",),
    ),
    "F9": Shown("sessions are ended", ("F9",)),
    "F10": Shown("SIGKILL of a backend", ("F10",)),
    "F11": Shown("SIGKILL of the server", ("F11", f"{BANK}::test_no_money_is_lost_when_the_server_is_killed")),
    "F12": Shown("the server is away, for ten minutes with `--outage 600`", ("F12",)),
    "F13": Shown(
        "commits whose answer is lost",
        ("F13", f"{BANK}::test_a_commit_whose_answer_is_lost_is_made_once_and_fails_nothing",
         f"{REPLIES}::test_a_cancelled_commit_is_read_back_for_good"),
    ),
    "F14": Shown("the network swallows everything, or answers", ("F14", "F14h")),
    "F15": Shown("the network is slow", ("F15",), "single bytes and a narrow line"),
    "F16": Shown(
        "hints are lost, doubled, late",
        (f"{HELD_UP}::test_all_works_without_any_hint", f"{HELD_UP}::test_a_lost_hint_is_repaired_although_others_keep_coming",
         "tests/simulation/test_simulation.py::test_seeds"),
    ),
    "F17": Shown("connections are scarce", ("F17",)),
    "F18": Shown("tiny timeouts of the role", ("F18",)),
    "F19": Shown(
        "deadlocks, conflicts, a role that is SERIALIZABLE or REPEATABLE READ",
        ("F19h", f"{OTHERS}::test_families_that_close_all_at_once_miss_nobody_and_never_deadlock",
         f"{SERVER}::test_a_role_that_defaults_to_another_isolation_is_set_right",
         "tests/crash/test_pairs.py::test_parent_and_child_close_on_each_other"),
    ),
    "F20": Shown(
        "a failover that loses the newest commits",
        ("tests/chaos/test_chaos.py::test_a_database_that_went_back_is_gone_on_with",),
        "by putting back an older state under living workers, and not with a second server",
    ),
    "F21": Shown("the disk is full", ("F21", "tests/store/test_sqlite.py::test_a_full_disk_is_unavailable_and_then_available")),
    "F22": Shown("the disk fails to sync, or is full for the log", ("F22", "F21")),
    "F23": Shown(
        "an old snapshot is kept open",
        ("F23",),
        "what it costs is measured by `python -m benchmarks`, see [performance](../performance.md)",
    ),
    "F24": Shown(
        "tables are locked and rewritten; many migrate at once",
        ("F24", f"{SERVER}::test_tables_are_made_once_by_many"),
    ),
    "F25": Shown(
        "PgBouncer in transaction mode",
        ("make test-pooler", f"{SERVER}::test_a_pooler_is_noticed_by_its_effects",
         f"{SERVER}::test_an_ambiguous_commit_behind_a_pooler"),
        "statement mode, in which no transaction of two statements is possible",
    ),
    "F26": Shown(
        "strangers at the file of SQLite",
        (f"{FILES}::test_f26_a_stranger_who_writes_for_long_is_waited_for_then_told_of",
         f"{FILES}::test_f26_a_reader_for_long_makes_the_log_grow_and_its_end_shrinks_it",
         f"{FILES}::test_f26_a_copy_of_a_database_in_use_is_whole",
         f"{FILES}::test_f26_a_log_that_is_removed_ends_the_writing_and_loses_nothing"),
    ),
    "F27": Shown(
        "SQLite without power",
        (f"{FILES}::test_f27_power_is_lost_between_any_two_frames",),
        "a disk that lies about its syncs, which needs a file system of its own (LazyFS on FUSE)",
    ),
    "F28": Shown("clocks of workers and of the server jump and stand still", ("F28", "F28d")),
    "F29": Shown("all workers are suspended", ("F29",), "for ten minutes"),
    "F30": Shown(
        "workers are cut off from the database", ("F14",), "by a proxy; a group of them behind a link of its own"
    ),
    "F31": Shown(
        "releases of the library and of the code side by side",
        ("tests/deployment/test_rolling.py::test_runs_cross_between_two_releases",
         f"{OTHERS}::test_workers_of_the_release_before_go_on_beside_this_one",
         "tests/simulation/test_simulation.py::test_seeds"),
    ),
    "F32": Shown(
        "code changes under open runs",
        ("tests/lint/test_edits.py::test_an_edit_that_breaks_is_caught_with_its_line",
         f"{FAULTY}::test_every_kind_of_change_is_noticed",
         f"{FAULTY}::test_changed_code_is_told_in_two_columns_and_the_old_code_resumes"),
    ),
    "F33": Shown("no cache, a collector that runs all the time, two hash seeds", ("make test-hostile", "make test-uncached")),
    "F34": Shown(
        "many long runs are replayed at once",
        ("tests/incidents/test_owners.py::test_trigger_dev_1566_restarts_multiply_nothing",),
        "eight workers with 10,000 runs of 200 events",
    ),
    "F35": Shown("50,000 timers are due at once", ("python -m benchmarks scale",)),
    "F36": Shown(
        "clients are killed and ask again",
        (f"{SWEEP}::test_killed_at_every_write_to_the_wire", f"{HELD_UP}::test_a_message_whose_answer_is_lost_is_sent_once"),
    ),
    "F37": Shown("histories that were tampered with", ("tests/chaos/test_tampered.py::test_f37_histories_that_were_tampered_with",)),
    "F38": Shown("a signal meets the end", (f"{CLOSING}::test_two_thousand_races_of_a_sender_and_a_closer_lose_nothing",)),
    "F39": Shown("who has the lower number commits later", ("tests/chaos/test_late.py::test_f39_a_lower_number_that_commits_later_is_found",)),
    "F40": Shown(
        "bloat, large values",
        (f"{SERVER}::test_parked_runs_cost_new_work_nothing", f"{LOCKS}::test_a_step_writes_its_events_and_nothing_else"),
        "ten million cycles of a task, and the age of frozen rows",
    ),
}  # fmt: skip

HEAD = """\
# Which fault is shown by what

Each kind of fault that durable is held against, and what shows what becomes of it: a test, a fault of `make chaos`
(`make chaos ARGS="--only F13 --times 1000"`), or another command. `python -m tests.chaos.table` makes this page, and a test
sees that everything it names is there. What workers and clients do in each case is said in
[trouble with the database](trouble.md).

| | Fault | Shown by | Not shown |
|---|---|---|---|
"""


def _link(one: str) -> str:
    if one in FAULTS:
        return f"chaos {one}: {FAULTS[one].name}"
    return f"`{one}`"


def page() -> str:
    """The page that the table makes."""
    lines = [
        f"| {number} | {one.what} | {'; '.join(map(_link, one.by))} | {one.left} |\n"
        for number, one in TABLE.items()
    ]
    return HEAD + "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
