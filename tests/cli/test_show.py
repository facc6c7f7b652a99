"""`durable workflow show` and `export`: a history as a story, and as it is stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from durable import Client, Worker, workflow
from durable.cli import ExitCode
from durable.cli._story import MOST_WAITING, Line, Story
from durable.client import WorkflowHistory
from durable.history import (
    ActivityTaskCompleted,
    ActivityTaskScheduled,
    Event,
    Payload,
    WorkflowExecutionStarted,
)
from tests.cli.conftest import Done, call
from tests.cli.schemas import check
from tests.cli.shop import Order, Waits, charge, checkout, for_ever, stuck
from tests.scenarios.rig import reached


@workflow.defn(name="cli.journey")
async def journey() -> str:
    await charge(Order("1", 13))
    await asyncio.sleep(0.01)
    waits = asyncio.ensure_future(asyncio.sleep(3600))
    await asyncio.sleep(0.02)
    waits.cancel()
    child = await Waits.run.start()
    await child.signal(Waits.note("end"))
    if workflow.patched("newer"):
        await child
    try:
        await charge(Order("2", -1))
    except Exception:
        return "over"
    return ""


@workflow.defn(name="cli.again")
async def again(left: int) -> None:
    if left:
        workflow.continue_as_new(left - 1)


async def shown(url: str, *arguments: str, **options: Any) -> Done:
    return await asyncio.to_thread(call, "workflow", "show", *arguments, "--db", url, **options)


async def test_a_story(store_url: str) -> None:
    async with (
        Client.connect(store_url) as client,
        Worker(client, workflows=[journey, Waits], activities=[charge]),
    ):
        await client.execute_workflow(journey(), id="j")
        done = await shown(store_url, "j")
        lines = [line[1:] for line in done.lines]
    assert [line[:2] for line in lines] == [
        ["started", "cli.journey()"],
        ["activity", 'cli.charge({"id":"1","cents":13})'],
        ["timer", "10ms"],
        ["timer", "20ms"],
        ["timer", "1h"],
        ["child", lines[5][1]],
        ["signals", lines[6][1]],
        ["patch", "newer"],
        ["activity", 'cli.charge({"id":"2","cents":-1})'],
        ["completed", ""],
    ]
    assert lines[1][2].startswith("done")
    assert lines[1][2].endswith(", attempt 3")
    assert lines[1][3] == '"receipt-1"'
    assert lines[2][2] == "fired"
    assert lines[4][2].startswith("cancelled after ")
    assert lines[5][1].startswith("cli.waits() ")
    assert lines[6][1].startswith('note("end") to ')
    assert lines[8][2].endswith(": no money")
    assert lines[9][-1] == '"over"'
    terminal = await shown(store_url, "j", terminal=True)
    assert terminal.out.startswith("j  \x1b[1mcli.journey\x1b[0m  run ")
    assert "\x1b[31mfailed: no money" in terminal.out


async def test_what_goes_on_and_what_it_waits_for(store_url: str) -> None:
    async with (
        Client.connect(store_url) as client,
        Worker(client, workflows=[stuck], activities=[for_ever]),
    ):
        await reached(await client.start_workflow(stuck(), id="s"), "Started", "ActivityScheduled")
        done = await shown(store_url, "s")
    assert "activity\tcli.for_ever()\tgoes on" in done.out
    assert "now       running" in done.out
    assert "cli.for_ever (1): eager, attempt 1" in done.out


async def test_as_it_is_stored(store_url: str, tmp_path: Path) -> None:
    async with (
        Client.connect(store_url) as client,
        Worker(client, workflows=[checkout], activities=[charge]),
    ):
        await client.execute_workflow(checkout(Order("1")), id="c")
        kept = await client.get_workflow_handle("c").fetch_history()
    exported = await asyncio.to_thread(call, "workflow", "export", "c", "--db", store_url)
    assert exported.out == kept.to_json() + "\n"
    whole = await shown(store_url, "c", "--json")
    check(whole.json, "workflow show")
    assert whole.json == kept.to_json_dict()
    assert WorkflowHistory.from_json("c", whole.out) == kept
    lines = (await shown(store_url, "c", "--jsonl")).out.splitlines()
    assert [json.loads(line) for line in lines] == kept.to_json_dict()["events"]
    assert (await shown(store_url, "nobody")).code == ExitCode.NOT_FOUND


async def test_following(store_url: str) -> None:
    async with (
        Client.connect(store_url) as client,
        Worker(client, workflows=[Waits], activities=[]),
    ):
        handle = await client.start_workflow(Waits.run(), id="w")
        following = asyncio.ensure_future(shown(store_url, "w", "--follow"))
        await handle.signal(Waits.note("end"))
        done = await asyncio.wait_for(following, 60)
    assert [line[1] for line in done.lines] == ["started", "signal", "completed"]


async def test_following_as_it_is_stored(sqlite_url: str) -> None:
    async with (
        Client.connect(sqlite_url) as client,
        Worker(client, workflows=[again], activities=[]),
    ):
        await client.execute_workflow(again(2), id="a")
        (first,) = [
            one async for one in client.list_workflows("WorkflowId = 'a' ORDER BY StartTime", limit=1)
        ]
    refused = await shown(sqlite_url, "a", "--follow", "--json")
    assert (refused.code, refused.out) == (ExitCode.USAGE, "")
    done = await shown(sqlite_url, "a", "--follow", "--jsonl", "--run-id", first.run_id)
    types = [json.loads(line)["type"] for line in done.out.splitlines()]
    ends = [
        "WorkflowExecutionContinuedAsNew",
        "WorkflowExecutionContinuedAsNew",
        "WorkflowExecutionCompleted",
    ]
    assert [one for one in types if one != "WorkflowExecutionStarted"] == ends


async def test_what_would_do_something_to_a_terminal_is_not_written(sqlite_url: str) -> None:
    async with Client.connect(sqlite_url) as client:
        handle = await client.start_workflow(again(2), id="a")
        await handle.pause("\x1b]0;title\x07")
    for terminal in (True, False):
        for verb in ("show", "describe", "list"):
            arguments = () if verb == "list" else ("a",)
            done = await asyncio.to_thread(
                call, "workflow", verb, *arguments, "--db", sqlite_url, terminal=terminal
            )
            assert "?]0;title?" in done.out
            assert "\x07" not in done.out


def told(story: Story, *events: Event) -> list[Line]:
    return [line for event in events for line in story.tell(event)]


def scheduled(seq: int, id: int) -> Event:
    return Event(seq, 1, seq * 1_000_000, ActivityTaskScheduled(id=id, activity_type=f"a{id}"))


def completed(seq: int, id: int) -> Event:
    return Event(seq, 1, seq * 1_000_000, ActivityTaskCompleted(id=id, result=Payload(b"1")))


def test_lines_come_in_the_order_of_their_beginnings_as_soon_as_they_can() -> None:
    story = Story()
    assert not told(story, scheduled(1, 1), scheduled(2, 2), completed(3, 2))
    assert [line.name for line in told(story, completed(4, 1))] == ["a1()", "a2()"]
    assert told(story, scheduled(5, 3)) == []
    assert [(line.name, line.outcome) for line in story.rest()] == [("a3()", "goes on")]
    (end,) = told(story, completed(7, 3))
    assert (end.name, end.outcome, end.begun) == ("a3()", "done after 2s", 7_000_000), (
        "once more, with its end"
    )


def test_one_that_takes_long_does_not_hold_up_the_rest() -> None:
    story = Story()
    first = told(story, scheduled(1, 0))
    for number in range(1, MOST_WAITING + 10):
        first += told(story, scheduled(2 * number, number), completed(2 * number + 1, number))
    assert (first[0].name, first[0].outcome) == ("a0()", "goes on")
    assert len(first) > 2
    assert len(story._waiting) <= MOST_WAITING


def test_a_long_history_streams() -> None:
    """Neither events nor lines are gathered."""
    story = Story()
    events = [Event(1, 1, 0, WorkflowExecutionStarted(workflow_type="w"))]
    lines = told(story, *events)
    for number in range(1, 25_000):
        lines += told(story, scheduled(2 * number, number), completed(2 * number + 1, number))
        assert len(lines) == number + 1
    assert timedelta(microseconds=lines[-1].begun) == timedelta(seconds=2 * 24_999)


@pytest.fixture(autouse=True)
def settings(cli: Callable[..., Done]) -> None:
    """Without those of whoever runs the tests."""
