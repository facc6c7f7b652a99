"""What the insurer knows: policies, cards, invoices, and what can be said to a policy while it runs."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from durable import Signal

CSV = Path(__file__).with_name("policies.csv")

BILLING = "billing"
"""The task queue of the workers that run policies, write invoices and charge cards."""

OFFICE = "office"
"""The task queue of the worker that writes letters. It is another process, with other code."""


@dataclass(frozen=True)
class Card:
    """A payment card. It can be charged in the first `valid_months` months of a policy."""

    number: str
    valid_months: int


@dataclass(frozen=True)
class Policy:
    """One insurance policy: a row of the CSV."""

    id: str
    holder: str
    kind: str
    premium_cents: int
    months: int
    card: Card
    needs_survey: bool
    renews_card: bool
    """Whether the holder will send a new card when asked. Only `customers.py` and `report.py` may look at this."""

    @property
    def ends_early(self) -> bool:
        """Whether it will be cancelled: the card expires on the way and no other one comes."""
        return self.card.valid_months < self.months and not self.renews_card

    @property
    def expected_payments(self) -> int:
        """How many months will be paid."""
        return self.card.valid_months if self.ends_early else self.months

    @property
    def expected_invoices(self) -> int:
        """How many invoices will be written: one for every month that is paid, and the one that is not."""
        return self.expected_payments + (1 if self.ends_early else 0)


@dataclass(frozen=True)
class Invoice:
    """One month of one policy."""

    number: str
    policy_id: str
    month: int
    cents: int


@dataclass(frozen=True)
class Pace:
    """How fast time passes, in seconds."""

    month: float
    """How long a month takes."""
    deadline: float
    """How long a customer has to send a new card."""


card_updated = Signal("card_updated", Card)
survey_received = Signal("survey_received", str)


def read_policies(limit: int | None = None) -> list[Policy]:
    """Return the policies of the CSV, or the first few of them."""
    with CSV.open(newline="", encoding="utf-8") as file:
        return [_policy(row) for row in csv.DictReader(file)][:limit]


def _policy(row: dict[str, str]) -> Policy:
    euros, _, cents = row["premium"].partition(".")
    return Policy(
        id=row["policy"],
        holder=row["holder"],
        kind=row["kind"],
        premium_cents=int(euros) * 100 + int(cents),
        months=int(row["months"]),
        card=Card(row["card"], int(row["card_valid_months"])),
        needs_survey=row["needs_survey"] == "yes",
        renews_card=row["renews_card"] == "yes",
    )


def euros(cents: int) -> str:
    """Return an amount as people write it."""
    return f"{cents // 100:,}.{cents % 100:02}"
