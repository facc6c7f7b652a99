# pyright: strict
"""Mistakes as users make them. A checker has to complain about every line marked with a letter, and about no other.

`W` marks a message of another workflow's class, `E` everything else.
"""

from __future__ import annotations

from dataclasses import dataclass

from durable import Client, Query, Signal, activity, workflow


@dataclass
class Order:
    id: str


@dataclass
class Receipt:
    id: str


@dataclass
class Approval:
    by: str


@activity.defn(start_to_close_timeout=10)
async def charge(order: Order, cents: int = 0) -> Receipt: ...
@activity.defn
def send_mail(to: str) -> bool: ...
@activity.defn
async def refund(receipt: Receipt) -> None: ...


class Inventory:
    @activity.defn
    async def reserve(self, sku: str, n: int) -> str: ...

    @activity.method
    def release(self, sku: str) -> bool: ...


approved = Signal("approved", Approval)


@Query
def status() -> str: ...


@workflow.defn
async def checkout(order: Order, note: str = "") -> Receipt:
    receipt = await charge(order)
    async with workflow.saga() as saga:
        saga.compensate(refund, receipt)
        saga.compensate(refund, "bad")  # E compensation argument
    await charge("bad")  # E activity argument
    await charge(order, 5, 6)  # E too many arguments
    await charge()  # E missing argument
    await Inventory.reserve(3, "sku")  # E arguments of a method
    await Inventory.release(3)  # E arguments of a method, spelled `method`
    await workflow.map(send_mail, [1, 2])  # E items
    number: int = await charge(order)  # E result
    await workflow.execute_activity(charge, "bad", 5)  # E Temporal's spelling
    await workflow.execute_activity(charge, order, start_to_close_timout=1)  # E option
    charge.options(task_que="q")  # E option
    (await approved.receive()).to  # E signal's value  # noqa: B018
    workflow.set_handler(status, lambda: 3)  # E query's answer
    return receipt if number else number  # E workflow's result


@workflow.defn
class Publish:
    @workflow.run
    async def run(self, doc: str, n: int) -> Receipt: ...

    @workflow.signal
    def approve(self, approval: Approval) -> None: ...

    @workflow.query
    def state(self) -> str: ...

    @workflow.update
    async def rename(self, new: str) -> int: ...


@workflow.defn
class Other:
    @workflow.run
    async def run(self) -> int: ...

    @workflow.signal
    def ping(self, x: int) -> None: ...


@workflow.defn
async def parent(child_of: str | None) -> None:
    await checkout("bad")  # E child's argument
    await workflow.execute_child_workflow(checkout, "bad", "n")  # E child's argument, Temporal's spelling
    await workflow.execute_child_workflow(checkout(Order("1")), colour="red")  # E child's option
    if child_of is None:
        workflow.continue_as_new("bad", "n", workflow=checkout)  # E next run's argument, Temporal's spelling
    if child_of == "call":
        workflow.continue_as_new(checkout("bad", "n"))  # E next run's argument
    if child_of == "option":
        workflow.continue_as_new(checkout(Order("1"), "n"), colour="red")  # E next run's option
    child = await workflow.start_child_workflow(Publish.run, "doc", 3)
    await child.signal(Publish.approve("bad"))  # E signal's argument to a child
    await child.signal(Other.ping(1))  # W signal of another workflow to a child
    other = workflow.get_external_workflow_handle_for(Publish.run, "p")
    await other.signal(Other.ping(1))  # W signal of another workflow to an external one


async def main(client: Client) -> None:
    handle = await client.start_workflow(checkout(Order("1"), note="n"), id="order-1")
    publishing = await client.start_workflow(Publish.run("doc", n=3), id="p")
    await client.start_workflow(checkout("bad"), id="x")  # E input
    await client.start_activity(charge, "bad", 5, id="x")  # E argument of an activity by itself
    await client.start_activity(charge, Order("1"), 5)  # E its id
    await client.execute_activity(send_mail, "ada", id="x", start_dely=3)  # E its option
    await client.start_workflow(Publish.run("doc", "x"), id="x")  # E second input
    await client.start_workflow(Publish.run("doc"), id="x")  # E missing input
    await publishing.signal(Publish.approve("bad"))  # E signal's argument
    await publishing.signal(Other.ping(1))  # W signal of another workflow
    await handle.signal(approved("bad"))  # E signal's value
    Publish.rename(3)  # E update's argument
    await publishing.execute_update(Publish.rename, 3)  # E update's argument, Temporal's spelling
    await handle.execute_update(Publish.rename("x"))  # W update of a class to a function
    await publishing.query(Publish.state(1))  # E query's argument
    await client.start_workflow(checkout, "bad", "n", id="x")  # E Temporal's spelling
    await client.start_workflow(Publish.run, "doc", "x", id="x")  # E Temporal's spelling, second
    await client.start_workflow(Publish.run, "doc", id="x")  # E Temporal's spelling, missing
    await handle.signal(Publish.approve(Approval("me")))  # W signal of a class to a function
    result: int = await handle.result()  # E workflow's result
    print(result)
