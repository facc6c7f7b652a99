"""A person decides, or time runs out: a workflow that waits for a signal with a deadline."""

import asyncio
import sys
from dataclasses import dataclass

from durable import Client, Query, Signal, Worker, activity, workflow


@dataclass
class Document:
    id: str
    title: str


@dataclass
class Decision:
    ok: bool
    by: str


decide = Signal("decide", Decision)


@Query
def status() -> str: ...


@activity.defn
async def ask_approver(document: Document) -> None:
    print(f"approver: please read {document.title!r}")


@workflow.defn
async def publish(document: Document, days: float) -> str:
    state = "waiting for a decision"
    workflow.set_handler(status, lambda: state)
    await ask_approver(document)
    try:
        decision = await decide.receive(timeout=days)
    except TimeoutError:
        return "expired"
    state = f"decided by {decision.by}"
    return "approved" if decision.ok else "rejected"


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        first = await client.start_workflow(publish(Document("7", "Terms"), 60.0), id="doc-7")
        print("doc-7 is", await first.query(status()))
        await first.signal(decide(Decision(ok=True, by="ada")))  # from any process, with the id alone
        print("doc-7:", await first.result(), "and", await first.query(status()))

        second = await client.start_workflow(publish(Document("8", "Imprint"), 0.5), id="doc-8")
        print("doc-8:", await second.result())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
