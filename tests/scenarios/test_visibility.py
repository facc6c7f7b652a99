"""What workflows are found by: set at the start, changed by their code, listed and counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable import Client, Signal, activity, workflow
from durable.client import CountWorkflowsInput, Interceptor, ListWorkflowsInput, OutboundInterceptor
from durable.common import (
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowExecutionStatus,
)
from durable.exceptions import ApplicationError, ConversionError, FilterError
from durable.workflow import Info
from tests.scenarios.rig import PATIENCE, Env, event, events, fails, held, reached, until

REGION = SearchAttributeKey.for_keyword("Region")
AMOUNT = SearchAttributeKey.for_int("Amount")
SCORE = SearchAttributeKey.for_float("Score")
VIP = SearchAttributeKey.for_bool("Vip")
DUE = SearchAttributeKey.for_datetime("Due")
TAGS = SearchAttributeKey.for_keyword_list("Tags")
NOTE = SearchAttributeKey.for_text("Note")

WHEN = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)

go: Signal[str] = Signal[str]("scn.visibility.go")


def attributes(*pairs: tuple[SearchAttributeKey[Any], Any]) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(key, value) for key, value in pairs])


ALL = attributes(
    (REGION, "EU"),
    (AMOUNT, 7),
    (SCORE, 0.5),
    (VIP, True),
    (DUE, WHEN),
    (TAGS, ["a", "b"]),
    (NOTE, "Quick fox"),
)


async def ids(env: Env, query: str | None = None, **how: Any) -> list[str]:
    return [run.id async for run in env.client.list_workflows(query, **how)]


@workflow.defn(name="scn.visibility.waits")
async def waits() -> str:
    return await go.receive()


@workflow.defn(name="scn.visibility.upserts")
async def upserts() -> list[Any]:
    found: list[Any] = [workflow.info().typed_search_attributes.get(REGION)]
    workflow.upsert_search_attributes([REGION.value_set("US"), AMOUNT.value_unset(), TAGS.value_set(["c"])])
    workflow.upsert_memo({"new": {"n": 1}, "old": None})
    info = workflow.info()
    found += [info.typed_search_attributes.get(REGION), info.typed_search_attributes.get(AMOUNT)]
    found += [dict(workflow.memo()), workflow.memo_value("old", "gone")]
    await go.receive()
    return found


@pytest.mark.temporal("hello/search_attributes", "search_attributes/set")
async def test_set_at_the_start_and_found_at_once(env: Env) -> None:
    handle = await env.start(waits(), id="all", search_attributes=ALL, memo={"who": "ada"})
    await env.start(waits(), id="none")
    for query in (
        "Region = 'EU'", "Amount > 6", "Score BETWEEN 0.4 AND 0.6", "Vip = true", "Due = '2024-05-01T12:30:00Z'",
        "Tags = 'b'", "Note = 'QUICK'", "Region STARTS_WITH 'E' AND Amount IN (6, 7)",
    ):  # fmt: skip
        assert await ids(env, query) == ["all"], query
    assert await ids(env, "Region IS NULL") == ["none"]
    (found,) = [run async for run in env.client.list_workflows("Region = 'EU'")]
    assert (found.id, found.run_id, found.status) == (
        "all",
        handle.result_run_id,
        WorkflowExecutionStatus.RUNNING,
    )
    assert (found.workflow_type, found.task_queue) == ("scn.visibility.waits", "default")
    assert (found.typed_search_attributes, await found.memo()) == (ALL, {"who": "ada"})
    assert (await found.memo_value("who", type_hint=str), await found.memo_value("x", 3)) == ("ada", 3)
    assert (found.close_time, found.history_length, found.parent_id) == (None, 0, None)
    assert (found.root_id, found.root_run_id) == ("all", handle.result_run_id)
    told = await handle.describe()
    assert (told.typed_search_attributes, await told.memo_value("who")) == (ALL, "ada")
    assert (await event(handle, "Started")).search_attributes.keys() == {key.name for key, _ in ALL}


@workflow.defn(name="scn.visibility.clashes")
async def clashes() -> None:
    odd = SearchAttributeKey.for_int("Region")
    for number in range(3):
        workflow.upsert_search_attributes([odd.value_set(number), AMOUNT.value_set(number)])
        await workflow.sleep(0.001)
    child = attributes((SearchAttributeKey.for_keyword("Amount"), "many"))
    await waits.options(id="child", search_attributes=child).start()


async def test_a_value_of_another_type_is_kept_and_told_in_the_log(
    env: Env, caplog: pytest.LogCaptureFixture
) -> None:
    await env.start(waits(), search_attributes=attributes((REGION, "EU"), (AMOUNT, 7)))
    async with env.worker(clashes, waits):
        handle = await env.start(clashes(), id="c")
        await handle.result(timeout=PATIENCE)
        told = [one.getMessage() for one in caplog.records if one.name == "durable.worker"]

        def both() -> bool:
            told[:] = [one.getMessage() for one in caplog.records if "search attribute" in one.getMessage()]
            return len(told) >= 2

        await until("the log tells", both)
    assert [one.partition(":")[0] for one in told] == [
        "workflow c sets search attribute 'Region' to a value of type Int, and in this database it is of type Keyword",
        "workflow c sets search attribute 'Amount' to a value of type Keyword, and in this database it is of type Int",
    ]
    (found,) = [run async for run in env.client.list_workflows("WorkflowId = 'c'")]
    assert found.typed_search_attributes.get(SearchAttributeKey.for_int("Region")) == 2
    assert await ids(env, "Amount = 2") == ["c"]
    assert await ids(env, "Region = '2'") == []


@pytest.mark.temporal("search_attributes/upsert")
async def test_upserts_are_found_and_recorded(env: Env) -> None:
    async with env.worker(upserts):
        handle = await env.start(
            upserts(),
            id="u",
            search_attributes=attributes((REGION, "EU"), (AMOUNT, 7)),
            memo={"old": 1, "kept": 2},
        )
        await reached(handle, "Started", "UpsertWorkflowSearchAttributes", "WorkflowPropertiesModified")
        assert await ids(env, "Region = 'US' AND Tags = 'c' AND Amount IS NULL") == ["u"]
        assert await ids(env, "Region = 'EU' OR Amount = 7") == []
        (found,) = [run async for run in env.client.list_workflows("WorkflowId = 'u'")]
        expected = attributes((REGION, "US"), (TAGS, ["c"]))
        assert (found.typed_search_attributes, await found.memo()) == (expected, {"kept": 2, "new": {"n": 1}})
        told = await handle.describe()
        assert (told.typed_search_attributes, await told.memo()) == (expected, {"kept": 2, "new": {"n": 1}})
        await handle.signal(go("on"))
        assert await handle.result(timeout=PATIENCE) == [
            "EU",
            "US",
            None,
            {"kept": 2, "new": {"n": 1}},
            "gone",
        ]
    assert set((await event(handle, "UpsertWorkflowSearchAttributes")).search_attributes) == {
        "Region",
        "Amount",
        "Tags",
    }
    changed = await event(handle, "WorkflowPropertiesModified")
    assert (set(changed.memo), changed.removed) == ({"new"}, ("old",))


@workflow.defn(name="scn.visibility.closes")
async def closes(value: str) -> str:
    workflow.upsert_search_attributes([REGION.value_set(value)])
    return value


async def test_an_upsert_in_the_last_task_is_found(env: Env) -> None:
    assert await env.run(closes("last"), closes, id="c") == "last"
    assert await ids(env, "Region = 'last' AND ExecutionStatus = 'Completed'") == ["c"]


@workflow.defn(name="scn.visibility.continues")
async def continues(left: int) -> list[Any]:
    seen = [dict(workflow.memo()), workflow.info().typed_search_attributes.get(REGION)]
    if left == 2:
        workflow.upsert_search_attributes([REGION.value_set("second")])
        workflow.upsert_memo({"m": 2})
        workflow.continue_as_new(1)
    if left == 1:
        workflow.continue_as_new(0, memo={"own": 1}, search_attributes=attributes((REGION, "third")))
    return seen


async def test_the_next_run_has_what_was_upserted_in_the_last_task(env: Env) -> None:
    start = attributes((REGION, "first"), (AMOUNT, 1))
    result = await env.run(continues(2), continues, id="can", search_attributes=start, memo={"k": 1})
    assert result == [{"own": 1}, "third"]
    runs = [run async for run in env.client.list_workflows("WorkflowId = 'can' ORDER BY StartTime")]
    assert [run.typed_search_attributes.get(REGION) for run in runs] == ["second", "second", "third"]
    assert [run.typed_search_attributes.get(AMOUNT) for run in runs] == [1, 1, None]
    assert [await run.memo() for run in runs] == [{"k": 1, "m": 2}, {"k": 1, "m": 2}, {"own": 1}]
    assert len(await ids(env, "Region = 'second'")) == 2
    assert {run.first_execution_run_id for run in runs} == {runs[0].run_id}


@workflow.defn(name="scn.visibility.retries")
async def retries() -> str:
    if workflow.info().attempt == 1:
        workflow.upsert_search_attributes([REGION.value_set("kept")])
        raise ApplicationError("again")
    return str(workflow.info().typed_search_attributes[REGION])


async def test_another_attempt_has_them_too(env: Env) -> None:
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=1))
    assert await env.run(retries(), retries, id="r", retry_policy=policy) == "kept"
    assert len(await ids(env, "Region = 'kept'")) == 2


@workflow.defn(name="scn.visibility.parent")
async def parent() -> str:
    child: Any = waits.options(id="child", search_attributes=attributes((REGION, "child")), memo={"c": 1})
    handle = await workflow.start_child_workflow(child())
    return await handle


async def test_children_are_found_by_their_parents(env: Env) -> None:
    async with env.worker(parent, waits):
        handle = await env.start(parent(), id="top")
        child = env.client.get_workflow_handle("child")
        await until("the child is there", lambda: ids(env, "ParentWorkflowId = 'top'"))
        (found,) = [run async for run in env.client.list_workflows("Region = 'child'")]
        run_id = handle.result_run_id
        assert (found.id, found.parent_id, found.parent_run_id) == ("child", "top", run_id)
        assert (found.root_id, found.root_run_id, await found.memo()) == ("top", run_id, {"c": 1})
        assert sorted(await ids(env, "RootWorkflowId = 'top'")) == ["child", "top"]
        assert await ids(env, f"ParentRunId = '{run_id}' AND RootRunId = '{run_id}'") == ["child"]
        await child.signal(go("x"))
        assert await handle.result(timeout=PATIENCE) == "x"


async def test_a_name_has_one_type(env: Env) -> None:
    await env.start(waits(), id="one", search_attributes=attributes((REGION, "EU")))
    other = attributes((SearchAttributeKey.for_int("Region"), 3))
    with pytest.raises(ValueError, match="'Region' is of type Keyword in this database, not Int"):
        await env.start(waits(), id="two", search_attributes=other)
    assert await ids(env) == ["one"]
    built_in = attributes((SearchAttributeKey.for_keyword("WorkflowId"), "x"))
    with pytest.raises(ValueError, match="built in"):
        await env.start(waits(), id="two", search_attributes=built_in)
    with pytest.raises(TypeError, match="TypedSearchAttributes"):
        await env.start(waits(), id="two", search_attributes={"Region": ["x"]})


async def test_filters_are_refused_where_they_are_wrong(env: Env) -> None:
    with pytest.raises(FilterError, match="column 10") as caught:
        env.client.list_workflows("Region = ")
    assert caught.value.column == 10
    with pytest.raises(FilterError, match="did you mean WorkflowId"):
        await ids(env, "WorkflowI = 'x'")
    with pytest.raises(FilterError, match="GROUP BY is for counts"):
        await ids(env, "GROUP BY ExecutionStatus")
    with pytest.raises(FilterError, match="ORDER BY is for lists"):
        await env.client.count_workflows("ORDER BY StartTime")
    with pytest.raises(FilterError, match="no page token"):
        await ids(env, next_page_token=b"nonsense")
    for how in ({"limit": -1}, {"page_size": 0}, {"page_size": 10_001}):
        with pytest.raises(ValueError, match="must be"):
            env.client.list_workflows(**how)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="whole number"):
        env.client.list_workflows(limit="3")  # type: ignore[arg-type]


async def test_pages(plain: Env) -> None:
    for number in range(7):
        await plain.start(waits(), id=f"w{number}", search_attributes=attributes((AMOUNT, number % 3)))
    newest = [f"w{number}" for number in reversed(range(7))]
    assert await ids(plain) == newest
    assert await ids(plain, page_size=2) == newest
    assert await ids(plain, limit=3, page_size=2) == newest[:3]
    assert await ids(plain, limit=0) == []
    assert await ids(plain, "ORDER BY Amount, WorkflowId", page_size=3) == [
        "w0",
        "w3",
        "w6",
        "w1",
        "w4",
        "w2",
        "w5",
    ]
    pages = plain.client.list_workflows(page_size=3)
    assert pages.current_page is None
    await pages.fetch_next_page()
    assert [run.id for run in pages.current_page or ()] == newest[:3]
    await plain.start(waits(), id="later")
    assert await ids(plain, next_page_token=pages.next_page_token) == newest[3:]
    await pages.fetch_next_page(page_size=1)
    assert ([run.id for run in pages.current_page or ()], pages.current_page_index) == (newest[3:4], 0)


async def test_counts(plain: Env) -> None:
    async with plain.worker(waits, closes):
        for number in range(3):
            await plain.start(waits(), id=f"w{number}")
        assert await (await plain.start(closes("x"), id="c")).result(timeout=PATIENCE) == "x"
    all_runs = await plain.client.count_workflows()
    assert (all_runs.count, all_runs.groups) == (4, [])
    assert (await plain.client.count_workflows("Region = 'x'")).count == 1
    assert (await plain.client.count_workflows("Region = 'y'")).count == 0
    grouped = await plain.client.count_workflows("GROUP BY ExecutionStatus")
    assert grouped.count == 4
    assert [(group.group_values, group.count) for group in grouped.groups] == [
        (["Running"], 3),
        (["Completed"], 1),
    ]
    by_type = await plain.client.count_workflows("WorkflowId STARTS_WITH 'w' GROUP BY WorkflowType")
    assert [(group.group_values, group.count) for group in by_type.groups] == [(["scn.visibility.waits"], 3)]


async def test_a_list_as_histories(plain: Env) -> None:
    async with plain.worker(closes):
        for number in range(3):
            await (await plain.start(closes("x"), id=f"c{number}")).result(timeout=PATIENCE)
    found = [history async for history in plain.client.list_workflows("Region = 'x'").map_histories()]
    assert [history.workflow_id for history in found] == ["c2", "c1", "c0"]
    assert all(type(history.events[-1].data).__name__ == "WorkflowExecutionCompleted" for history in found)


async def test_times_of_lists(plain: Env) -> None:
    await plain.start(waits(), id="late", start_delay=timedelta(hours=1))
    (found,) = [run async for run in plain.client.list_workflows("ExecutionStatus = 'Running'")]
    assert found.execution_time - found.start_time == timedelta(hours=1)
    await plain.client.get_workflow_handle("late").terminate()
    (found,) = [run async for run in plain.client.list_workflows("ExecutionStatus = 'Terminated'")]
    assert found.close_time is not None
    assert found.history_length == 2


@activity.defn(name="scn.visibility.nothing")
async def nothing() -> None: ...


@workflow.defn(name="scn.visibility.wrong")
async def wrong(what: str) -> None:
    update: Any = {
        "mapping": {"Region": ["x"]},
        "nothing": ["x"],
        "too large": [SearchAttributeKey.for_keyword(f"K{n}").value_set("x" * 2000) for n in range(30)],
    }[what]
    workflow.upsert_search_attributes(update)


@pytest.mark.parametrize(
    ("what", "reason"),
    [("mapping", "takes a list of"), ("nothing", "takes a list of"), ("too large", "40960 bytes together")],
)
async def test_upserts_that_are_none_block_the_workflow(plain: Env, what: str, reason: str) -> None:
    async with plain.worker(wrong):
        handle = await plain.start(wrong(what), id="w")
        assert reason in await held(handle)
    assert await events(handle) == ["Started"]


@workflow.defn(name="scn.visibility.memo")
async def memo_of_what_cannot_be() -> None:
    try:
        workflow.upsert_memo({"x": object()})
    except ConversionError as error:
        raise ApplicationError("refused") from error


async def test_a_memo_that_cannot_be_stored(plain: Env) -> None:
    async with plain.worker(memo_of_what_cannot_be):
        assert "refused" in str(await fails(await plain.start(memo_of_what_cannot_be(), id="m")))


def test_info_without_a_run_has_none() -> None:
    assert Info.__dataclass_fields__["typed_search_attributes"].default == TypedSearchAttributes.empty


class Narrowing(Interceptor, OutboundInterceptor):
    """Whoever asks sees one tenant only."""

    def __init__(self) -> None: ...

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        OutboundInterceptor.__init__(self, next)
        return self

    def list_workflows(self, input: ListWorkflowsInput) -> Any:
        input.query = f"Region = 'mine' AND ({input.query})" if input.query else "Region = 'mine'"
        return super().list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> Any:
        input.query = f"Region = 'mine' AND ({input.query})"
        return await super().count_workflows(input)


async def test_interceptors_see_lists_and_counts(store_url: str) -> None:
    async with Client.connect(store_url, interceptors=[Narrowing()]) as client:
        for name in ("mine", "other"):
            await client.start_workflow(waits(), id=name, search_attributes=attributes((REGION, name)))
        assert [run.id async for run in client.list_workflows(limit=5)] == ["mine"]
        assert (await client.count_workflows("WorkflowId != ''")).count == 1
