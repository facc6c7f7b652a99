"""An agent: a model and its tools in a loop. Every answer is recorded, so a crash costs no second call of the model."""

import asyncio
import sys
from dataclasses import dataclass, field

from durable import ApplicationError, Client, RetryPolicy, Worker, activity, workflow


@dataclass
class Call:
    tool: str
    argument: str


@dataclass
class Reply:
    text: str
    calls: list[Call] = field(default_factory=list[Call])


@activity.defn(start_to_close_timeout=60, retry_policy=RetryPolicy(initial_interval=0.05, maximum_attempts=5))
async def call_llm(messages: list[str]) -> Reply:
    """A model that was replaced by its most predictable relative. It fails the first time, as they do."""
    if activity.info().attempt == 1:
        raise ConnectionError("overloaded")
    if len(messages) == 1:
        return Reply("I will look that up.", [Call("weather", "Oslo"), Call("weather", "Rome")])
    return Reply(f"It is {messages[-2]}, and {messages[-1]}.")


@activity.defn
async def run_tool(call: Call) -> str:
    print(f"tool: {call.tool}({call.argument})")
    return f"{ {'Oslo': 3, 'Rome': 18}[call.argument] } degrees in {call.argument}"


@workflow.defn
async def agent(prompt: str) -> str:
    messages = [prompt]
    for _ in range(20):
        reply = await call_llm(messages)
        messages.append(reply.text)
        if not reply.calls:
            return reply.text
        messages += await asyncio.gather(*[run_tool(call) for call in reply.calls])
    raise ApplicationError("too many turns")


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        print(await client.execute_workflow(agent("How warm is it in Oslo and Rome?"), id="agent-1"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
