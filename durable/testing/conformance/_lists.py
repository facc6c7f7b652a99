"""Lists and counts, and what runs are found by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from durable._engine.records import Upsert
from durable._internal.instants import SECOND
from durable.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributeUpdate,
    TypedSearchAttributes,
)
from durable.history import Payload
from durable.history._search_attributes import encode_search_attribute_updates, encode_search_attributes
from durable.store import ListedRun, RunStatus, Store, Transition, Verdict
from durable.store._filter import check_count, check_list, parse
from durable.testing.conformance._registry import OpenStore, check
from durable.testing.conformance._room import (
    QUEUE,
    TYPE,
    child_start,
    continuing,
    event,
    following,
    message,
    new_run,
    room,
)

REGION = SearchAttributeKey.for_keyword("Region")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
AMOUNT = SearchAttributeKey.for_int("Amount")
KEYWORD = int(SearchAttributeIndexedValueType.KEYWORD)
INT = int(SearchAttributeIndexedValueType.INT)


def found_by(*pairs: tuple[SearchAttributeKey[Any], Any]) -> dict[str, Payload]:
    """What a run is started with."""
    return encode_search_attributes(
        TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])
    )


def changed(*updates: SearchAttributeUpdate[Any], info: bytes = b'{"a": 1}') -> Upsert:
    """What a step changes."""
    return Upsert(encode_search_attribute_updates(updates), info)


async def listed(store: Store, text: str = "") -> list[ListedRun]:
    """All runs that a filter finds."""
    types = {
        name: SearchAttributeIndexedValueType(kind) for name, kind in (await store.attribute_types()).items()
    }
    found, last = await store.list_runs(check_list(parse(text), types), 1000)
    assert last is None
    return found


async def ids(store: Store, text: str = "") -> list[str]:
    """Their ids."""
    return [run.run_id for run in await listed(store, text)]


async def counted(store: Store, text: str = "") -> Mapping[Any, int]:
    """How many, by group."""
    return dict(await store.count_runs(check_count(parse(text), {})))


@check()
async def check_a_started_run_is_listed_as_it_is(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.start(info=b'{"static_summary":"a"}', delay=SECOND)
        (found,) = await listed(one.store, f"WorkflowId = '{run.workflow_id}'")
        assert found == ListedRun(
            run_id=run.run_id,
            workflow_id=run.workflow_id,
            workflow_type=TYPE,
            task_queue=QUEUE,
            status=RunStatus.RUNNING,
            started_at=found.started_at,
            execution_at=found.started_at + SECOND,
            closed_at=None,
            history_length=None,
            first_run_id=run.run_id,
            parent_workflow_id=None,
            parent_run_id=None,
            root_workflow_id=run.workflow_id,
            root_run_id=run.run_id,
            info=b'{"static_summary":"a"}',
        )


@check()
async def check_a_closed_run_is_listed_with_its_end(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own()
        await one.close(run)
        (found,) = await listed(one.store, "ExecutionStatus = 'Completed'")
        assert (found.status, found.history_length) == (RunStatus.COMPLETED, 2)
        assert found.closed_at is not None
        assert found.closed_at >= found.started_at == found.execution_at


@check()
async def check_a_start_is_found_by_its_attributes_at_once(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        a = await one.start(search_attributes=found_by((REGION, "EU"), (AMOUNT, 2**62), (TAGS, ["x", "y"])))
        b = await one.start(search_attributes=found_by((REGION, "US")))
        assert await ids(one.store, "Region = 'EU' AND Tags = 'y' AND Amount = 4611686018427387904") == [
            a.run_id
        ]
        assert await ids(one.store, "Region > 'EU'") == [b.run_id]
        assert await ids(one.store, "Amount IS NULL") == [b.run_id]


@check()
async def check_a_start_with_messages_is_found_by_its_attributes(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = new_run(search_attributes=found_by((REGION, "EU")))
        await one.store.create_runs(
            [replace(run, messages=(message(run.run_id),)), new_run(workflow_id=run.workflow_id)]
        )
        assert await ids(one.store, "Region = 'EU'") == [run.run_id]


@check()
async def check_a_start_that_is_refused_or_repeated_leaves_no_attributes(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own(search_attributes=found_by((REGION, "EU")))
        first = new_run(
            run_id=run.run.run_id,
            workflow_id=run.run.workflow_id,
            search_attributes=found_by((REGION, "EU")),
        )
        await one.written(
            Transition(run.run.run_id, run.run.epoch, (event(2),), upsert=changed(REGION.value_unset()))
        )
        await one.store.create_runs([first])
        await one.store.create_runs(
            [new_run(workflow_id=run.run.workflow_id, search_attributes=found_by((REGION, "EU")))]
        )
        assert await ids(one.store, "Region = 'EU'") == []


@check()
async def check_a_step_changes_what_a_run_is_found_by(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own(search_attributes=found_by((REGION, "EU"), (TAGS, ["a", "b"]), (AMOUNT, 1)))
        other = await one.own(search_attributes=found_by((REGION, "EU")))
        upsert = changed(REGION.value_set("US"), TAGS.value_set(["c"]), AMOUNT.value_unset())
        await one.written(
            Transition(run.run.run_id, run.run.epoch, (event(2),), upsert=upsert),
            Transition(other.run.run_id, other.run.epoch, (event(2),)),
        )
        assert await ids(one.store, "Region = 'US' AND Tags = 'c' AND Amount IS NULL") == [run.run.run_id]
        assert await ids(one.store, "Tags = 'a' OR Tags = 'b' OR Amount = 1") == []
        assert await ids(one.store, "Region = 'EU'") == [other.run.run_id]
        (found,) = await listed(one.store, "Region = 'US'")
        assert found.info == upsert.info


@check()
async def check_a_step_that_is_not_written_changes_nothing(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        run = await one.own(search_attributes=found_by((REGION, "EU")))
        before = await listed(one.store)
        step = Transition(
            run.run.run_id, run.run.epoch + 1, (event(2),), upsert=changed(REGION.value_set("US"))
        )
        assert await one.commit(step) == (Verdict.LOST,)
        await one.send(message(run.run.run_id))
        child = child_start(new_run(parent_run_id=run.run.run_id, search_attributes=found_by((REGION, "US"))))
        close = replace(
            continuing(run, following(run, search_attributes=found_by((REGION, "US")))),
            upsert=changed(REGION.value_set("US")),
            starts=(child,),
        )
        assert await one.commit(close) == (Verdict.REFUSED,)
        assert await listed(one.store) == before
        assert await ids(one.store, "Region = 'US'") == []


@check()
async def check_children_and_successors_are_found(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        parent = await one.own()
        run = new_run(parent_run_id=parent.run.run_id, search_attributes=found_by((REGION, "EU")))
        await one.written(
            Transition(parent.run.run_id, parent.run.epoch, (event(2),), starts=(child_start(run),))
        )
        child = next(each for each in await one.claim(10) if each.run.run_id == run.run_id)
        successor = following(
            child, search_attributes=found_by((REGION, "US")), parent_run_id=parent.run.run_id
        )
        await one.written(continuing(child, successor))
        (found,) = await listed(one.store, "Region = 'US'")
        assert (found.run_id, found.first_run_id) == (successor.run_id, run.run_id)
        for each in await listed(one.store, f"ParentWorkflowId = '{parent.run.workflow_id}'"):
            assert each.parent_run_id == parent.run.run_id
            assert (each.root_workflow_id, each.root_run_id) == (parent.run.workflow_id, parent.run.run_id)
        assert len(await ids(one.store, f"RootRunId = '{parent.run.run_id}'")) == 3


@check()
async def check_a_name_keeps_its_first_type(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await one.store.attribute_types({"Region": KEYWORD}) == {"Region": KEYWORD}
        assert await one.store.attribute_types({"Region": INT, "Amount": INT}) == {
            "Region": KEYWORD,
            "Amount": INT,
        }
        other = SearchAttributeKey.for_int("Region")
        await one.start(search_attributes=found_by((other, 3)))
        assert await ids(one.store, "Region IS NOT NULL") == []
        assert len(await ids(one.store)) == 1
        assert await one.store.attribute_types() == {"Region": KEYWORD, "Amount": INT}


@check()
async def check_pages_end_where_the_next_begins(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        runs = [
            await one.start(workflow_id=f"w-{n}", search_attributes=found_by((AMOUNT, n % 2)))
            for n in range(5)
        ]
        types = {"Amount": SearchAttributeIndexedValueType.INT}
        for text, expected in (
            ("", [4, 3, 2, 1, 0]),
            ("ORDER BY Amount DESC, WorkflowId", [1, 3, 0, 2, 4]),
            ("ORDER BY RunId", [n for _, n in sorted((run.run_id, n) for n, run in enumerate(runs))]),
        ):
            query, last = check_list(parse(text), types), None
            found: list[str] = []
            for _ in range(3):
                page, last = await one.store.list_runs(query, 2, last)
                found += [run.workflow_id for run in page]
            assert found == [f"w-{n}" for n in expected]
            assert last is None


@check()
async def check_counts(open_store: OpenStore) -> None:
    async with room(open_store) as one:
        assert await counted(one.store) == {None: 0}
        run = await one.own()
        await one.start()
        await one.start()
        await one.close(run)
        assert await counted(one.store) == {None: 3}
        assert await counted(one.store, "ExecutionStatus = 'Running'") == {None: 2}
        assert await counted(one.store, "GROUP BY ExecutionStatus") == {1: 2, 2: 1}
        assert await counted(one.store, "GROUP BY TaskQueue") == {QUEUE: 3}
