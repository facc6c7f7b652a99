"""What policies do to the world: rows in the database, calls of the payment gateway, letters.

Each of these may run more than once for one call: after an error, and when its worker was killed before the result was
recorded. `activity.info().idempotency_key` is the same every time, so a row with that key is inserted once, and a charge
with that key is made once.
"""

from __future__ import annotations

from database import Database
from gateway import CardDeclined, Gateway
from policies import OFFICE, Card, Invoice, Policy

from durable import RetryPolicy, activity

UNTIL_IT_WORKS = RetryPolicy(
    initial_interval=0.1, maximum_interval=1.0, non_retryable_error_types=[CardDeclined]
)
"""Any number of attempts, and never a second one with a card that was declined."""


class Billing:
    """Invoices and payments."""

    def __init__(self, database: Database, gateway: Gateway) -> None:
        self._database = database
        self._gateway = gateway

    @activity.method(retry_policy=UNTIL_IT_WORKS)
    async def write_invoice(self, policy: Policy, month: int) -> Invoice:
        """Insert the invoice for a month and return it."""
        invoice = Invoice(f"{policy.id}/{month:02}", policy.id, month, policy.premium_cents)
        await self._database.execute(
            "insert into invoices (idempotency_key, number, policy, month, cents) values ($1, $2, $3, $4, $5) "
            "on conflict (idempotency_key) do nothing",
            activity.info().idempotency_key,
            invoice.number,
            invoice.policy_id,
            invoice.month,
            invoice.cents,
        )
        return invoice

    @activity.method(retry_policy=UNTIL_IT_WORKS)
    async def charge(self, invoice: Invoice, card: Card) -> None:
        """Charge a card with an invoice and insert the payment.

        Raises:
            CardDeclined: The card will not do; another one is needed.
        """
        key = activity.info().idempotency_key
        await self._gateway.charge(key, invoice, card)
        await self._database.execute(
            "insert into payments (idempotency_key, invoice, cents) values ($1, $2, $3) "
            "on conflict (idempotency_key) do nothing",
            key,
            invoice.number,
            invoice.cents,
        )


class Office:
    """Letters. Policies call these from the billing workers; they run in the office's process."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.method(task_queue=OFFICE, retry_policy=UNTIL_IT_WORKS)
    async def remind(self, policy: Policy, invoice: Invoice) -> None:
        """Tell the holder that a card was declined. The answer, if one comes, is the signal `card_updated`."""
        await self._send("reminder", policy.id, f"Your card was declined for invoice {invoice.number}.")

    @activity.method(task_queue=OFFICE, retry_policy=UNTIL_IT_WORKS)
    async def request_survey(self, policy: Policy) -> None:
        """Ask a surveyor for a report. The answer is the signal `survey_received`."""
        await self._send("survey", policy.id, f"Please survey the {policy.kind} of {policy.holder}.")

    @activity.method(task_queue=OFFICE, retry_policy=UNTIL_IT_WORKS)
    async def notify_cancellation(self, policy: Policy, invoice: Invoice) -> None:
        """Tell the holder that the policy has ended."""
        await self._send(
            "cancellation", policy.id, f"Invoice {invoice.number} was not paid; your policy has ended."
        )

    async def _send(self, kind: str, policy_id: str, text: str) -> None:
        await self._database.execute(
            "insert into letters (idempotency_key, kind, policy, text) values ($1, $2, $3, $4) "
            "on conflict (idempotency_key) do nothing",
            activity.info().idempotency_key,
            kind,
            policy_id,
            text,
        )
