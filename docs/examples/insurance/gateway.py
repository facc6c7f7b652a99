"""A payment gateway that behaves like a real one on a bad day.

It refuses calls, and it charges a card and then lets its answer get lost, so that the caller must ask again. What makes
that safe is the idempotency key: a repeated key gets the first answer and charges nothing.

Every call is a line in the gateway's own ledger, a file. It is the one witness here that neither the library nor the
database can influence, and the report at the end is held against it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

from policies import Card, Invoice

LATENCY = 0.01
"""Seconds until an answer comes."""

PATIENCE = 0.25
"""Seconds until a caller gives up on an answer that does not come."""

REFUSED = 0.08
"""The share of calls that are turned away before anything happens."""

LOST = 0.05
"""The share of calls that are carried out, and whose answer never arrives."""


class GatewayUnavailable(Exception):
    """The call was turned away. Nothing was charged; try again."""


class GatewayTimeout(Exception):
    """No answer came. The card may or may not have been charged; try again with the same key."""


class CardDeclined(Exception):
    """The card will not be charged, however often it is tried."""


@dataclass(frozen=True)
class Call:
    """One line of the ledger."""

    key: str
    invoice: str
    cents: int
    effect: str
    """What the call did: `charged`, `declined`, `refused` (nothing), or `repeated` (nothing: the key was known)."""
    answered: bool
    """Whether the caller got the answer."""


class Gateway:
    """The gateway, for one of the processes that share its ledger.

    Args:
        ledger: The file, made by the first call.
        seed: Which calls fail: the same ones for the same seed.
    """

    def __init__(self, ledger: Path, seed: int = 1) -> None:
        self._ledger = ledger
        self._seed = seed
        self._guard = threading.Lock()
        self._read = 0
        self._effects: dict[str, str] = {}
        self._calls: dict[str, int] = {}

    async def charge(self, key: str, invoice: Invoice, card: Card) -> None:
        """Charge a card with an invoice.

        Raises:
            GatewayUnavailable, GatewayTimeout: Try again, with the same key.
            CardDeclined: Do not.
        """
        await asyncio.sleep(LATENCY)
        call = await asyncio.to_thread(self._carry_out, key, invoice, card)
        if call.effect == "refused":
            raise GatewayUnavailable("503 Service Unavailable")
        if not call.answered:
            await asyncio.sleep(PATIENCE)
            raise GatewayTimeout(f"no answer within {PATIENCE} seconds")
        if self._effects[key] == "declined":
            raise CardDeclined(f"card {card.number} was declined")

    def _carry_out(self, key: str, invoice: Invoice, card: Card) -> Call:
        """Decide about a call and write it down, before any other call of any process is looked at."""
        with self._guard, self._ledger.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed, or its process killed
            self._catch_up(file.fileno())
            call = self._decide(key, invoice, card)
            line = json.dumps(asdict(call)).encode() + b"\n"
            os.write(file.fileno(), line)
            os.fsync(file.fileno())
            self._remember(call)
            self._read += len(line)
        return call

    def _decide(self, key: str, invoice: Invoice, card: Card) -> Call:
        chance = random.Random(f"{self._seed} {invoice.number} {self._calls.get(invoice.number, 0)}").random()
        if chance < REFUSED:
            effect = "refused"
        elif key in self._effects:
            effect = "repeated"
        else:
            effect = "charged" if invoice.month <= card.valid_months else "declined"
        return Call(key, invoice.number, invoice.cents, effect, answered=chance >= REFUSED + LOST)

    def _catch_up(self, file: int) -> None:
        """Read what other processes have written since."""
        written = os.pread(file, os.fstat(file).st_size - self._read, self._read)
        whole = written.rfind(b"\n") + 1
        os.ftruncate(
            file, self._read + whole
        )  # a line without its end is a caller that was killed: it never was
        for line in written[:whole].splitlines():
            self._remember(Call(**json.loads(line)))
        self._read += whole

    def _remember(self, call: Call) -> None:
        self._calls[call.invoice] = self._calls.get(call.invoice, 0) + 1
        if call.effect in ("charged", "declined"):
            self._effects[call.key] = call.effect


def read_ledger(ledger: Path) -> list[Call]:
    """Return every call that the gateway ever had."""
    if not ledger.exists():
        return []
    return [Call(**json.loads(line)) for line in ledger.read_text().splitlines()]
