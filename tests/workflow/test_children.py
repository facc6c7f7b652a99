"""What can be said about children, and what is refused where it is said."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from durable import ApplicationError, RetryPolicy, Signal, WorkflowIDReusePolicy, activity, workflow
from durable.client._start_options import check
from durable.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from durable.exceptions import NotInWorkflowError, RegistrationError
from durable.workflow import ChildWorkflowCancellationType, ParentClosePolicy
from tests.workflow.fakes import FakeRuntime, Run

go: Signal[int] = Signal("chd.unit.go", int)


@workflow.defn(name="chd.unit", task_queue="q", run_timeout=5)
async def kid(n: int, note: str = "") -> int:
    return n


@workflow.defn(name="chd.unit.class")
class Kid:
    @workflow.run
    async def run(self, n: int) -> int:
        return n


@activity.defn(name="chd.unit.act")
async def act(n: int) -> int:
    return n


@pytest.fixture
def run() -> Any:
    made = Run()
    yield made
    made.close()


@pytest.fixture
def host(run: Run) -> FakeRuntime:
    return run.host


def test_every_spelling_asks_for_the_same(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        await kid(1, note="n")
        await kid.options()(1, "n")
        await (await kid.start(1, "n"))
        await workflow.execute_child_workflow(kid, 1, "n")
        await workflow.execute_child_workflow(kid, args=[1, "n"])
        await workflow.execute_child_workflow(kid(1, "n"))
        await (await workflow.start_child_workflow(kid, 1, "n"))
        await asyncio.gather(kid(1, "n"))

    run(code())
    first = host.children[0]
    assert (first.name, first.args, first.definition, first.result_type) == (
        "chd.unit",
        (1, "n"),
        kid.definition,
        int,
    )
    assert (first.options.task_queue, first.options.run_timeout, first.options.child) == (
        "q",
        5_000_000,
        None,
    )
    assert host.children == [first] * 8


def test_classes_and_names(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        await workflow.execute_child_workflow(Kid.run, 1)
        await workflow.execute_child_workflow("chd.unit.class", 1, result_type=int)
        await workflow.execute_child_workflow("chd.unit.class", 1)

    run(code())
    assert [(one.name, one.args) for one in host.children] == [("chd.unit.class", (1,))] * 3
    assert [one.result_type for one in host.children] == [int, int, Any]


def test_options_go_on_top_of_options(run: Run, host: FakeRuntime) -> None:
    attributes = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword("Tier"), "gold")])

    async def code() -> None:
        await workflow.execute_child_workflow(
            kid.options(
                id="first",
                memo={"a": 1},
                run_timeout=timedelta(seconds=7),
                execution_timeout=timedelta(seconds=9),
            ),
            1,
            id="second",
            task_queue=None,
            cancellation_type=ChildWorkflowCancellationType.ABANDON,
            parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            retry_policy=RetryPolicy(maximum_attempts=2),
            cron_schedule="@daily",
            search_attributes=attributes,
            static_summary="s",
            static_details="d",
        )

    run(code())
    said = host.children[0].options
    assert (said.task_queue, said.run_timeout, said.execution_timeout) == ("q", 7_000_000, 9_000_000)
    child = said.child
    assert child is not None
    assert (child.id, child.memo, child.cron_schedule, child.search_attributes) == (
        "second",
        {"a": 1},
        "@daily",
        attributes,
    )
    assert child.parent_close_policy is ParentClosePolicy.REQUEST_CANCEL


def test_the_defaults_are_temporals() -> None:
    child = kid.options(id="x").call_options.child
    assert child is not None
    assert child.parent_close_policy is ParentClosePolicy.TERMINATE
    assert child.cancellation_type is ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
    assert child.id_reuse_policy is WorkflowIDReusePolicy.ALLOW_DUPLICATE
    assert (child.retry_policy, child.cron_schedule) == (None, "")


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"id": ""}, ValueError, "id must not be empty"),
        ({"id": 3}, TypeError, "id must be a string"),
        ({"parent_close_policy": 2}, TypeError, "parent_close_policy must be a ParentClosePolicy"),
        (
            {"parent_close_policy": ParentClosePolicy.UNSPECIFIED},
            ValueError,
            "TERMINATE, ABANDON or REQUEST_CANCEL",
        ),
        (
            {"cancellation_type": "abandon"},
            TypeError,
            "cancellation_type must be a ChildWorkflowCancellationType",
        ),
        ({"id_reuse_policy": 1}, TypeError, "id_reuse_policy must be a WorkflowIDReusePolicy"),
        (
            {"id_reuse_policy": WorkflowIDReusePolicy.TERMINATE_IF_RUNNING},
            ValueError,
            "is not for child workflows",
        ),
        ({"retry_policy": {}}, TypeError, "retry_policy must be a RetryPolicy"),
        ({"cron_schedule": 5}, TypeError, "cron_schedule must be a string"),
        ({"memo": [1]}, TypeError, "memo must be a mapping"),
        ({"memo": {3: 1}}, TypeError, "memo key must be a string"),
        ({"search_attributes": {"a": 1}}, TypeError, "search_attributes must be TypedSearchAttributes"),
        ({"static_summary": 1}, TypeError, "static_summary must be a string"),
        ({"run_timeout": 0}, ValueError, "run_timeout"),
        ({"versioning_intent": 1}, TypeError, "has no option 'versioning_intent': it is superseded"),
    ],
)
def test_what_cannot_be_said(options: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind) as told:
        kid.options(**options)
    assert says in str(told.value)


def test_what_cannot_be_called(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        for attempt, kind, says in (
            (lambda: workflow.execute_child_workflow(kid), TypeError, "missing a required argument"),
            (lambda: workflow.execute_child_workflow(kid, 1, args=[1]), TypeError, "not both"),
            (
                lambda: workflow.execute_child_workflow(kid, args="ab"),
                TypeError,
                "args must be a list or a tuple",
            ),
            (lambda: workflow.execute_child_workflow(act, 1), RegistrationError, "is an activity"),
            (lambda: workflow.execute_child_workflow(Kid, 1), TypeError, ""),
            (lambda: workflow.execute_child_workflow("", 1), ValueError, "workflow must not be empty"),
        ):
            if kind is TypeError and not says:
                await attempt()  # the class itself is as good as its run
                continue
            with pytest.raises(kind, match=says):
                await attempt()
        call = kid(1)
        with pytest.raises(TypeError, match="has its arguments already"):
            await workflow.execute_child_workflow(call, 1)  # type: ignore[call-overload]
        assert await workflow.execute_child_workflow(call) == "done"
        with pytest.raises(RuntimeError, match="already awaited"):
            await call

    run(code())
    assert len(host.children) == 2


async def test_outside_of_a_workflow() -> None:
    for attempt in (
        lambda: workflow.execute_child_workflow("x"),
        lambda: workflow.start_child_workflow("x"),
        lambda: kid.start(1),
    ):
        with pytest.raises(NotInWorkflowError):
            await attempt()
    for get in (
        workflow.get_external_workflow_handle,
        lambda id: workflow.get_external_workflow_handle_for(kid, id),
    ):
        with pytest.raises(NotInWorkflowError):
            get("x")


def test_external_handles_refuse_what_cannot_be_an_id(run: Run) -> None:
    async def code() -> None:
        with pytest.raises(ValueError, match="workflow_id must not be empty"):
            workflow.get_external_workflow_handle("")
        with pytest.raises(TypeError, match="run_id must be a string"):
            workflow.get_external_workflow_handle("x", run_id=3)  # type: ignore[arg-type]
        with pytest.raises(RegistrationError, match="is an activity"):
            workflow.get_external_workflow_handle_for(act, "x")  # type: ignore[arg-type]
        assert repr(workflow.get_external_workflow_handle("x")) == "<ExternalWorkflowHandle 'x' run None>"

    run(code())


def test_a_client_does_not_start_what_only_a_parent_can() -> None:
    with pytest.raises(TypeError, match="options of a child workflow"):
        check({}, kid.options(id="x").call_options)


def test_a_child_that_fails_fails_its_await(run: Run, host: FakeRuntime) -> None:
    host.answers["chd.unit"] = ApplicationError("no")

    async def code() -> None:
        with pytest.raises(ApplicationError):
            await kid(1)

    run(code())
