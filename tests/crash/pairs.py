"""Parents and children that end at the same instant, in different processes, and what they say to each other doing so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from enum import IntEnum
from typing import Any

from durable import ApplicationError, Client, Signal, Worker, WorkflowFailureError, workflow
from durable.client import WorkflowHandle
from durable.exceptions import WorkflowNotFoundError
from durable.workflow import ParentClosePolicy

go: Signal[None] = Signal[None]("pairs.go")
word: Signal[str] = Signal("pairs.word", str)

STARTED = 3
"""Events of a parent whose child is there."""

CHILDREN = "pairs-children"
"""The queue of children, which another process serves."""


class Way(IntEnum):
    """What a pair does to each other as it ends.

    The first two are the close policies of the parent. In the others one or both also send a signal first, which the
    receiver may be too late for.
    """

    TERMINATES = 0
    CANCELS = 1
    PARENT_SPEAKS = 2
    CHILD_SPEAKS = 3
    BOTH_SPEAK = 4

    @property
    def cancels(self) -> bool:
        """Whether the parent's end asks the child to end, instead of ending it."""
        return self in (Way.CANCELS, Way.CHILD_SPEAKS)

    @property
    def ends_it(self) -> str:
        """The status of a child that was too late."""
        return "CANCELED" if self.cancels else "TERMINATED"


def child_id(number: int) -> str:
    """The id of a pair's child."""
    return f"child-{number}"


@workflow.defn(name="pairs.child")
async def child(way: int) -> str:
    await go.receive()
    if way in (Way.CHILD_SPEAKS, Way.BOTH_SPEAK):
        parent = workflow.info().parent
        assert parent is not None
        with contextlib.suppress(ApplicationError):  # it has ended
            await workflow.get_external_workflow_handle(parent.workflow_id).signal(word("from the child"))
    return "returned"


@workflow.defn(name="pairs.parent")
async def parent(number: int, way: int) -> str:
    mine = await child.options(
        id=child_id(number),
        task_queue=CHILDREN,
        parent_close_policy=ParentClosePolicy.REQUEST_CANCEL
        if Way(way).cancels
        else ParentClosePolicy.TERMINATE,
    ).start(way)
    await go.receive()
    if way in (Way.PARENT_SPEAKS, Way.BOTH_SPEAK):
        with contextlib.suppress(ApplicationError):
            await mine.signal(word("from the parent"))
    return "returned"


def main(url: str, queue: str) -> None:
    """Serve one of the two queues until killed."""
    logging.disable()

    async def work() -> None:
        async with Client.connect(url) as client:
            served: list[Any] = [child] if queue == CHILDREN else [parent]
            await Worker(
                client,
                task_queue=queue,
                workflows=served,
                activities=[],
                lease_duration=5,
                poll_interval=0.05,
            ).run()

    asyncio.run(work())


async def end_together(client: Client, number: int, chance: random.Random) -> tuple[str, str]:
    """Start a pair, tell both to end when both wait for it, and return its way and the child's status."""
    way = Way(number % len(Way))
    handle = await client.start_workflow(
        parent(number, way), id=f"parent-{number}", task_queue="pairs-parents"
    )
    kid = client.get_workflow_handle(child_id(number))
    while len((await handle.fetch_history()).events) < STARTED:
        await asyncio.sleep(0.01)
    both = [handle.signal(go()), _tell(kid)]
    chance.shuffle(both)
    await asyncio.gather(*both)
    assert await handle.result(timeout=120) == "returned"
    with contextlib.suppress(WorkflowFailureError):  # its parent was first
        await kid.result(timeout=120)
    return way.name, (await kid.describe()).status.name


async def _tell(kid: WorkflowHandle[Any, Any]) -> None:
    with contextlib.suppress(WorkflowNotFoundError):  # its parent was so fast that it is closed
        await kid.signal(go())
