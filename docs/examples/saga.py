"""A saga: when a later step fails, the earlier ones are undone, the last one first."""

import asyncio
import sys
from dataclasses import dataclass

from durable import ApplicationError, Client, Worker, WorkflowFailureError, activity, workflow


@dataclass
class Trip:
    id: str
    price: int


@activity.defn
async def book_flight(trip: Trip) -> str:
    print("flight booked")
    return f"flight-{trip.id}"


@activity.defn
async def cancel_flight(flight: str) -> None:
    print(f"{flight} cancelled")


@activity.defn
async def book_hotel(trip: Trip) -> str:
    print("hotel booked")
    return f"hotel-{trip.id}"


@activity.defn
async def cancel_hotel(hotel: str) -> None:
    print(f"{hotel} cancelled")


@activity.defn
async def charge(trip: Trip) -> str:
    if trip.price > 1000:
        raise ApplicationError("the card's limit is 1000", type="LimitExceeded", non_retryable=True)
    return f"receipt-{trip.id}"


@workflow.defn
async def book_trip(trip: Trip) -> str:
    async with workflow.saga() as saga:
        flight = await book_flight(trip)
        saga.compensate(cancel_flight, flight)
        hotel = await book_hotel(trip)
        saga.compensate(cancel_hotel, hotel)
        return await charge(trip)


async def main(url: str) -> None:
    async with Client.connect(url) as client, Worker(client):
        print(await client.execute_workflow(book_trip(Trip("a", 900)), id="trip-a"))
        try:
            await client.execute_workflow(book_trip(Trip("b", 1900)), id="trip-b")
        except WorkflowFailureError as error:
            failed = error.cause  # the workflow failed with its activity's error ...
            assert failed is not None
            print(f"trip-b failed: {failed.__cause__}")  # ... whose cause is what the activity raised


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:] or ["sqlite://:memory:"]))
