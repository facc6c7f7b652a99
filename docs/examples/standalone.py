"""Activities without a workflow: a job queue that is awaited, listed, cancelled and operated."""

import asyncio
import sys

from durable import Client, RetryPolicy, Worker, activity
from durable.client import ActivityFailureError, ActivityStart


@activity.defn(retry_policy=RetryPolicy(maximum_attempts=3))
async def resize(picture: str, width: int) -> str:
    if width <= 0:
        raise ValueError("a picture has a width")
    return f"{picture} at {width}"


async def main(url: str) -> None:
    async with Client.connect(url) as client:
        # Whoever starts them needs no worker; the ids make a repeated start harmless.
        handles = await client.start_activities(
            [ActivityStart(resize, f"{n}.jpg", 100 * n, id=f"resize-{n}") for n in (1, 2, 3)]
        )
        later = await client.start_activity(resize, "4.jpg", 400, id="resize-4", start_delay=3600)
        await later.cancel("no longer wanted")

        async with Worker(client, activities=[resize]):
            for handle in handles:
                print(await handle.result())
            print(await client.execute_activity(resize("5.jpg", 500), id="resize-5"))
        try:
            await later.result()
        except ActivityFailureError as error:
            print(f"resize-4: {error.cause}")
        counted = await client.count_activities("ActivityType = 'resize' GROUP BY ExecutionStatus")
        print(", ".join(f"{group.count} {group.group_values[0]}" for group in counted.groups))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite://:memory:"))
