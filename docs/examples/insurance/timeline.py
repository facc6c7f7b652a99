"""The log of one policy, told as a story."""

from __future__ import annotations

from typing import Any

from database import Database
from policies import euros

from durable import Client
from durable.history import (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskScheduled,
    ActivityTaskTimedOut,
    Event,
    TimerCanceled,
    TimerFired,
    TimerStarted,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
)

MOST_EVENTFUL = """
select log.policy
from log join letters on letters.policy = log.policy
where letters.kind in ('reminder', 'survey')
group by log.policy
order by count(distinct letters.kind) desc, count(distinct log.worker) desc, count(*), log.policy
limit 1
"""


async def print_timeline(client: Client, database: Database) -> None:
    """Print the log of a policy to which much happened."""
    found = await database.fetch(MOST_EVENTFUL)
    if not found:
        return
    policy_id = found[0][0]
    history = await client.get_workflow_handle(policy_id).fetch_history()
    kills = await database.fetch("select worker, killed_at from kills")
    began, ended = history.events[0].time, history.events[-1].time
    story = Story(client)
    lines = [(event.time, line) for event in history.events if (line := story.line(event)) is not None]
    lines += [(at, f"    {worker} is killed") for worker, at in kills if began <= at <= ended]
    print(f"\nThe log of {policy_id}, {len(history.events)} events, as a story\n")
    for at, line in sorted(lines, key=lambda entry: entry[0]):
        print(f"{(at - began) / 1_000_000:7.2f} s  {line}")


class Story:
    """Turns events into lines, in their order."""

    def __init__(self, client: Client) -> None:
        self._converter = client.data_converter
        self._activities: dict[int, ActivityTaskScheduled] = {}
        self._timers: dict[int, str] = {}

    def line(self, event: Event) -> str | None:
        """Return what an event says to a reader; None for those that only prepare another one."""
        match event.data:
            case WorkflowExecutionStarted(input=(policy, *_)):
                terms = self._value(policy)
                premium = euros(terms["premium_cents"])
                return f"begins: the {terms['kind']} of {terms['holder']}, {premium} a month, {terms['months']} months"
            case TimerStarted(id=id, summary=summary):
                self._timers[id] = summary
                return None
            case TimerCanceled():
                return None
            case TimerFired(id=id):
                return f"{self._timers[id]} passes" if self._timers[id] else "nobody answered in time"
            case ActivityTaskScheduled(id=id):
                self._activities[id] = event.data
                return None
            case ActivityTaskCompleted(id=id, attempt=attempt, identity=worker):
                return f"{self._done(id)}{_attempts(attempt)}, by {worker}"
            case ActivityTaskFailed(id=id, failure=failure) | ActivityTaskTimedOut(id=id, failure=failure):
                return f"{self._activities[id].activity_type} failed: {failure.message}"
            case WorkflowExecutionSignaled(name=name, identity=sender):
                return f"signal {name} from {sender}"
            case WorkflowExecutionCompleted(result=result):
                return f"ends: {self._value(result)}"
            case _:
                return event.type.name.lower()

    def _done(self, id: int) -> str:
        scheduled = self._activities[id]
        arguments = [self._value(payload) for payload in scheduled.input]
        match scheduled.activity_type, arguments:
            case "write_invoice", [policy, month]:
                return f"invoice {policy['id']}/{month:02} is written"
            case "charge", [invoice, card]:
                return f"invoice {invoice['number']} is paid with card {card['number']}"
            case "remind", [_, invoice]:
                return f"reminder for invoice {invoice['number']} is sent"
            case "request_survey", _:
                return "a survey is requested"
            case "notify_cancellation", _:
                return "the cancellation is sent"
            case other, _:
                return other

    def _value(self, payload: Any) -> Any:
        return self._converter.from_payload(payload)


def _attempts(attempt: int) -> str:
    return "" if attempt == 1 else f" at attempt {attempt}"
