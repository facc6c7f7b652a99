"""What runs contain: text that databases refuse, bytes that are none of ours, children that must not come twice, instants."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from durable import ApplicationError, RetryPolicy, Signal, WorkflowFailureError, activity, workflow
from durable._timetables._times import Timetable
from durable._timetables.records import SpecRecord
from durable.exceptions import ConversionError
from tests.incidents import FACTOR
from tests.scenarios.rig import PATIENCE, Env, events, held, until

say: Signal[str] = Signal("inc.say", str)
ONCE = RetryPolicy(maximum_attempts=1)
NUL, SURROGATE = "a\x00b", "a\ud800b"


@workflow.defn(name="inc.good")
async def good(number: int) -> int:
    await workflow.sleep(0.001)
    return number


class Lines(logging.Handler):
    """What is logged, kept from pytest, whose processes cannot tell each other of text that is no Unicode."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


@pytest.mark.parametrize("text", [NUL, SURROGATE], ids=["nul", "surrogate"])
async def test_hatchet_4611_text_that_no_database_takes_wedges_nothing(
    plain: Env, text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a message of a failure, a heartbeat, a line of a log, a memo, a name: recorded or refused, and work goes on."""
    caplog.set_level(logging.INFO)
    lines, logger = Lines(), logging.getLogger("durable")
    monkeypatch.setattr(logger, "handlers", [lines])
    monkeypatch.setattr(logger, "propagate", False)  # here, since pytest follows a logger that did not before
    seen: list[Any] = []

    @activity.defn(name="inc.beats", retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=0.01))
    async def beats() -> None:
        if activity.info().attempt == 2:
            seen.extend(activity.info().heartbeat_details)
            activity.logger.info("again: %s", text)
            raise ApplicationError(text, type="told", non_retryable=True)
        activity.heartbeat(text)
        raise ValueError(text)

    @workflow.defn(name="inc.fails")
    async def fails() -> None:
        workflow.logger.info("it says %s", text)
        try:
            await workflow.execute_activity(beats, task_queue="side", heartbeat_timeout=30)
        except Exception as error:
            raise ApplicationError(f"{error.__cause__}", type="told") from error

    @workflow.defn(name="inc.returns")
    async def returns() -> str:
        return text

    is_text = text == NUL
    workers = (
        plain.worker(fails, returns, good, lease_duration=60),
        plain.worker(
            beats, task_queue="side", lease_duration=60
        ),  # two attempts are one that failed and the last
    )
    async with workers[0], workers[1]:
        handle = await plain.start(fails())
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result(timeout=PATIENCE)
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == "told"
        str(failed.value.cause).encode()
        assert await events(handle) == ["Started", "ActivityScheduled", "ActivityFailed", "Failed"]
        returning = await plain.start(returns())
        if is_text:
            assert seen == [text]
            assert await returning.result(timeout=PATIENCE) == text
            with_memo = await plain.start(good(1), memo={"m": text})
            assert await (await with_memo.describe()).memo_value("m") == text
            assert await with_memo.result(timeout=PATIENCE) == 1
        else:
            assert "surrogate" in (await held(returning)).lower()
            await returning.terminate(reason=text.encode("utf-8", "replace").decode())
            with pytest.raises(ConversionError):
                await plain.client.start_workflow(good(1), memo={"m": text})
        for refused in (
            returning.signal(text, "word"),
            plain.client.start_workflow(good(1), id=text),
            plain.client.start_workflow(good(1), task_queue=text),
        ):
            with pytest.raises(ValueError, match=r"must not contain|surrogate|UTF-8"):
                await refused
        handles = [await plain.start(good(number)) for number in range(5)]
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
        assert results == list(range(5))
        assert all(worker.is_running for worker in workers)
    assert any("it says" in line for line in lines.told)


@workflow.defn(name="inc.told")
async def hears() -> str:
    return await say.receive()


async def _overwrite(url: str, run_id: str, data: bytes) -> None:
    """Write these bytes over the run's first event, past everything that checks."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            file.execute("PRAGMA busy_timeout = 10000")
            changed = file.execute(
                "UPDATE events SET data = ? WHERE run_id = ? AND seq = 1", (data, run_id)
            ).rowcount
        file.close()
    else:
        connection = await asyncpg.connect(url)
        schema = await connection.fetchval("SELECT schemaname FROM pg_tables WHERE tablename = 'events'")
        done = await connection.execute(
            f'UPDATE "{schema}".events SET data = $1 WHERE run_id = $2 AND seq = 1', data, run_id
        )
        changed = int(done.split()[-1])
        await connection.close()
    assert changed == 1


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b'{"workflow_type":"\xff\xfe"}', "mended"),
        (b"\xff\x00\xfe", "terminated"),
        (b"", "mended"),
    ],
    ids=["in a text", "no text", "nothing"],
)
async def test_cve_2024_2689_bytes_that_are_no_text_hold_one_run(
    plain: Env, store_url: str, data: bytes, end: str
) -> None:
    """The run is held with the reason, is no loop and no crash; it can be mended or ended, and everything else goes on."""
    broken = await plain.start(hears(), id="broken")
    assert broken.result_run_id is not None
    (before,) = await plain.client.store.read_events(broken.result_run_id)
    await _overwrite(store_url, broken.result_run_id, data)
    claims: list[str] = []

    async def claim_runs(real: Any, *args: Any, **kwargs: Any) -> Any:
        claimed = await real(*args, **kwargs)
        claims.extend(one.run.workflow_id for one in claimed)
        return claimed

    plain.store.hooks["claim_runs"] = claim_runs
    async with plain.worker(hears, good) as worker:
        first = worker.worker_id
        record = await until("it is held", lambda: _held(plain, "broken"))
        assert record.reason
        handles = [await plain.start(good(number)) for number in range(5)]
        results = await asyncio.gather(*[handle.result(timeout=PATIENCE) for handle in handles])
        assert results == list(range(5))
        assert worker.worker_id == first, "it is the same incarnation"
        assert claims.count("broken") < 5, claims
        await broken.signal(say("word"))
        if end == "terminated":
            await broken.terminate(reason="beyond repair")
            await until("it is closed", lambda: _closed(plain, "broken"))
        await _overwrite(store_url, broken.result_run_id, before.data)
        if end == "mended":
            assert await broken.result(timeout=PATIENCE) == "word"
    assert (await events(broken))[-1] == ("Completed" if end == "mended" else "Terminated")


async def _held(env: Env, workflow_id: str) -> Any:
    record = await env.client.store.find_run(workflow_id)
    return record if record is not None and record.hold != 0 else None


async def _closed(env: Env, workflow_id: str) -> bool:
    record = await env.client.store.find_run(workflow_id)
    return record is not None and record.status != 1


async def test_hatchet_4043_a_reset_starts_no_recorded_child_again(plain: Env) -> None:
    """The new run reads the children from its history: none is started and nothing in one runs twice."""
    ran: Counter[str] = Counter()

    @workflow.defn(name="inc.kid")
    async def kid(number: int) -> int:
        await note(f"kid {number}")
        return number

    @activity.defn(name="inc.note")
    async def note(text: str) -> None:
        ran[text] += 1

    @workflow.defn(name="inc.parent_of_five")
    async def parent_of_five() -> list[int]:
        found = await asyncio.gather(*(kid(number) for number in range(5)))
        await note("behind")
        return found

    async with plain.worker(parent_of_five, kid, note):
        old = await plain.start(parent_of_five())
        assert await old.result(timeout=PATIENCE) == list(range(5))
        seen = {run.run_id async for run in plain.client.list_workflows("WorkflowType = 'inc.kid'")}
        assert len(seen) == 5
        history = (await old.fetch_history()).events
        ends = [one.seq for one in history if type(one.data).__name__ == "ChildWorkflowExecutionCompleted"]
        for resets in (1, 2):
            new = await old.reset(event_id=ends[-1])
            assert await new.result(timeout=PATIENCE) == list(range(5))
            assert ran["behind"] == 1 + resets
            again = {run.run_id async for run in plain.client.list_workflows("WorkflowType = 'inc.kid'")}
            assert again == seen
    assert {text: count for text, count in ran.items() if text != "behind"} == {
        f"kid {number}": 1 for number in range(5)
    }


ZONES = [
    "UTC",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "Europe/Berlin",
    "Europe/Dublin",
    "Africa/Casablanca",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
]


def _meant(zone: ZoneInfo, day: date, hour: int, minute: int) -> datetime:
    """The first time that the clock shows this, or, where it jumps over it, the first instant behind the jump."""
    naive = datetime(day.year, day.month, day.day, hour, minute)  # noqa: DTZ001
    found = naive.replace(tzinfo=zone).astimezone(timezone.utc)  # noqa: UP017
    shown = found.astimezone(zone).replace(tzinfo=None)
    while shown > naive:  # it does not come: back to where the clock was set forward
        before = (found - timedelta(minutes=1)).astimezone(zone).replace(tzinfo=None)
        if before < naive:
            break
        found, shown = found - timedelta(minutes=1), before
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_croniter_137_five_years_in_a_zone(zone: str) -> None:
    """Over the years in which Samoa left out a day: strictly increasing, with an end, and what a look at each day finds."""
    first, last = date(2009, 1, 1), date(2013 + 5 * (FACTOR - 1), 12, 31)
    where = ZoneInfo(zone)
    for hour, minute in ((0, 0), (2, 30)):
        text = f"{minute} {hour} * * *"
        days = (first + timedelta(days=number) for number in range((last - first).days + 1))
        wanted = sorted({_meant(where, day, hour, minute) for day in days})
        times = Timetable(SpecRecord(cron=(text,), zone=zone))
        at = int((wanted[0] - timedelta(seconds=1)).timestamp()) * 1_000_000
        got: list[datetime] = []
        while len(got) < len(wanted):
            found = times.next(at)
            assert found is not None
            assert found > at
            got.append(datetime.fromtimestamp(found // 1_000_000, UTC))
            at = found
        assert got == wanted, [pair for pair in zip(got, wanted, strict=True) if pair[0] != pair[1]][:3]
