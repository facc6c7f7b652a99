"""The people at the other end of the letters. They answer by signals, some of them not at all."""

from __future__ import annotations

import asyncio

from database import Database
from policies import Card, Policy, card_updated, survey_received

from durable import Client
from durable.exceptions import WorkflowNotFoundError

POST = 0.2
"""Seconds between two rounds of the postman."""


async def answer_letters(client: Client, database: Database, policies: list[Policy]) -> None:
    """Answer letters, for ever.

    A letter is marked when its answer was sent, so after a crash one may be answered twice. That does no harm: a policy
    takes one answer and leaves the other.
    """
    by_id = {policy.id: policy for policy in policies}
    while True:
        letters = await database.fetch(
            "select idempotency_key, kind, policy from letters where answered = 0 and kind <> 'cancellation'"
        )
        for key, kind, policy_id in letters:
            await answer(client, kind, by_id[policy_id])
            await database.execute("update letters set answered = 1 where idempotency_key = $1", key)
        await asyncio.sleep(POST)


async def answer(client: Client, kind: str, policy: Policy) -> None:
    """Answer one letter."""
    handle = client.get_workflow_handle(policy.id)
    try:
        if kind == "survey":
            await handle.signal(survey_received(f"The {policy.kind} is in good order."))
        elif policy.renews_card:
            await handle.signal(
                card_updated(Card(number=f"{policy.card.number}-new", valid_months=policy.months))
            )
    except WorkflowNotFoundError:
        pass  # the answer came too late: the policy has ended
