"""What the processes that are killed run: workflows, activities that leave a trace of every execution, and their drivers.

Each activity writes a line into a file of its own when it begins and another when it ends, with its idempotency key. The
file is appended to with one `write` a line, so it survives a SIGKILL of whoever writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from durable import (
    ActivityCancellationType,
    ActivityError,
    ApplicationError,
    Client,
    RetryPolicy,
    Signal,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
    activity,
    workflow,
)
from durable.client import WithStartWorkflowOperation
from durable.converter import DataConverter
from durable.exceptions import (
    CancelledError,
    TerminatedError,
    WorkflowAlreadyStartedError,
    WorkflowFailureError,
    WorkflowNotFoundError,
    WorkflowUpdateFailedError,
)
from durable.workflow._workflow import definition_of
from tests.store.codecs import Nonces

# --- the ledger ---

_ledger: int | None = None


def open_ledger(path: str) -> None:
    global _ledger
    _ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def note(**line: Any) -> None:
    if _ledger is not None:
        os.write(_ledger, json.dumps({"pid": os.getpid(), "at": time.time(), **line}).encode() + b"\n")


@contextlib.contextmanager
def effect(**more: Any) -> Iterator[None]:
    """Around the body of an activity: what it did to the world, and how that ended."""
    info = activity.info()
    about = {
        "key": info.idempotency_key,
        "activity": info.activity_type,
        "id": info.activity_id,
        "run": info.workflow_run_id,
        "workflow": info.workflow_id,
        "attempt": info.attempt,
        **more,
    }
    note(phase="begin", **about)
    try:
        yield
    except BaseException as error:
        note(phase="fail", error=type(error).__name__, **about)
        raise
    note(phase="end", **about)


# --- activities ---

SOON = RetryPolicy(initial_interval=0.02, maximum_interval=0.1)


@activity.defn(name="crash.step", retry_policy=SOON)
async def step(i: int) -> int:
    with effect():
        await asyncio.sleep(0.002)
        return i * 10


@activity.defn(name="crash.blocking_step", retry_policy=SOON)
def blocking_step(i: int) -> int:
    with effect():
        time.sleep(0.002)
        return i * 10


@activity.defn(name="crash.once", retry_policy=RetryPolicy(maximum_attempts=1))
async def once(i: int) -> int:
    with effect():
        return i * 100


@activity.defn(name="crash.shaky", retry_policy=SOON)
async def shaky(failures: int) -> int:
    with effect():
        if activity.info().attempt <= failures:
            raise ValueError(f"attempt {activity.info().attempt} fails")
        return activity.info().attempt


@activity.defn(name="crash.refused", retry_policy=SOON)
async def refused() -> None:
    with effect():
        raise ApplicationError("never again", type="Refused", non_retryable=True)


@activity.defn(name="crash.beating", retry_policy=SOON, heartbeat_timeout=2.0)
async def beating(steps: int) -> list[int]:
    details = activity.info().heartbeat_details
    done: list[int] = list(details[0]) if details else []
    with effect(resumed=len(done)):
        while len(done) < steps:
            done.append(len(done))
            activity.heartbeat(done)
            await asyncio.sleep(0.03)
        return done


@activity.defn(name="crash.slow", retry_policy=SOON)
async def slow(seconds: float) -> str:
    with effect():
        await asyncio.sleep(seconds)
        return "slow"


@activity.defn(name="crash.elsewhere", retry_policy=SOON)
async def elsewhere(until: str) -> str:
    """Runs until a file is there; on a queue that only some processes serve."""
    with effect():
        while not os.path.exists(until):  # noqa: ASYNC240 - who opens the door is another process
            await asyncio.sleep(0.01)
        return f"ran in {os.getpid()}"


@activity.defn(
    name="crash.lasting",
    retry_policy=SOON,
    heartbeat_timeout=2.0,
    cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
)
def lasting() -> None:
    """Runs in its thread until it is interrupted there."""
    with effect():
        while True:
            activity.heartbeat()
            time.sleep(0.005)


# --- workflows ---

go: Signal[str] = Signal("crash.go", str)


@workflow.defn(name="crash.sequence")
async def sequence(count: int) -> list[int]:
    return [await (step(i) if i % 2 == 0 else blocking_step(i)) for i in range(count)]


@workflow.defn(name="crash.fan")
async def fan(width: int) -> list[Any]:
    async def at_most_once(i: int) -> Any:
        try:
            return await once(i)
        except ActivityError:
            return "lost"

    return await asyncio.gather(*[step(i) for i in range(width)], *[at_most_once(i) for i in range(width)])


@workflow.defn(name="crash.waits")
async def waits() -> list[Any]:
    await asyncio.sleep(0.05)
    first = await step(1)
    said = await go.receive(timeout=60)
    async with asyncio.TaskGroup() as group:
        timer = group.create_task(asyncio.sleep(0.05, "slept"))
        second = group.create_task(_step(2))
    return [first, said, timer.result(), second.result()]


@workflow.defn(name="crash.continues")
async def continues(year: int) -> list[Any]:
    if year == 0:
        # The signal is there before the end of this run, which leaves it to the next ones.
        await asyncio.sleep(0.2)
    done = await step(1)
    if year == 0:
        workflow.continue_as_new(1)
    attempt = workflow.info().attempt
    if attempt == 1:
        raise ApplicationError("not at first")
    return [done, await go.receive(timeout=60), attempt]


async def _step(i: int) -> int:
    return await step(i)


@workflow.defn(name="crash.retries")
async def retries() -> list[Any]:
    found: list[Any] = [await shaky(2)]
    try:
        await refused()
    except ActivityError as error:
        found.append(str(error.cause))
    return [found[0] >= 3, *found[1:]]


@workflow.defn(name="crash.beats")
async def beats(side: str) -> list[int]:
    return await workflow.execute_activity(beating, 3, task_queue=side)


@workflow.defn(name="crash.cancels")
async def cancels() -> str:
    await step(1)
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await step(2)
        raise
    return "never"


async def _lasting() -> None:
    # One whose worker is killed before it has heard of the cancel is lost, and not tried again only to be cancelled.
    with contextlib.suppress(ActivityError):
        await workflow.execute_activity(lasting)


@workflow.defn(name="crash.tidies")
async def tidies() -> list[Any]:
    said: list[Any] = [workflow.cancellation_reason()]
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_lasting())
            group.create_task(workflow.sleep(3600))
    except asyncio.CancelledError:
        said.append(workflow.cancellation_reason())
        said.append(await asyncio.shield(_step(2)))
    return said


@workflow.defn(name="crash.exits")
async def exits(code: int) -> None:
    await step(0)
    note(phase="exits")
    os._exit(code)


@workflow.defn(name="crash.loops")
async def loops() -> None:
    await step(0)
    while True:
        pass


@workflow.defn(name="crash.parked")
async def parked() -> str:
    return await go.receive()


@workflow.defn(name="crash.sibling")
async def sibling(seconds: float) -> str:
    return await slow(seconds)


@workflow.defn(name="crash.remote")
async def remote(queue: str, until: str) -> str:
    return await workflow.execute_activity(elsewhere, until, task_queue=queue)


@workflow.defn(name="crash.long")
async def long(steps: int) -> int:
    total = 0
    for i in range(steps):
        total += await step(i)
        await asyncio.sleep(0.005)
    return total


@workflow.defn(name="crash.child")
async def child(i: int) -> int:
    return await step(i)


@workflow.defn(name="crash.children")
async def children() -> list[Any]:
    """Children that return, that are signalled, and that end with it; and somebody who is not there."""
    listener = await parked.start()
    await parked.options(id=f"{workflow.info().workflow_id}-condemned").start()
    found: list[Any] = list(await asyncio.gather(child(1), child(2)))
    await listener.signal(go("heard"))
    try:
        await workflow.get_external_workflow_handle("nobody").signal(go("unheard"))
    except ApplicationError as error:
        found.append(error.type)
    return [*found, await listener]


@workflow.defn(name="crash.account")
class Account:
    """Nobody may take more than there is, whoever is killed meanwhile."""

    def __init__(self) -> None:
        self.balance = 100
        self.closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.closed and workflow.all_handlers_finished())
        return self.balance

    @workflow.update
    async def charged(self, fee: int) -> int:
        self.balance -= fee + await step(fee)
        return self.balance

    @workflow.update
    def withdraw(self, amount: int) -> int:
        self.balance -= amount
        return self.balance

    @withdraw.validator
    def _enough(self, amount: int) -> None:
        if self.balance <= 0:
            raise ApplicationError("not enough", type="Insufficient")

    @workflow.signal
    def close(self) -> None:
        self.closed = True


WORKFLOWS = [
    sequence, fan, waits, retries, beats, cancels, tidies, exits, loops, parked, sibling, remote, long, child, children,
    continues, Account,
]  # fmt: skip
ACTIVITIES = [step, blocking_step, once, shaky, refused, beating, lasting, slow, elsewhere]
DEFINITIONS = {one.name: one for one in map(definition_of, WORKFLOWS)}


# --- drivers: what a client does with them; each may be run again from the start by another process ---

Drive = Callable[[Client, str, str], Awaitable[Any]]


@dataclass(frozen=True)
class Scenario:
    """A canonical workflow, how it is driven, and which results are right."""

    name: str
    drive: Drive
    right: Callable[[Any], bool]
    status: str = "COMPLETED"
    commits: int = 1_000
    """Commits that each of its lives has; whether there are more depends on what happens to share one."""
    converter: DataConverter | None = None


@contextlib.asynccontextmanager
async def _again() -> AsyncIterator[None]:
    """What a driver that comes back may find: it is closed already."""
    try:
        yield
    except WorkflowNotFoundError as error:
        if "closed" not in str(error):
            raise


async def _start(client: Client, call: Any, workflow_id: str, queue: str, **options: Any) -> Any:
    try:
        return await client.start_workflow(
            call,
            id=workflow_id,
            task_queue=queue,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            **options,
        )
    except WorkflowAlreadyStartedError:
        return client.get_workflow_handle(workflow_id)


async def _sequence(client: Client, workflow_id: str, queue: str) -> Any:
    return await (await _start(client, sequence(4), workflow_id, queue)).result()


async def _fan(client: Client, workflow_id: str, queue: str) -> Any:
    return await (await _start(client, fan(3), workflow_id, queue)).result()


async def _waits(client: Client, workflow_id: str, queue: str) -> Any:
    handle = await _start(client, waits(), workflow_id, queue)
    async with _again():
        await handle.signal(go("now"))
    return await handle.result()


async def _retries(client: Client, workflow_id: str, queue: str) -> Any:
    return await (await _start(client, retries(), workflow_id, queue)).result()


async def _beats(client: Client, workflow_id: str, queue: str) -> Any:
    return await (await _start(client, beats(f"{queue}-side"), workflow_id, queue)).result()


async def _cancels(client: Client, workflow_id: str, queue: str) -> Any:
    handle = await _start(client, cancels(), workflow_id, queue)
    async with _again():
        while len((await handle.fetch_history()).events) < 3:
            await asyncio.sleep(0.01)
        await handle.cancel("enough")
    try:
        return await handle.result()
    except WorkflowFailureError as error:
        if not isinstance(error.cause, CancelledError):
            raise
        return "cancelled"


async def _tidies(client: Client, workflow_id: str, queue: str) -> Any:
    handle = await _start(client, tidies(), workflow_id, queue)
    async with _again():
        while len((await handle.fetch_history()).events) < 3:
            await asyncio.sleep(0.01)
        await handle.cancel("enough")
    return await handle.result()


async def _continues(client: Client, workflow_id: str, queue: str) -> Any:
    handle = await _start(client, continues(0), workflow_id, queue, retry_policy=SOON)
    async with _again():
        await handle.signal(go("once"))
    return await handle.result()


async def _updates(client: Client, workflow_id: str, queue: str) -> Any:
    """Each update has an id of its own, so a driver that comes back sends none twice and is told the same."""
    operation = WithStartWorkflowOperation(
        Account.run(),
        id=workflow_id,
        task_queue=queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
    )
    try:
        first = await client.execute_update_with_start_workflow(
            Account.charged(5), id="with-start", start_workflow_operation=operation
        )
        handle: Any = await operation.workflow_handle()
    except WorkflowAlreadyStartedError:
        handle = client.get_workflow_handle(workflow_id)
        first = await handle.get_update_handle("with-start").result()

    async def withdraw(number: int) -> str:
        try:
            return f"left {await handle.execute_update('withdraw', 60, id=f'w{number}')}"
        except WorkflowUpdateFailedError as error:
            return str(error.cause)

    answers = await asyncio.gather(*[withdraw(number) for number in range(3)])
    async with _again():
        await handle.signal("close")
    return [first, sorted(answers), await handle.result()]


async def _children(client: Client, workflow_id: str, queue: str) -> Any:
    result = await (await _start(client, children(), workflow_id, queue)).result()
    try:
        await client.get_workflow_handle(f"{workflow_id}-condemned").result()
    except WorkflowFailureError as error:
        if not isinstance(error.cause, TerminatedError):
            raise
        return [*result, str(error.cause)]
    return result


def _children_right(result: Any) -> bool:
    return result == [10, 20, "ExternalWorkflowExecutionNotFound", "heard", "by parent close policy"]


def _updates_right(result: Any) -> bool:
    return result == [45, ["Insufficient: not enough", "Insufficient: not enough", "left -15"], -15]


def _fan_right(result: Any) -> bool:
    return result[:3] == [0, 10, 20] and all(
        got in (want, "lost") for got, want in zip(result[3:], (0, 100, 200), strict=True)
    )


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("sequence", _sequence, lambda result: result == [0, 10, 20, 30]),
        Scenario("fan", _fan, _fan_right),
        Scenario("waits", _waits, lambda result: result == [10, "now", "slept", 20], commits=6),
        Scenario("retries", _retries, lambda result: result == [True, "Refused: never again"]),
        Scenario("beats", _beats, lambda result: result == [0, 1, 2]),
        Scenario("tidies", _tidies, lambda result: result == [None, "enough", 20]),
        Scenario("children", _children, _children_right),
        Scenario("updates", _updates, _updates_right),
        Scenario("continues", _continues, lambda result: result == [10, "once", 2], commits=8),
        Scenario("coded", _children, _children_right, converter=DataConverter(payload_codec=Nonces())),
        Scenario("cancels", _cancels, lambda result: result == "cancelled", "CANCELED"),
    )
}
