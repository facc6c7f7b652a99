"""Fan out: thirty activities, ten at a time, results in order."""

import asyncio
import sys

from durable import Client, Worker, activity, workflow

at_once = 0
most_at_once = 0


@activity.defn
async def resize(url: str) -> str:
    global at_once, most_at_once
    at_once += 1
    most_at_once = max(most_at_once, at_once)
    await asyncio.sleep(0.02)
    at_once -= 1
    return url.replace(".jpg", "-small.jpg")


@workflow.defn
async def gallery(urls: list[str]) -> list[str]:
    return await workflow.map(resize, urls, concurrency=10)


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        thumbs = await client.execute_workflow(gallery([f"{n}.jpg" for n in range(30)]), id="gallery-1")
        print(f"{len(thumbs)} thumbnails, from {thumbs[0]} to {thumbs[-1]}, {most_at_once} at a time")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
