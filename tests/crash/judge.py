"""The judge: what holds for a run's log, its replay, its leftovers and its activities' effects, whatever happened to it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from durable import Client
from durable._replay._instance import Instance
from durable._replay._replay import replay
from durable._replay._turns import Turns
from durable.client import WorkflowHandle
from durable.converter import default
from durable.history import (
    CLOSING,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    ChildWorkflowExecutionStarted,
    Event,
    ExternalCommand,
    Input,
    OperationInput,
    StartChildWorkflowExecutionInitiated,
    TimerCanceled,
    TimerFired,
    TimerStarted,
)


async def judge(
    client: Client,
    handle: WorkflowHandle[Any, Any],
    ledger: list[dict[str, Any]],
    killed: set[int],
    definition: Any,
) -> None:
    """Hold a closed run to what is promised: its log, its replay, its leftovers, and what its activities did."""
    history = await handle.fetch_history()
    judge_history(history.events)
    judge_effects(history.events, [line for line in ledger if line.get("run") == history.run_id], killed)
    judge_replay(definition, history.run_id, history.events)
    store = client.store
    record = await store.find_run(handle.id, history.run_id)
    assert record is not None
    assert record.owner is None, "a closed run has an owner"
    assert record.history_length == len(history.events)
    assert not await store.read_messages([history.run_id]), "a closed run has unread messages"
    assert not await store.read_activities(history.run_id), "a closed run has rows of activities"


def judge_history(events: Any, *, closed: bool = True) -> None:
    """I1, I3, and that nothing happens twice or out of order."""
    shown = "\n".join(
        f"{e.seq:4} {e.task:3} {type(e.data).__name__} {getattr(e.data, 'id', '')}" for e in events
    )
    assert [event.seq for event in events] == list(range(1, len(events) + 1)), shown
    assert [e.time for e in events] == sorted(e.time for e in events), shown
    assert [e.task for e in events] == sorted(e.task for e in events), shown
    ends = [event.seq for event in events if isinstance(event.data, CLOSING)]
    assert ends == ([len(events)] if closed else []), f"terminal events at {ends}\n{shown}"
    asked: dict[int, str] = {}
    answered: dict[int, str] = {}
    begun: set[int] = set()
    commands_of = 0
    for event in events:
        data = event.data
        if isinstance(data, Input):
            assert event.task != commands_of, (
                f"event {event.seq}: an input behind its task's commands\n{shown}"
            )
        else:
            commands_of = event.task
        if isinstance(
            data,
            ActivityTaskScheduled | TimerStarted | StartChildWorkflowExecutionInitiated | ExternalCommand,
        ):
            assert data.id not in asked, f"command {data.id} twice\n{shown}"
            asked[data.id] = type(data).__name__
        elif isinstance(
            data,
            ActivityTaskCompleted | ActivityTaskFailed | ActivityTaskTimedOut | ActivityTaskCanceled | TimerFired
            | TimerCanceled | OperationInput,
        ):  # fmt: skip
            assert data.id in asked, f"command {data.id} is answered and was never asked\n{shown}"
            if isinstance(data, ChildWorkflowExecutionStarted):
                assert data.id not in begun, f"child {data.id} is started twice\n{shown}"
                begun.add(data.id)
                continue
            assert data.id not in answered, f"command {data.id} is answered twice\n{shown}"
            answered[data.id] = type(data).__name__
    messages = [e.data.message for e in events if isinstance(e.data, Input) and e.data.message]
    assert len(messages) == len(set(messages)), f"a message twice\n{shown}"


def judge_replay(definition: Any, run_id: str, events: list[Event] | Any) -> None:
    """I7: the code asks again for exactly what is recorded, arguments included."""
    made: list[Instance] = []

    def instance(*, trace: bool = False) -> Instance:
        one = Instance(
            definition,
            run_id,
            default(),
            namespace="default",
            note=lambda text, error: None,
            trace=trace,
        )
        made.append(one)
        return one

    try:
        with Turns() as turns:
            live = replay(instance(), turns, list(events), rebuild=lambda: instance(trace=True), strict=True)
        assert not live, f"a closed run's replay asks for more: {live}"
    finally:
        for one in made:
            one.evict()


def judge_effects(events: Any, ledger: list[dict[str, Any]], killed: set[int]) -> None:
    """I14: every execution beyond the first has a failure or a kill to explain it; at most once is at most once."""
    scheduled = {e.data.activity_id: e.data for e in events if isinstance(e.data, ActivityTaskScheduled)}
    by_activity: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in ledger:
        if "id" in line:
            by_activity[line["id"]].append(line)
    for activity_id, lines in by_activity.items():
        shown = "\n".join(map(str, lines))
        assert activity_id in scheduled, f"an activity ran that the log does not know\n{shown}"
        assert len({line["key"] for line in lines}) == 1, f"its key changed\n{shown}"
        begins = [line for line in lines if line["phase"] == "begin"]
        if scheduled[activity_id].retry_policy.maximum_attempts == 1:
            assert len(begins) == 1, f"at most once ran {len(begins)} times\n{shown}"
        attempts = [line["attempt"] for line in begins]
        assert attempts == sorted(attempts), shown
        assert len(set(attempts)) == len(attempts), f"one attempt was executed twice\n{shown}"
        for begin in begins[:-1]:
            failed = any(
                line["phase"] == "fail" and (line["pid"], line["attempt"]) == (begin["pid"], begin["attempt"])
                for line in lines
            )
            assert failed or begin["pid"] in killed, f"executed again without a failure or a kill\n{shown}"
    done = {
        scheduled_id_of(events, e.data.id): e.data
        for e in events
        if isinstance(e.data, ActivityTaskCompleted)
    }
    for activity_id, completed in done.items():
        ends = [line["attempt"] for line in by_activity[activity_id] if line["phase"] == "end"]
        assert completed.attempt in ends, f"{activity_id} completed by an attempt that never ended: {ends}"


def scheduled_id_of(events: Any, number: int) -> str:
    return next(
        e.data.activity_id
        for e in events
        if isinstance(e.data, ActivityTaskScheduled) and e.data.id == number
    )
