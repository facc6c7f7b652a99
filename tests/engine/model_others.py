"""Other workflows in the model: children that are there once, messages that are taken once, and what is asked of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

from durable._engine._children import ABANDON, OUTGOING, news_for_parent
from durable._engine.records import Message, Transition
from durable._internal.ids import child_run_id
from durable.history import (
    ChildWorkflowExecutionStarted,
    CommandEvent,
    EventType,
    OperationInput,
    ParentLink,
    SignalExternalWorkflowExecutionInitiated,
    StartChildWorkflowExecutionInitiated,
    WorkflowExecutionCompleted,
    WorkflowExecutionStarted,
    decode_data,
)

RUN = "run"


class Others:
    """The rest of the database.

    Attributes:
        children: Commands whose child is there and open.
        happened: How often each child was created and each message taken.
    """

    def __init__(self) -> None:
        self.children: set[int] = set()
        self.happened: Counter[str] = Counter()

    def take(self, transition: Transition, send: Callable[[Message], object]) -> None:
        """Do what a committed transition asks, and answer; hold it to asking once for each command that it writes."""
        written = [decode_data(event.type, event.data) for event in transition.events]
        closes = transition.close is not None
        asked = {
            command.id
            for command in written
            if isinstance(command, OUTGOING)
            and not (closes and getattr(command, "parent_close_policy", ABANDON) != ABANDON)
        }
        done: list[int] = []
        for start in transition.starts:
            self.happened[start.run.run_id] += 1
            done.append(_number(start.reply.done_type, start.reply.done))
            self.children.add(done[-1])
        for sent in transition.sends:
            self.happened[sent.message_id] += 1
            done.append(_number(sent.reply.done_type, sent.reply.done))
        assert sorted(done) == sorted(asked), f"asked for {sorted(asked)}, done {sorted(done)}"
        assert set(self.happened.values()) <= {1}, self.happened
        for one in (*transition.starts, *transition.sends):
            send(Message(RUN, one.reply.message_id, one.reply.done_type, one.reply.done, internal=True))

    def end_child(self, id: int) -> Message:
        """Close a child; its last transition brings this to the parent."""
        self.children.remove(id)
        news = news_for_parent(
            WorkflowExecutionStarted(parent=ParentLink("w", RUN, id)), WorkflowExecutionCompleted()
        )
        assert news is not None
        return news


def _number(type: int, data: bytes) -> int:
    news = decode_data(type, data)
    assert isinstance(news, OperationInput)
    return news.id


class Asked:
    """What code has asked of others, and what it has heard of that."""

    def __init__(self) -> None:
        self.open: dict[int, str] = {}

    def something(self, id: int, rng: Random) -> CommandEvent:
        """A command to others."""
        self.open[id] = "asked"
        if rng.random() < 0.4:
            return SignalExternalWorkflowExecutionInitiated(id=id, workflow_id="o", name="go")
        return StartChildWorkflowExecutionInitiated(
            id=id,
            workflow_id=f"c{id}",
            run_id=child_run_id(RUN, id),
            workflow_type="t",
            parent_close_policy=rng.choice((ABANDON, "terminate")),
        )

    def hear(self, news: OperationInput) -> None:
        """Take news; it comes once, the start of a child before its end."""
        assert news.id in self.open, f"news of {news.id}, which is nothing any more"
        if isinstance(news, ChildWorkflowExecutionStarted):
            assert self.open[news.id] == "asked"
            self.open[news.id] = "started"
        else:
            child = news.type is EventType.CHILD_WORKFLOW_EXECUTION_COMPLETED
            assert self.open.pop(news.id) == ("started" if child else "asked")
