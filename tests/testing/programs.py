"""Workflows that the tests of `durable.testing` run."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durable import RetryPolicy, Signal, activity, workflow

stop = Signal("testing.stop", str)


@activity.defn(name="testing.charge")
async def charge(customer: str, cents: int = 900) -> str:
    return f"{customer} paid {cents}"


@activity.defn(name="testing.flaky", retry_policy=RetryPolicy(initial_interval=timedelta(minutes=5)))
async def flaky(customer: str) -> str:
    raise RuntimeError("the real one is not for tests")


@activity.defn(name="testing.plain")
def plain(number: int) -> int:
    return number + 1


@activity.defn(name="testing.far", task_queue="testing-far")
async def far(number: int) -> int:
    return number * 2


class Payments:
    @activity.method(name="testing.refund")
    async def refund(self, customer: str) -> int:
        raise NotImplementedError


@workflow.defn(name="testing.subscription")
async def subscription(customer: str, months: int) -> str:
    for _ in range(months):
        await charge(customer)
        try:
            return f"stopped: {await stop.receive(timeout=timedelta(days=30))}"
        except TimeoutError:
            pass
    return "ended"


@workflow.defn(name="testing.retried")
async def retried(customer: str) -> str:
    return await flaky(customer)


@workflow.defn(name="testing.broken")
async def broken(customer: str) -> str:
    await charge(customer)
    return {}[customer]


@workflow.defn(name="testing.waits")
async def waits() -> str:
    return await stop.receive()


@workflow.defn(name="testing.parent")
async def parent(number: int) -> int:
    await workflow.sleep(timedelta(days=1))
    return await child(number) + await far(number)


@workflow.defn(name="testing.child")
async def child(number: int) -> int:
    async with asyncio.timeout(timedelta(days=365).total_seconds()):
        await asyncio.sleep(3600)
    return await plain(number)


@workflow.defn(name="testing.refunds")
async def refunds(customer: str) -> int:
    return await Payments.refund(customer)


@workflow.defn(name="testing.Counter")
class Counter:
    def __init__(self) -> None:
        self.total = 0

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.total >= 3)
        return self.total

    @workflow.update
    async def add(self, number: int) -> int:
        await workflow.sleep(3600)
        self.total += number
        return self.total
