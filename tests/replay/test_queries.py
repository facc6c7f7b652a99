"""Queries of one run's code: what every run answers, bad questions, and handlers that do what they must not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import pytest

from durable import Query, workflow
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.exceptions import WorkflowQueryFailedError
from durable.history import WorkflowExecutionCancelRequested
from tests.replay.test_instance import Rig, go, signal


@Query
def progress(part: str = "all") -> str: ...


@workflow.defn(name="queries_class")
class Talks:
    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.evaluations = 0
        self.ready = False
        self.waiting: asyncio.Future[Any] | None = None

    @workflow.run
    async def run(self) -> str:
        workflow.set_current_details("waiting for ada")
        self.waiting = asyncio.ensure_future(workflow.sleep(3600))
        async with asyncio.TaskGroup() as group:
            group.create_task(self.event.wait(), name="the event")
            group.create_task(self.conditions(), name="the condition")
            group.create_task(self.timer(), name="the timer")
        return "done"

    async def conditions(self) -> None:
        await workflow.wait_condition(self.look)

    async def timer(self) -> None:
        assert self.waiting is not None
        with contextlib.suppress(asyncio.CancelledError):
            await self.waiting

    def look(self) -> bool:
        self.evaluations += 1
        return self.ready

    @workflow.signal(description="Lets it go on")
    def go_on(self) -> None:
        self.ready = True

    @workflow.update(description="Never sent here")
    async def rename(self, name: str) -> None: ...

    @workflow.query(description="How often it was looked at")
    def looked(self) -> int:
        return self.evaluations

    @workflow.query
    def bad(self, what: str) -> Any:
        match what:
            case "set the event":
                self.event.set()
            case "set the event, quietly":
                with contextlib.suppress(Exception):
                    self.event.set()
            case "cancel an operation":
                assert self.waiting is not None
                self.waiting.cancel()
            case "create a task":
                asyncio.ensure_future(asyncio.Event().wait())  # noqa: RUF006
            case "condition":
                workflow.wait_condition(lambda: True).send(None)
            case "details":
                workflow.set_current_details("mine")
            case "new_random":
                workflow.new_random()
            case "uuid7":
                workflow.uuid7()
            case "raise":
                raise ValueError("no luck")
            case "async":
                return asyncio.sleep(0)
            case "unstorable":
                return object()
            case _:
                raise AssertionError(what)

    @workflow.query
    def fine(self) -> list[Any]:
        workflow.logger.warning("asked")
        return [
            workflow.info().workflow_id,
            workflow.now().isoformat(),
            workflow.cancellation_reason(),
            workflow.get_current_details(),
        ]


def rebuilt(rig: Rig) -> None:
    """Put a fresh instance in the place of the present one, brought to the same state by the log."""
    rig.code = rig.fresh()
    with Turns() as turns:
        replay(rig.code, turns, rig.log, rebuild=rig.fresh)


def test_metadata_names_what_a_workflow_can_be_told_and_asked() -> None:
    rig = Rig(Talks)
    rig.start()
    told = rig.query("__temporal_workflow_metadata")
    assert told == {
        "current_details": "waiting for ada",
        "definition": {
            "type": "queries_class",
            "query_definitions": [
                {"name": "bad", "description": ""},
                {"name": "fine", "description": ""},
                {"name": "looked", "description": "How often it was looked at"},
            ],
            "signal_definitions": [{"name": "go_on", "description": "Lets it go on"}],
            "update_definitions": [{"name": "rename", "description": "Never sent here"}],
        },
    }


def test_metadata_of_a_function_shows_what_it_has_set_by_now() -> None:
    @workflow.defn(name="queries_function")
    async def function() -> None:
        await go.receive()
        workflow.set_handler(progress, lambda part="all": part)
        workflow.set_dynamic_signal_handler(lambda name, args: None)
        await asyncio.sleep(60)

    rig = Rig(function)
    rig.start()
    before = rig.query("__temporal_workflow_metadata")["definition"]
    assert before["query_definitions"] == before["signal_definitions"] == []
    rig.tell(signal("go", "on"))
    after = rig.query("__temporal_workflow_metadata")["definition"]
    assert after["query_definitions"] == [{"name": "progress", "description": ""}]
    assert after["signal_definitions"] == [{"name": "", "description": ""}]


def test_the_stack_trace_shows_where_each_task_stands() -> None:
    rig = Rig(Talks)
    rig.start()
    trace = rig.query("__stack_trace")
    assert trace.index("Stack for workflow ") < trace.index("Stack for the event ")
    assert "in run\n    async with asyncio.TaskGroup() as group:" in trace
    assert "in conditions\n    await workflow.wait_condition(self.look)\n" in trace
    assert "in wait_condition\n" in trace
    rebuilt(rig)
    assert rig.query("__stack_trace") == trace
    rig.tell(WorkflowExecutionCancelRequested())
    assert rig.query("__stack_trace") == "", "a workflow that has ended stands nowhere"


def test_an_unknown_query_names_what_there_is() -> None:
    rig = Rig(Talks)
    rig.start()
    with pytest.raises(WorkflowQueryFailedError) as caught:
        rig.query("nosuch")
    text = str(caught.value)
    assert "workflow 'queries_class' has no query 'nosuch'" in text
    assert "(it has: __stack_trace, __temporal_workflow_metadata, bad, fine, looked)" in text
    with pytest.raises(WorkflowQueryFailedError, match="__stack_trace"):
        rig.query("__stack_trace", 1)


@pytest.mark.temporal("workflow/query_does_not_run_condition")
def test_query_does_not_run_condition() -> None:
    rig = Rig(Talks)
    rig.start()
    looked = rig.query("looked")
    for _ in range(3):
        assert rig.query("looked") == looked
    rig.tell(signal("go_on"))
    assert rig.query("looked") > looked


SPOILING = ("set the event", "set the event, quietly", "cancel an operation", "create a task")
REFUSED = ("condition", "details", "new_random", "uuid7")


@pytest.mark.temporal("workflow/queries_doing_bad_things")
@pytest.mark.parametrize("what", [*SPOILING, *REFUSED, "raise", "async", "unstorable"])
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_queries_doing_bad_things(what: str) -> None:
    rig = Rig(Talks)
    rig.start()
    if what == "set the event, quietly":
        rig.query("bad", what)
    else:
        with pytest.raises(WorkflowQueryFailedError, match="query 'bad' failed") as caught:
            rig.query("bad", what)
        text = str(caught.value)
        if what in REFUSED or what == "cancel an operation":
            assert "ReadOnlyContextError: a query" in text
        if what == "raise":
            assert text.endswith("ValueError: no luck")
    assert rig.code.spoiled is (what in SPOILING)
    if rig.code.spoiled:
        rebuilt(rig)
    # Nothing of it is left: the workflow goes on as if it had not been asked.
    assert rig.tell(signal("go_on")) == []
    kinds = [type(one).__name__ for one in rig.tell(WorkflowExecutionCancelRequested())]
    assert kinds == ["TimerCanceled", "WorkflowExecutionCanceled"]
    rig.replay()


def test_a_query_sees_facts_and_logs_though_the_run_is_a_replay(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(Talks)
    rig.start()
    expected = ["w", "2023-11-14T22:13:20+00:00", None, "waiting for ada"]
    rebuilt(rig)
    with caplog.at_level(logging.WARNING, "durable.workflow"):
        assert rig.query("fine") == expected
    assert [record.getMessage() for record in caplog.records] == ["asked (queries_class w)"]


def test_an_answer_after_the_end_is_from_the_state_at_the_end() -> None:
    @workflow.defn(name="queries_ends")
    async def ends() -> None:
        seen: list[str] = []
        workflow.set_handler(progress, lambda part="all": ",".join(seen))
        seen.append(await go.receive())

    rig = Rig(ends)
    rig.start()
    rig.tell(signal("go", "over"))
    assert rig.query("progress") == "over"
    rebuilt(rig)
    assert rig.query("progress") == "over"
