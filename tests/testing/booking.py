"""A workflow whose history the debugger's tests look at; its lines are known to them by what they say."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from durable import Signal, activity, workflow


@dataclass
class Trip:
    to: str
    cents: int = 100


decide = Signal("booking.decide", str)


@activity.defn(name="booking.reserve")
async def reserve(trip: Trip) -> str:
    return "seat 7"


@activity.defn(name="booking.charge")
async def charge(trip: Trip, seat: str) -> str:
    return f"receipt for {seat}"


async def remind(hours: int) -> None:
    while True:
        await workflow.sleep(hours * 3600)
        hours *= 2


@workflow.defn(name="booking.book")
async def book(trip: Trip) -> str:
    reminder = asyncio.create_task(remind(1), name="reminder")
    seat = await reserve(trip)
    answer = await decide.receive()
    reminder.cancel()
    total = trip.cents * 2
    receipt = await charge(trip, seat)
    return f"{answer}, {receipt}, {total}"


@workflow.defn(name="booking.book")
async def book_otherwise(trip: Trip) -> str:
    reminder = asyncio.create_task(remind(1), name="reminder")
    seat = await reserve(trip)
    answer = await decide.receive()
    reminder.cancel()
    return f"{answer} {await reserve(trip)} {seat}"


@workflow.defn(name="booking.book")
class Broken:
    def __init__(self) -> None:
        self.seat = ""

    @workflow.run
    async def run(self, trip: Trip) -> str:
        self.reminder = asyncio.create_task(remind(1), name="reminder")
        self.seat = await reserve(trip)
        raise KeyError(self.seat)
