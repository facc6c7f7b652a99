"""The codec in front of a database: every payload of every record passes it, and comes back to the byte."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from durable._engine._activities import Progress, encode_progress
from durable._engine.records import (
    AttemptOutcome,
    ChildStart,
    Close,
    ExternalSend,
    Heartbeat,
    Message,
    NewActivity,
    NewRun,
    Reply,
    RunStatus,
    Transition,
    UpdateOutcome,
    UpdateStage,
)
from durable.converter import Payload, PayloadCodec
from durable.converter._codec import decoded, encoded
from durable.exceptions import PayloadCodecError
from durable.history import (
    INPUTS,
    EventRow,
    EventType,
    Failure,
    WorkflowExecutionStarted,
    decode_data,
    encode_data,
    with_payloads,
)
from durable.store import EncodedStore, Store, beneath, open_store, through
from durable.store._parcel import Parcel, Whose
from durable.testing.conformance import CHECKS, Check
from tests.history.samples import FULL, SECOND
from tests.store.codecs import Nonces

OWN = Whose("w")
SAMPLES = (*FULL, *SECOND)


def payloads_in(value: Any) -> Iterator[Payload]:
    """Every payload in a value, found by looking everywhere."""
    if isinstance(value, Payload):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if name != "search_attributes":
                yield from payloads_in(getattr(value, name))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from payloads_in(part)
    elif isinstance(value, dict):
        yield from payloads_in(list(value.values()))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.sqlite
async def test_a_store_behind_a_codec_keeps_every_promise(check: Check, tmp_path: Any) -> None:
    # Repetitions of a commit are told by their bytes; who uses another kind of codec repeats what was encoded once.
    codec = Nonces(fixed=True)

    async def open_again() -> Store:
        return EncodedStore(await open_store(f"sqlite:///{tmp_path}/encoded.db"), codec, "default")

    await check.run(open_again)


def test_it_has_every_method_of_the_port() -> None:
    def signatures(kind: type[Any]) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    port, own = signatures(Store), signatures(EncodedStore)
    assert own.pop("encode_transition") == ["self", "transition"]
    assert own.pop("encode_outcome") == ["self", "outcome"]
    assert own.pop("encode_message") == ["self", "message"]
    assert own == port


@pytest.mark.parametrize("facts", SAMPLES, ids=lambda facts: type(facts).__name__)
async def test_every_payload_of_every_event_passes_and_comes_back(facts: Any) -> None:
    data = encode_data(facts)
    codec = Nonces()
    parcel = Parcel()
    assert parcel.event(OWN, int(facts.type), data) == data
    found = parcel.contents.get(OWN, [])
    assert sorted(found, key=repr) == sorted(payloads_in(facts), key=repr)
    if not found:
        return
    parcel.refill({OWN: await codec.encode(found)})
    hidden = parcel.event(OWN, int(facts.type), data)
    assert all(
        payload.encoding == "binary/nonces" for payload in payloads_in(decode_data(facts.type, hidden))
    )
    assert with_payloads(decode_data(facts.type, hidden), lambda payload: Payload()) == with_payloads(
        facts, lambda payload: Payload()
    )
    back = Parcel()
    back.event(OWN, int(facts.type), hidden)
    back.refill({OWN: await decoded(codec, back.contents[OWN], "w")})
    assert back.event(OWN, int(facts.type), hidden) == data


def test_search_attributes_stay_readable_for_the_database() -> None:
    started = WorkflowExecutionStarted(memo={"a": Payload(b"1")}, search_attributes={"a": Payload(b"1")})
    changed = with_payloads(started, lambda payload: Payload(b"?"))
    assert changed.search_attributes == started.search_attributes
    assert changed.memo == {"a": Payload(b"?")}


def test_a_chain_of_failures_longer_than_python_can_recurse() -> None:
    failure = Failure("inner", encoded=Payload(b"0"))
    for _ in range(5000):
        failure = Failure("outer", cause=failure, encoded=Payload(b"1"))
    holder = Progress((), failure)
    seen: list[bytes] = []
    changed = with_payloads(holder, lambda payload: seen.append(payload.data) or Payload(b"2"))
    assert len(seen) == 5001
    assert seen[-1] == b"0"
    assert changed.last_failure is not None
    assert changed.last_failure.encoded == Payload(b"2")


SECRET = b"canary"
SIGNALED = int(EventType.WORKFLOW_EXECUTION_SIGNALED)


def event(type: EventType) -> bytes:
    facts = next(facts for facts in SAMPLES if facts.type is type)
    return encode_data(with_payloads(facts, lambda payload: Payload(SECRET)))


def table(**fields: Any) -> bytes:
    return msgspec.json.encode(fields)


async def test_nothing_of_a_transition_is_left_as_it_was() -> None:
    signal, started = (
        event(EventType.WORKFLOW_EXECUTION_SIGNALED),
        event(EventType.WORKFLOW_EXECUTION_STARTED),
    )
    progress = encode_progress(Progress((Payload(SECRET),), Failure("", encoded=Payload(SECRET))))
    reply = Reply("r", SIGNALED, signal, SIGNALED, signal)
    run = NewRun("r", "child", "t", "q", started, info=table(memo={"k": Payload(SECRET)}, other=[1]))
    outcome = table(result=Payload(SECRET), failure=Failure("", encoded=Payload(SECRET)), lost=True)
    transition = Transition(
        run_id="r",
        epoch=1,
        events=(EventRow(1, 1, int(EventType.WORKFLOW_EXECUTION_STARTED), started),),
        activities=(
            NewActivity(1, "t", "q", event(EventType.ACTIVITY_TASK_SCHEDULED), 0, progress=progress),
        ),
        messages=(Message("other", "m", SIGNALED, signal),),
        starts=(ChildStart(run, reply),),
        sends=(ExternalSend("w", "m", SIGNALED, signal, reply),),
        outcomes=(UpdateOutcome("m", UpdateStage.COMPLETED, outcome),),
        close=Close(
            RunStatus.COMPLETED,
            successor=msgspec.structs.replace(run, messages=(Message("", "m", SIGNALED, signal),)),
            update_lost=outcome,
        ),
    )
    assert msgspec.json.encode(Payload(SECRET)) in outcome
    codec = Nonces()
    store: Any = EncodedStore(_Nothing(), codec, "default")
    written = await store.encode_transition(transition)
    secret = msgspec.json.encode(SECRET)
    left = [path for path, data in blobs(written) if secret in data]
    assert left == []
    assert len(list(blobs(written))) == len(list(blobs(transition))) > 15
    assert table(other=[1])[1:-1] in written.starts[0].run.info
    again = await store._pass(decoded, Parcel.transition, written)
    assert again == transition


def blobs(value: Any, path: str = "") -> Iterator[tuple[str, bytes]]:
    if isinstance(value, bytes):
        yield path, value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from blobs(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from blobs(part, f"{path}[{index}]")


class _Nothing:
    url = ""
    transaction_types = ()


class _Answers(PayloadCodec):
    """It answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.encode(payloads)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ([], "TypeError: it answered 0 payloads for 1; it must answer one for each"),
        ([Payload(), Payload()], "it answered 2 payloads for 1"),
        ([b"bytes"], "it answered a bytes; it must answer payloads"),
        (None, "TypeError: object of type 'NoneType' has no len()"),
        (TimeoutError(), "TimeoutError: no answer within 10 s"),
        (KeyError("key\x1b[31m"), r"KeyError: 'key\x1b[31m'"),
        (RuntimeError("x" * 10_000), "characters)"),
    ],
)
async def test_a_codec_that_answers_nonsense_is_a_codec_that_failed(answer: Any, text: str) -> None:
    with pytest.raises(PayloadCodecError) as caught:
        await encoded(_Answers(answer), [Payload(b"secret")], "workflow w")
    said = str(caught.value)
    assert said.startswith("the payload codec _Answers could not encode 1 payloads of workflow w: ")
    assert text in said
    assert len(said) < 1000
    assert "secret" not in said


async def test_a_cancelled_call_of_a_codec_is_cancelled() -> None:
    class Slow(_Answers):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            await asyncio.sleep(3600)
            return []

    task = asyncio.create_task(encoded(Slow([]), [Payload()], "w"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_store_has_one_codec_or_none() -> None:
    database: Any = _Nothing()
    first = through(database, Nonces(), "default")
    second = through(first, Nonces(), "default")
    assert (beneath(first), beneath(second), beneath(database)) == (database,) * 3
    assert through(second, None, "default") is database


def test_what_is_not_ours_is_left_alone() -> None:
    parcel = Parcel()
    assert parcel.event(OWN, 999, b"?") == b"?"
    assert parcel.event(OWN, int(EventType.TIMER_FIRED), b"{") == b"{"
    assert parcel._progress(OWN, b"{") == b"{"
    assert parcel._table(OWN, b"[1]") == b"[1]"
    assert parcel.heartbeat(Heartbeat("r", 1, 1, "w", b"")).progress == b""
    assert parcel.outcome(AttemptOutcome("r", 1, 1, None)).message is None
    assert parcel.contents == {}
    assert len(INPUTS) > 10
