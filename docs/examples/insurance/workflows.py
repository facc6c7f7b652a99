"""The life of a policy, as one function. It is stopped and killed on the way, and goes on where it was."""

from __future__ import annotations

from activities import Billing, Office
from policies import BILLING, Card, Invoice, Pace, Policy, card_updated, survey_received

from durable import ActivityError, workflow


@workflow.defn(task_queue=BILLING)
async def insure(policy: Policy, pace: Pace) -> str:
    """Invoice and charge every month, until the policy ends or nobody pays for it. Return how it ended."""
    card = policy.card
    for month in range(1, policy.months + 1):
        if month == 2 and policy.needs_survey:
            await Office.request_survey(policy)
            await survey_received.receive()

        invoice = await Billing.write_invoice(policy, month)
        paid_with = await collect(policy, invoice, card, pace)
        if paid_with is None:
            await Office.notify_cancellation(policy, invoice)
            return "cancelled"
        card = paid_with

        await workflow.sleep(pace.month, summary="a month")
    return "completed"


async def collect(policy: Policy, invoice: Invoice, card: Card, pace: Pace) -> Card | None:
    """Charge an invoice, and return the card that paid it; None when no card did."""
    while True:
        try:
            await Billing.charge(invoice, card)
        except ActivityError:  # the card was declined; whatever else goes wrong is tried again
            await Office.remind(policy, invoice)
            try:
                card = await card_updated.receive(timeout=pace.deadline)
            except TimeoutError:
                return None
        else:
            return card
