"""What steps of runs do to other runs: children and successors, and messages to workflows by their ids.

What became of it is a message in the sender's own inbox. Whether somebody is there to take a message is decided before the
sender's first write, so that a sender who has to wait has nothing to undo.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from durable._engine.records import (
    Close,
    ExternalSend,
    Message,
    Reply,
    StartOutcome,
    StartVerdict,
    Transition,
)
from durable.common import ParentClosePolicy, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from durable.history import EventType
from durable.store._parent_close import CANCEL_REQUEST, PARENT_CLOSED, TERMINATION
from durable.store.sqlite import _messages, _rows, _runs
from durable.store.sqlite._connection import Transaction
from durable.store.sqlite._locks import Lives
from durable.store.sqlite._rows import Many, ids

SQL = _rows.queries("others")
_hold_back = Many(SQL["hold_back"])
_children = _rows.decoder(tuple[str, int])


def address(transaction: Transaction, transitions: Sequence[Transition]) -> Sequence[Transition]:
    """Turn messages to workflows into messages to runs, and replies; leave out senders that have to wait."""
    if not any(transition.sends for transition in transitions):
        return transitions
    addressed = (_address(transaction, transition) for transition in transitions)
    return [transition for transition in addressed if transition is not None]


def _address(transaction: Transaction, transition: Transition) -> Transition | None:
    messages = list(transition.messages)
    for send in transition.sends:
        target, held_back = _find(transaction, send)
        if held_back and target != transition.run_id:
            return None
        if target is not None:
            messages.append(Message(target, send.message_id, send.type, send.data))
        messages.append(_answer(transition.run_id, send.reply, done=target is not None))
    return structs.replace(transition, messages=tuple(messages), sends=())


def _find(transaction: Transaction, send: ExternalSend) -> tuple[str | None, bool]:
    """The open run that is meant, if there is one, and whether it takes no messages now."""
    found = transaction.db.execute(SQL["open_target"], (send.workflow_id,)).fetchone()
    if found is None:
        return None, False
    run_id, first_run_id, held_back_until = found
    if send.run_id not in (None, run_id) or send.first_run_id not in (None, first_run_id):
        return None, False
    return run_id, held_back_until is not None and held_back_until > transaction.now


def _answer(run_id: str, reply: Reply, *, done: bool) -> Message:
    kind, data = (reply.done_type, reply.done) if done else (reply.failed_type, reply.failed)
    return Message(run_id, reply.message_id, kind, data, internal=True)


def start_children(
    transaction: Transaction, lives: Lives, transitions: Sequence[Transition]
) -> list[StartVerdict]:
    """Start the children of these transitions and tell the parents; return those that have an owner."""
    starts = [(transition.run_id, start) for transition in transitions for start in transition.starts]
    if not starts:
        return []
    # A child is never content with a run that is there.
    runs = [structs.replace(start.run, conflict=WorkflowIDConflictPolicy.FAIL) for _, start in starts]
    verdicts = _runs.create(transaction, lives, runs)
    _messages.send(
        transaction,
        [
            _answer(run_id, start.reply, done=verdict is None or verdict.outcome is not StartOutcome.REJECTED)
            for (run_id, start), verdict in zip(starts, verdicts, strict=True)
        ],
    )
    return _owned(verdicts)


def _owned(verdicts: Sequence[StartVerdict | None]) -> list[StartVerdict]:
    return [
        verdict
        for verdict in verdicts
        if verdict is not None and verdict.outcome is StartOutcome.STARTED and verdict.epoch > 0
    ]


def hold_back(transaction: Transaction, transitions: Sequence[Transition]) -> None:
    """Let these runs take no messages from outside for as long as they say."""
    _hold_back(transaction.db, [(t.run_id, transaction.now + t.hold_back) for t in transitions])


def tell_children(transaction: Transaction, parents: Sequence[str]) -> None:
    """Tell the open children of runs that are about to close."""
    children = _children(transaction.db.execute(SQL["children"], (ids(parents),)).fetchone()[0])
    messages: list[Message] = []
    for run_id, policy in children:
        if policy == ParentClosePolicy.TERMINATE:
            kind, data = EventType.WORKFLOW_EXECUTION_TERMINATED, TERMINATION
        else:
            kind, data = EventType.WORKFLOW_EXECUTION_CANCEL_REQUESTED, CANCEL_REQUEST
        messages.append(Message(run_id, PARENT_CLOSED, int(kind), data, internal=True))
    _messages.send(transaction, messages)


def succeed(
    transaction: Transaction, lives: Lives, closes: Sequence[tuple[str, Close]]
) -> list[StartVerdict]:
    """Create the successors of runs that have just closed, and move to them what is unread; return those with an owner.

    Raises:
        ValueError: One of them is another run's, or of another workflow.
    """
    verdicts: list[StartVerdict | None] = []
    for run_id, close in closes:
        if close.successor is None:
            continue
        new = structs.replace(
            close.successor,
            reuse=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            conflict=WorkflowIDConflictPolicy.FAIL,
        )
        if new.parent_run_id is not None:
            # Its parent may have been reset, and is another run now than its log says.
            (parent,) = transaction.db.execute(SQL["parent"], (run_id,)).fetchone()
            new = structs.replace(new, parent_run_id=parent)
        (verdict,) = _runs.create(transaction, lives, [new])
        if verdict is None or verdict.outcome is not StartOutcome.STARTED:
            raise ValueError(
                f"the successor of {run_id} has the run id of another run, or another workflow id"
            )
        verdicts.append(verdict)
        values = {"from": run_id, "to": new.run_id}
        transaction.db.execute(SQL["move_messages"], values)
        transaction.db.execute(SQL["inherit_parents"], values)
        transaction.db.execute(SQL["forget_moved"], (run_id,))
    return _owned(verdicts)
