"""`send` and inboxes."""

from __future__ import annotations

import asyncio

from durable._internal.ids import uuid7
from durable.store import ClaimedRun, Close, Message, RunStatus, SendOutcome, Transition, Verdict
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import EVERY_BYTE, closing, event, message, room


@check()
async def check_a_message_comes_back_as_it_was_sent(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        big = bytes(range(256)) * 4096
        for data in (EVERY_BYTE, b"", big):
            sent = message(run.run_id, data=data)
            await one.send(sent)
            found = (await one.store.read_messages([run.run_id]))[-1]
            assert found.position > 0
            assert found == Message(run.run_id, sent.message_id, sent.type, data, found.position)


@check()
async def check_messages_are_read_in_the_order_of_their_positions(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [(await one.start()).run_id for _ in range(3)]
        sent = [message(runs[number % 3], f"message-{number}") for number in range(30)]
        await one.send(*sent[:10])
        for each in sent[10:20]:
            await one.send(each)
        await one.send(*sent[20:])
        found = await one.store.read_messages(runs)
        assert [each.message_id for each in found] == [each.message_id for each in sent]
        positions = [each.position for each in found]
        assert positions == sorted(set(positions))


@check()
async def check_only_the_messages_of_the_runs_asked_for_are_read(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        wanted, other = await one.start(), await one.start()
        await one.send(message(wanted.run_id, "mine"), message(other.run_id, "other"))
        assert [each.message_id for each in await one.store.read_messages([wanted.run_id])] == ["mine"]
        assert await one.store.read_messages([]) == []


@check()
async def check_each_message_stands_or_falls_alone(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        closed = await one.own()
        await one.close(closed)
        run = await one.start()
        outcomes = await one.store.send(
            [
                message(run.run_id, "a"),
                message(closed.run.run_id, "b"),
                message(uuid7(), "c"),
                message(run.run_id, "a"),
                message(run.run_id, "d"),
            ]
        )
        assert outcomes == [
            SendOutcome.SENT,
            SendOutcome.CLOSED,
            SendOutcome.NOT_FOUND,
            SendOutcome.REPEATED,
            SendOutcome.SENT,
        ]
        assert [each.message_id for each in await one.store.read_messages([run.run_id])] == ["a", "d"]
        assert await one.store.read_messages([closed.run.run_id]) == []


@check()
async def check_a_repeated_message_doubles_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        await one.send(message(run.run_id, "once", b"first"))
        assert await one.store.send([message(run.run_id, "once", b"second")]) == [SendOutcome.REPEATED]
        (found,) = await one.store.read_messages([run.run_id])
        assert found.data == b"first"


@check()
async def check_one_message_id_serves_many_runs(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        first, second = await one.start(), await one.start()
        await one.send(message(first.run_id, "same"), message(second.run_id, "same"))
        assert len(await one.store.read_messages([first.run_id, second.run_id])) == 2


@check()
async def check_an_internal_message_stays_internal(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start()
        await one.send(message(run.run_id, internal=True), message(run.run_id))
        assert [each.internal for each in await one.store.read_messages([run.run_id])] == [True, False]


@check()
async def check_owned_messages_are_those_of_owned_runs_only(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        first, second = await one.own(), await one.own()
        unowned = await one.start()
        await one.send(
            message(second.run.run_id, "a"), message(unowned.run_id, "b"), message(first.run.run_id, "c")
        )
        owned = await one.store.read_owned_messages(one.worker, 10)
        assert [each.message_id for each in owned] == ["a", "c"]
        assert [each.message_id for each in await one.store.read_owned_messages(one.worker, 1)] == ["a"]
        assert await one.store.read_owned_messages("nobody", 10) == []


@check()
async def check_a_position_never_comes_back(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        highest, seq = 0, 2
        for _ in range(5):
            await one.send(message(run.run.run_id))
            (found,) = await one.store.read_messages([run.run.run_id])
            assert found.position > highest
            highest = found.position
            await one.written(
                Transition(run.run.run_id, run.run.epoch, (event(seq),), consumed=(found.position,))
            )
            seq += 1


@check(stores=2)
async def check_concurrent_senders_lose_and_double_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        run = await one.start()
        sent = [message(run.run_id, f"message-{number}") for number in range(40)]
        answers = await asyncio.gather(
            *((one, two)[number % 2].store.send([each, sent[number - 1]]) for number, each in enumerate(sent))
        )
        outcomes = [outcome for answer in answers for outcome in answer]
        assert outcomes.count(SendOutcome.SENT) == len(sent)
        assert outcomes.count(SendOutcome.REPEATED) == len(sent)
        found = await one.store.read_messages([run.run_id])
        assert {each.message_id for each in found} == {each.message_id for each in sent}


@check(stores=2)
async def check_an_accepted_message_is_read_before_its_run_closes(open_store: OpenStore) -> None:
    async with room(open_store) as one, room(open_store) as two:
        for _ in range(20):
            run = await one.own()
            run_id = run.run.run_id
            read: set[str] = set()

            async def close(run: ClaimedRun = run, run_id: str = run_id, read: set[str] = read) -> None:
                while True:
                    found = await one.store.read_messages([run_id])
                    transition = closing(run, consumed=tuple(each.position for each in found))
                    (verdict,) = await one.commit(transition)
                    if verdict is Verdict.WRITTEN:
                        read |= {each.message_id for each in found}
                        return
                    assert verdict is Verdict.REFUSED, verdict

            sent = [message(run_id) for _ in range(4)]
            sending = asyncio.gather(
                *((one, two)[number % 2].store.send([each]) for number, each in enumerate(sent))
            )
            answers, _ = await asyncio.gather(sending, close())
            outcomes = [outcome for (outcome,) in answers]
            accepted = {
                each.message_id
                for each, outcome in zip(sent, outcomes, strict=True)
                if outcome is SendOutcome.SENT
            }
            assert accepted <= read, "a message was accepted, and its run closed without having read it"
            assert set(outcomes) <= {SendOutcome.SENT, SendOutcome.CLOSED}


@check()
async def check_a_message_to_a_closed_run_is_told_so(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        for status in RunStatus:
            if status is RunStatus.RUNNING:
                continue
            run = await one.own()
            await one.written(Transition(run.run.run_id, run.run.epoch, (event(2),), close=Close(status)))
            assert await one.store.send([message(run.run.run_id)]) == [SendOutcome.CLOSED], status
