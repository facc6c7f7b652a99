"""What a step of one workflow alone costs the event loop: passes, each a call of the kernel, counted and not timed."""

from __future__ import annotations

import asyncio

from durable import Client, Worker, activity, workflow

STEPS = 100


@activity.defn(name="passes.more")
async def more(number: int) -> int:
    return number + 1


@workflow.defn(name="passes.count")
async def count(steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await more(number)
    return number


class Counting(asyncio.SelectorEventLoop):
    passes = 0

    def _run_once(self) -> None:
        self.passes += 1
        super()._run_once()  # type: ignore[misc]


def test_a_step_takes_three_passes_of_the_event_loop(store_url: str) -> None:
    async def work() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Counting)
        async with Client.connect(store_url) as client, Worker(client, workflows=[count], activities=[more]):
            await client.execute_workflow(count(1))
            before = loop.passes
            assert await client.execute_workflow(count(STEPS)) == STEPS
            return loop.passes - before

    with asyncio.Runner(loop_factory=Counting) as runner:
        passes = runner.run(work())
    # The answer arrives; the committer takes it; the code has its turn, and what it asked for is sent. The rest is what
    # beginning and end cost, and a watchdog and glances that come by while a slow disk is waited for.
    assert 3 * STEPS <= passes <= 3.6 * STEPS + 30
