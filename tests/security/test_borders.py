"""S4, S11, S23, S24, S26: parsers that stay linear, namespaces that do not leak, the operators' log, files, and the threat model."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, workflow
from durable._timetables.ticks import check_cron
from durable.client import Schedule, ScheduleActionStartWorkflow, ScheduleSpec, WorkflowUpdateStage
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.exceptions import DurableError, FilterError, StoreConfigurationError
from durable.store._filter import parse
from tests.scenarios.rig import until
from tests.scenarios.test_encryption import dump

ROOT = Path(__file__).parents[2]


def steps(call: Callable[[], Any]) -> int:
    """How many lines of Python a call runs: the same on every machine, however busy."""
    count = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except (ValueError, TypeError, DurableError):
        pass
    finally:
        sys.settrace(before)
    return count


HOSTILE: dict[str, Callable[[int], Callable[[], Any]]] = {
    "brackets": lambda size: lambda: parse("(" * size),
    "ands": lambda size: lambda: parse("WorkflowId = 'a' AND " * (size // 21)),
    "nots": lambda size: lambda: parse("NOT " * (size // 4) + "WorkflowId = 'a'"),
    "quotes": lambda size: lambda: parse("WorkflowId = '" + "''" * (size // 2)),
    "blanks": lambda size: lambda: parse("WorkflowId" + " " * size + "="),
    "list": lambda size: lambda: parse("WorkflowId IN (" + "'a'," * (size // 4) + "'b')"),
    "digits": lambda size: lambda: parse("StartTime > " + "9" * size),
    "cron": lambda size: lambda: check_cron("*," * (size // 2) + " * * * *"),
    "cron ranges": lambda size: lambda: check_cron("1-2," * (size // 4) + "1 * * * *"),
    "cron zones": lambda size: lambda: check_cron("TZ=" + "a/" * (size // 2) + " * * * * *"),
    "every": lambda size: lambda: check_cron("@every " + "1h" * (size // 2)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_s4_a_megabyte_of_anything_takes_no_more_than_its_share(what: str) -> None:
    small, large = steps(HOSTILE[what](10_000)), steps(HOSTILE[what](1_000_000))
    assert large <= 120 * small + 1000, f"{small} lines for 10 kB, {large} for 1 MB"
    assert large < 50_000, "what is so long is refused before it is looked at"


@workflow.defn(name="security.waits")
async def waits() -> None:
    await workflow.wait_condition(lambda: False)


async def test_s11_what_is_in_another_namespace_is_not_there(postgres_url: str) -> None:
    """Each operation by the id, the run id and the token of what is in another namespace: as if it were nowhere."""
    async with (
        Client.connect(postgres_url, namespace="theirs") as theirs,
        Client.connect(postgres_url, namespace="ours") as ours,
    ):
        it = await theirs.start_workflow(waits(), id="it")
        await theirs.create_schedule(
            "it", Schedule(action=ScheduleActionStartWorkflow("security.waits", id="x"), spec=ScheduleSpec())
        )
        await theirs.start_activity("act", id="it", task_queue="q", start_to_close_timeout=5)
        await it.signal("told")
        before = [
            await theirs.store.find_run("it"),
            len(await theirs.store.read_messages([it.result_run_id or ""])),
        ]

        def asked(client: Client, name: str, run_id: str | None) -> dict[str, Callable[[], Any]]:
            handle = client.get_workflow_handle(name, run_id=run_id)
            schedule = client.get_schedule_handle(name)
            act = client.get_activity_handle(name)
            async_act = client.get_async_activity_handle(workflow_id=name, run_id=run_id, activity_id="1")
            return {
                "describe": handle.describe,
                "result": lambda: handle.result(timeout=60),
                "signal": lambda: handle.signal("told"),
                "query": lambda: handle.query("asked", rpc_timeout=60),
                "update": lambda: handle.start_update("asked", wait_for_stage=WorkflowUpdateStage.ADMITTED),
                "cancel": handle.cancel,
                "terminate": handle.terminate,
                "pause": handle.pause,
                "unpause": handle.unpause,
                "unblock": handle.unblock,
                "reset": lambda: handle.reset(to="first_task"),
                "delete": handle.delete,
                "history": handle.fetch_history,
                "update options": lambda: handle.update_options(versioning_override=None),
                "pause activity": lambda: handle.pause_activity(id="1"),
                "async activity": async_act.complete,
                "schedule": schedule.describe,
                "schedule pause": schedule.pause,
                "schedule trigger": schedule.trigger,
                "schedule delete": schedule.delete,
                "activity": act.describe,
                "activity cancel": act.cancel,
                "activity terminate": act.terminate,
                "activity pause": act.pause,
            }

        for run_id, nobodys in ((None, None), (it.result_run_id, "00000000-0000-7000-8000-000000000000")):
            foreign, absent = asked(ours, "it", run_id), asked(ours, "nobody", nobodys)
            for name, call in foreign.items():
                with pytest.raises(DurableError) as theirs_said:
                    await call()
                with pytest.raises(DurableError) as nowhere_said:
                    await absent[name]()
                assert type(theirs_said.value) is type(nowhere_said.value), name
                text = str(theirs_said.value).replace("'it'", "'nobody'").replace(str(run_id), str(nobodys))
                assert text == str(nowhere_said.value), name
        assert [one async for one in ours.list_workflows()] == []
        assert [one async for one in ours.operator_log()] == []
        assert (await ours.terminate_workflows("WorkflowId != ''")).total == 0
        with pytest.raises(DurableError):
            await ours.correlated(SearchAttributeKey.for_keyword("Key"), "v").cancel()
        assert before == [
            await theirs.store.find_run("it"),
            len(await theirs.store.read_messages([it.result_run_id or ""])),
        ]


@workflow.defn(name="security.raises")
async def raises() -> None:
    raise ValueError("a bug")


async def test_s23_what_operators_do_is_logged_with_who_and_why(store_url: str) -> None:
    async with Client.connect(store_url, identity="ada@desk") as client:
        async with Worker(client, workflows=[raises], activities=[]):
            handle = await client.start_workflow(raises(), id="it")

            async def blocked() -> bool:
                return (await handle.describe()).hold == "blocked"

            await until("it is blocked", blocked)
        await handle.unpause("it is not paused, so nothing is done")
        await handle.unblock("mended")
        await handle.pause("to look")
        await handle.unpause("seen")
        await handle.terminate(reason="enough")
        await handle.delete("gone")
        found = [one async for one in client.operator_log("it")]
        assert [(one.operation, one.reason) for one in reversed(found)] == [
            ("unblock", "mended"),
            ("pause", "to look"),
            ("unpause", "seen"),
            ("terminate", "enough"),
            ("delete", "gone"),
        ]
        assert {one.identity for one in found} == {"ada@desk"}


async def test_s24_a_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with Client.connect(f"sqlite:///{tmp_path}/app.db") as client:
            await client.start_workflow(waits(), id="it")
            modes = {name: stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in os.listdir(tmp_path)}
    finally:
        os.umask(before)
    assert len(modes) >= 3  # with its log and its locks
    assert not {name: oct(mode) for name, mode in modes.items() if mode & 0o077}


async def test_s24_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real.db").touch()
    (tmp_path / "app.db").symlink_to(tmp_path / "real.db")
    with pytest.raises(StoreConfigurationError, match="symbolic link"):
        await Client.connect(f"sqlite:///{tmp_path}/app.db")


def test_s26_the_threat_model_names_tests_there_are() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text)
    assert len(named) > 30
    for path, test in named:
        source = (ROOT / path).read_text(encoding="utf-8")
        assert not test or f"def {test}" in source, f"{path}::{test}"


def test_s26_the_threat_model_leaves_nothing_out() -> None:
    """Each point of the security list and each kind of bad input has a row with a test, or says why not."""
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([SB]\d+) \|(.*)$", text, re.MULTILINE))
    of_the_web = {"S13", "S14", "S15", "S16", "S19"}
    wanted = {f"S{n}" for n in range(1, 27)} - of_the_web | {f"B{n}" for n in range(1, 24)}
    assert rows.keys() == wanted
    assert not [name for name, row in rows.items() if "`tests/" not in row]


CANARY = "canary-9d02"


async def test_s21_of_a_deleted_workflow_nothing_is_left(store_url: str) -> None:
    """No payload, name or attribute in any row; in SQLite's file neither, once it was vacuumed."""
    key = SearchAttributeKey.for_keyword("Key")
    async with Client.connect(store_url) as client:
        attributes = TypedSearchAttributes([SearchAttributePair(key, CANARY)])
        handle = await client.start_workflow(
            waits(), id=f"id {CANARY}", memo={"m": CANARY}, search_attributes=attributes
        )
        await handle.signal(f"told {CANARY}", CANARY)
        await handle.start_update("asked", CANARY, wait_for_stage=WorkflowUpdateStage.ADMITTED)
        assert CANARY.encode() in await dump(store_url)
        await handle.terminate(CANARY)
        await handle.delete()
        left = await dump(store_url)
        # Operators did something to that id, which stays written down for as long as their log is kept.
        log = [one async for one in client.operator_log()]
        assert {one.workflow_id for one in log} == {handle.id}
        assert left.count(CANARY.encode()) == len(log)
    if store_url.startswith("sqlite"):
        assert CANARY.encode() not in vacuumed(store_url.removeprefix("sqlite:///"))


def vacuumed(path: str) -> bytes:
    db = sqlite3.connect(path, isolation_level=None)
    for statement in ("delete from operator_log", "vacuum", "pragma wal_checkpoint(truncate)"):
        db.execute(statement)
    db.close()
    return Path(path).read_bytes()


def test_s4_a_filter_is_refused_by_its_length() -> None:
    with pytest.raises(FilterError):
        parse("WorkflowId = '" + "x" * 1_000_000 + "'")
