"""A store with a worker in it, and short words for what checks do all the time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, TypeVar

from durable._internal.ids import uuid7
from durable.history import EventRow, EventType
from durable.store import (
    ActivityRecord,
    ChildStart,
    ClaimedRun,
    Close,
    ExternalSend,
    Lease,
    Message,
    NewActivity,
    NewRun,
    Reply,
    RunRecord,
    RunStatus,
    SendOutcome,
    StartOutcome,
    Store,
    Transition,
    Unread,
    Verdict,
    WorkerRecord,
)
from durable.testing.conformance._registry import OpenStore

T = TypeVar("T")

QUEUE = "queue"
TYPE = "Workflow"
ACTIVITY = "activity"
HOUR = 3_600_000_000
LEASE = 60_000_000
"""Of a worker that is to live through the check."""
SHORT_LEASE = 400_000
"""Of a worker that is to die in it: long enough to claim something on a slow machine, short enough to wait for."""
PATIENCE = 20.0
"""Seconds after which something that was to happen soon is said not to."""

EVERY_BYTE = bytes(range(256)) + b"\x00\x00"


def new_run(**fields: Any) -> NewRun:
    """A start of a workflow id of its own, ready at once."""
    run_id = uuid7()
    defaults: dict[str, Any] = {
        "run_id": run_id,
        "workflow_id": f"workflow-{run_id}",
        "workflow_type": TYPE,
        "task_queue": QUEUE,
        "started": b'{"workflow_type":"Workflow"}',
    }
    return NewRun(**(defaults | fields))


def event(
    seq: int, data: bytes = b"{}", *, task: int = 2, type: EventType = EventType.TIMER_STARTED
) -> EventRow:
    """An event at a position."""
    return EventRow(seq, task, int(type), data)


def message(
    run_id: str, message_id: str | None = None, data: bytes = b"{}", *, internal: bool = False
) -> Message:
    """A signal, under an id of its own unless told otherwise."""
    kind = int(EventType.WORKFLOW_EXECUTION_SIGNALED)
    return Message(run_id, message_id or uuid7(), kind, data, internal=internal)


def update(run_id: str, message_id: str | None = None, data: bytes = b"{}") -> Message:
    """An update, under an id of its own unless told otherwise."""
    return Message(run_id, message_id or uuid7(), int(EventType.WORKFLOW_EXECUTION_UPDATE_ACCEPTED), data)


def reply(message_id: str = "reply") -> Reply:
    """The answer to a start of a child; to a message it would have other types, which no store looks at."""
    done, failed = EventType.CHILD_WORKFLOW_EXECUTION_STARTED, EventType.START_CHILD_WORKFLOW_EXECUTION_FAILED
    return Reply(message_id, int(done), b"done", int(failed), b"failed")


def child_start(run: NewRun, message_id: str = "reply") -> ChildStart:
    """A child to be started."""
    return ChildStart(run, reply(message_id))


def external(workflow_id: str, message_id: str = "sent", **fields: Any) -> ExternalSend:
    """A signal to whatever run a workflow id has; the reply is `reply-<message id>`."""
    kind = int(EventType.WORKFLOW_EXECUTION_SIGNALED)
    return ExternalSend(workflow_id, message_id, kind, b"{}", reply(f"reply-{message_id}"), **fields)


def new_activity(number: int, **fields: Any) -> NewActivity:
    """An activity that is queued at once."""
    defaults: dict[str, Any] = {
        "activity_type": ACTIVITY,
        "task_queue": QUEUE,
        "scheduled": b'{"activity_type":"activity"}',
        "scheduled_at": 1,
    }
    return NewActivity(number, **(defaults | fields))


class Room:
    """A store, a worker registered there, and what it is asked most often."""

    def __init__(self, store: Store, worker: str, lease: Lease) -> None:
        self.store = store
        self.worker = worker
        self.lease = lease

    async def start(self, **fields: Any) -> NewRun:
        """Start a run that is not refused."""
        run = new_run(**fields)
        (verdict,) = await self.store.create_runs([run])
        assert verdict.outcome is StartOutcome.STARTED, verdict
        return run

    async def own(self, **fields: Any) -> ClaimedRun:
        """Start a run that this room's worker owns from the start; no other run is touched."""
        run = await self.start(owner=self.worker, **fields)
        mine = await self.store.reload_run(self.worker, run.run_id, 1)
        assert mine is not None
        return mine

    async def claim(
        self,
        limit: int = 10,
        *,
        queues: tuple[str, ...] = (QUEUE,),
        types: tuple[str, ...] | None = (TYPE,),
        format: int = 1,
    ) -> list[ClaimedRun]:
        """Claim runs for this room's worker."""
        return await self.store.claim_runs(self.worker, queues, types, limit, format=format)

    async def claimed_ids(self, limit: int = 10) -> set[str]:
        """The ids of what a claim gives."""
        return {one.run.run_id for one in await self.claim(limit)}

    async def probationer(self) -> ClaimedRun | None:
        """Claim a run on probation."""
        return await self.store.claim_probationer(self.worker, (QUEUE,), (TYPE,), format=1)

    async def commit(self, *transitions: Transition) -> tuple[Verdict, ...]:
        """Commit, coming again for as long as something is busy."""
        verdicts: dict[str, Verdict] = {}
        wanted = list(transitions)
        deadline = time.monotonic() + PATIENCE
        while wanted:
            result = await self.store.commit(wanted)
            verdicts.update(zip((one.run_id for one in wanted), result.verdicts, strict=True))
            wanted = [one for one in wanted if verdicts[one.run_id] is Verdict.BUSY]
            assert time.monotonic() < deadline, "a transition stays BUSY although nobody else is there"
        return tuple(verdicts[one.run_id] for one in transitions)

    async def written(self, *transitions: Transition) -> None:
        """Commit what is not refused."""
        verdicts = await self.commit(*transitions)
        assert all(verdict is Verdict.WRITTEN for verdict in verdicts), verdicts

    async def close(self, run: ClaimedRun, status: RunStatus = RunStatus.COMPLETED, seq: int = 2) -> None:
        """Close an owned run."""
        await self.written(closing(run, status, seq))

    async def send(self, *messages: Message) -> None:
        """Send what is accepted."""
        outcomes = await self.store.send(messages)
        assert all(outcome is SendOutcome.SENT for outcome in outcomes), outcomes

    async def unread(self, *run_ids: str) -> list[Message]:
        """What is unread in the inboxes of these runs, by position."""
        return await self.store.read_messages(run_ids)

    async def unread_ids(self, *run_ids: str) -> list[str]:
        """The ids of what is unread in the inboxes of these runs, by position."""
        return [each.message_id for each in await self.unread(*run_ids)]

    async def record(self, run_id: str, workflow_id: str) -> RunRecord:
        """The row of a run that is there."""
        found = await self.store.find_run(workflow_id, run_id)
        assert found is not None
        return found

    async def again(self, run: ClaimedRun) -> RunRecord:
        """The row of a claimed run as it is now."""
        return await self.record(run.run.run_id, run.run.workflow_id)

    async def parent(self, **fields: Any) -> tuple[ClaimedRun, NewRun]:
        """An owned run, and an open child of it that nobody owns."""
        parent = await self.own()
        child = new_run(parent_run_id=parent.run.run_id, **fields)
        step = Transition(
            parent.run.run_id, parent.run.epoch, (event(2),), starts=(child_start(child, "started"),)
        )
        await self.written(step)
        (told,) = await self.unread(parent.run.run_id)
        await self.written(
            Transition(parent.run.run_id, parent.run.epoch, (event(3),), consumed=(told.position,))
        )
        return parent, child

    async def scheduled(self, *activities: NewActivity) -> ClaimedRun:
        """An owned run with these activities in the database."""
        run = await self.own()
        await self.written(Transition(run.run.run_id, run.run.epoch, (event(2),), activities=activities))
        return run

    async def begun(self, **fields: Any) -> ActivityRecord:
        """An activity of an owned run, claimed by this room's worker."""
        await self.scheduled(new_activity(1, **fields))
        (task,) = await self.claim_activities()
        return task

    async def claim_activities(
        self,
        limit: int = 10,
        *,
        queues: tuple[str, ...] = (QUEUE,),
        types: tuple[str, ...] | None = (ACTIVITY,),
        format: int = 1,
    ) -> list[ActivityRecord]:
        """Claim activities for this room's worker."""
        return await self.store.claim_activities(self.worker, queues, types, limit, format=format)

    async def task(self, run_id: str, number: int = 1) -> ActivityRecord:
        """The row of an activity that is there."""
        (found,) = [task for task in await self.store.read_activities(run_id) if task.id == number]
        return found


def closing(
    run: ClaimedRun,
    status: RunStatus = RunStatus.COMPLETED,
    seq: int = 2,
    close: Close | None = None,
    **fields: Any,
) -> Transition:
    """A transition that closes a run."""
    last = event(seq, type=EventType.WORKFLOW_EXECUTION_COMPLETED)
    return Transition(run.run.run_id, run.run.epoch, (last,), close=close or Close(status), **fields)


def continuing(
    run: ClaimedRun,
    successor: NewRun | None = None,
    *,
    seq: int = 2,
    unread: Unread = Unread.REFUSE,
    update_lost: bytes = b"",
    **fields: Any,
) -> Transition:
    """A transition with which a run goes on as another."""
    close = Close(RunStatus.CONTINUED_AS_NEW, unread, successor or following(run), update_lost)
    return closing(run, seq=seq, close=close, **fields)


def following(run: ClaimedRun, **fields: Any) -> NewRun:
    """A run to go on in the place of another."""
    defaults: dict[str, Any] = {
        "workflow_id": run.run.workflow_id,
        "first_run_id": run.run.first_run_id,
        "parent_run_id": run.run.parent_run_id,
    }
    return new_run(**(defaults | fields))


def ended(seq: int) -> EventRow:
    """The last event of a run that is terminated."""
    return event(seq, b"terminated", task=9, type=EventType.WORKFLOW_EXECUTION_TERMINATED)


def worker_record(worker_id: str, lease: int = LEASE) -> WorkerRecord:
    """A worker about to be registered."""
    return WorkerRecord(worker_id, "somebody", (QUEUE,), lease, 0, expired=False, dead=False)


@contextlib.asynccontextmanager
async def room(open_store: OpenStore, *, lease: int = LEASE) -> AsyncGenerator[Room]:
    """A room with a fresh worker. Left, its store is closed without a word: its worker is not unregistered."""
    store = await open_store()
    try:
        worker = f"worker-{uuid7()}"
        kept = await store.register_worker(worker_record(worker, lease))
        try:
            yield Room(store, worker, kept)
        finally:
            await kept.aclose()
    finally:
        await store.aclose()


async def doomed(open_store: OpenStore, act: Callable[[Room], Awaitable[T]]) -> tuple[str, T]:
    """Let a worker do something and die; return its id and what it did. Others may bury it from now on."""
    async with room(open_store, lease=SHORT_LEASE) as other:
        assert await other.lease.renew()
        done = await act(other)
    return other.worker, done


async def bury(store: Store, worker_id: str) -> None:
    """Bury a worker as soon as its lease has passed."""

    async def buried() -> bool:
        (record,) = [one for one in await store.list_workers() if one.worker_id == worker_id]
        return record.expired and await store.bury_worker(worker_id, record.renewals)

    await eventually(buried)


async def die_with_runs(open_store: OpenStore, survivor: Room) -> None:
    """Let a worker die that owns every run it can get, and free what it owned."""

    async def claim(other: Room) -> None:
        probationer = await other.probationer()
        assert await other.claim(100) or probationer is not None

    worker, _ = await doomed(open_store, claim)
    await bury(survivor.store, worker)
    await survivor.store.take_over(1000)


async def eventually(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that has to happen soon."""
    deadline = time.monotonic() + PATIENCE
    while not await happened():
        assert time.monotonic() < deadline, f"did not happen in {PATIENCE:g} s"
        await asyncio.sleep(0.01)
