"""The two stores answer alike and hold the same; `DURABLE_DUELS=200` plays more, and wants every operation to take effect."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from durable.testing._servers._server import PostgresServer
from tests.differential import campaign as campaigns
from tests.differential import runs
from tests.differential.campaign import campaign, keep, kept, load, outcome, shrink

DUELS = int(os.environ.get("DURABLE_DUELS", 0))
SOME = 8


async def test_both_stores_answer_alike_and_hold_the_same(postgres: PostgresServer) -> None:
    """A seed that fails is made short and written to `tests/differential/found`, from where it is played for ever."""
    seen = await campaign(postgres, range(DUELS or SOME))
    if seen.failed is not None:
        tape, told = seen.failed
        pytest.fail(f"{told}\nkept as {keep(tape, told, f'seed_{seen.worlds - 1}')}")
    if DUELS:
        assert seen.never == [], f"these never took effect in {seen.steps} steps: {seen.never}"
    else:
        assert {"create_runs", "commit", "send", "claim_runs", "finish_attempts"} <= set(seen.effective)


@pytest.mark.parametrize("path", kept(), ids=lambda path: path.stem)
async def test_what_was_found_once_is_not_found_again(postgres: PostgresServer, path: Path) -> None:
    assert (await outcome(postgres, load(path)))[0] == ""


async def test_a_store_that_differs_is_found_and_the_way_to_it_made_short(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A message that only one of them loses is enough."""
    monkeypatch.setattr(campaigns, "FOUND", tmp_path)
    real = campaigns.SQLiteSide.open

    async def forgetful(side: campaigns.SQLiteSide) -> campaigns.SQLiteSide:
        await real(side)
        send = side.store.send

        async def loses(messages: object) -> object:
            outcomes = await send(messages)  # type: ignore[arg-type]
            await side.forget(runs.SIGNAL)
            return outcomes

        side.store.send = loses  # type: ignore[assignment]
        return side

    monkeypatch.setattr(campaigns.SQLiteSide, "open", forgetful)
    tape = [("create_runs", 1), *(("send", number) for number in range(12))]
    told, _ = await outcome(postgres, tape)
    assert told.startswith("behind send, inbox differs"), told
    short = await shrink(postgres, tape, told)
    assert [name for name, _ in short][-1] == "send"
    assert len(short) <= 3
    assert (await outcome(postgres, load(keep(short, told, "kept"))))[0].startswith(
        "behind send, inbox differs"
    )
