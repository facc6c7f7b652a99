"""What `@workflow.defn` makes of functions and classes, and what it refuses."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from durable import workflow
from durable.activity._registry import Registry
from durable.exceptions import NotInWorkflowError, RegistrationError
from durable.workflow import Workflow, _defn, _workflow
from durable.workflow._definition import WorkflowDefinition, WorkflowOptions
from durable.workflow._workflow import collect, definition_of
from tests.workflow.fakes import FakeRuntime, Run


@dataclass
class Decision:
    ok: bool


@workflow.defn(
    name="shop.checkout", task_queue="shop", run_timeout=timedelta(days=1), failure_exception_types=[KeyError]
)
async def checkout(order: str, note: str = "") -> Decision:
    """Sells something."""
    return Decision(True)


@workflow.defn
class Publish:
    @workflow.init
    def __init__(self, doc: str, pages: int = 1) -> None:
        self.doc = doc
        self.decision: Decision | None = None

    @workflow.run
    async def run(self, doc: str, pages: int = 1) -> Decision | None:
        return self.decision

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        """Decides."""
        self.decision = decision

    @workflow.signal(name="take-back", description="forget it")
    async def take_back(self) -> None:
        self.decision = None

    @workflow.signal(dynamic=True)
    def anything(self, name: str, args: list[Any]) -> None: ...

    @workflow.query
    def status(self, short: bool = False) -> str:
        return "decided" if self.decision else "open"

    @workflow.update
    async def rename(self, new: str) -> int:
        return len(new)

    @rename.validator
    def check_name(self, new: str) -> None:
        if not new:
            raise ValueError("empty")


@workflow.defn
class Draft(Publish):
    def __init__(self) -> None:
        super().__init__("draft")

    @workflow.run
    async def run(self, doc: str, pages: int = 1) -> Decision | None:
        return await super().run(doc, pages)

    @workflow.signal
    def decide(self, decision: Decision) -> None:
        super().decide(decision)


def test_function_style() -> None:
    definition = checkout.definition
    assert (definition.name, definition.cls, definition.qualname) == ("shop.checkout", None, "checkout")
    assert (definition.arg_types, definition.ret_type) == ((str, str), Decision)
    assert definition.options == WorkflowOptions(task_queue="shop", run_timeout=86_400_000_000)
    assert definition.failure_exception_types == (KeyError,)
    assert definition.where.startswith("tests/workflow/test_definitions.py:")
    assert (checkout.__name__, checkout.__doc__) == ("checkout", "Sells something.")
    assert repr(checkout).startswith("<workflow shop.checkout from tests/")
    assert not definition.dynamic


def test_class_style() -> None:
    definition = definition_of(Publish)
    assert definition is definition_of(Publish.run)
    assert (definition.name, definition.cls, definition.init_takes_args) == ("Publish", Publish, True)
    assert list(definition.signature.parameters) == ["doc", "pages"]
    assert definition.arg_types == (str, int)
    assert set(definition.signals) == {"decide", "take-back", None}
    assert definition.signals["decide"].arg_types == (Decision,)
    assert not definition.signals["decide"].is_async
    assert definition.signals["take-back"].is_async
    assert definition.signals["take-back"].description == "forget it"
    assert definition.queries["status"].ret_type is str
    update = definition.updates["rename"]
    assert (update.arg_types, update.ret_type, update.validator) == (
        (str,),
        int,
        Publish.__dict__["check_name"],
    )


def test_on_the_object_messages_are_plain_methods() -> None:
    publish = Publish("d")
    publish.decide(Decision(True))
    assert publish.status() == "decided"


def test_on_the_class_they_are_calls() -> None:
    signal = Publish.decide(Decision(True))
    assert (signal.name, signal.args) == ("decide", (Decision(True),))
    query = Publish.status(short=True)
    assert (query.name, query.args, query.result_type) == ("status", (True,), str)
    update = Publish.rename("x")
    assert (update.name, update.args, update.result_type) == ("rename", ("x",), int)
    with pytest.raises(
        TypeError, match=r"signal 'decide': missing a required argument: 'decision'. It is defined as"
    ):
        Publish.decide()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"the dynamic signal handler at tests/.* has no name to call it by"):
        Publish.anything("x", [])


def test_a_subclass_inherits_handlers_and_has_its_own() -> None:
    definition = definition_of(Draft)
    assert set(definition.signals) == {"decide", "take-back", None}
    assert definition.signals["decide"] is not definition_of(Publish).signals["decide"]
    assert definition.signals["take-back"] is definition_of(Publish).signals["take-back"]
    assert not definition.init_takes_args
    assert definition_of(Draft.run) is definition


def test_a_call_is_bound_and_carries_options() -> None:
    call = checkout.options(task_queue="fast", task_timeout=5)("o", note="n")
    assert (call.name, call.args, call.result_type) == ("shop.checkout", ("o", "n"), Decision)
    assert call.options == WorkflowOptions(
        task_queue="fast", run_timeout=86_400_000_000, task_timeout=5_000_000
    )
    assert checkout("o").options.task_queue == "shop"
    assert repr(Publish.run("d")) == "<workflow call Publish('d')>"
    with pytest.raises(TypeError, match=r"workflow 'Publish': missing a required argument: 'doc'"):
        Publish.run()  # type: ignore[call-arg]


async def test_outside_of_workflows_a_call_is_for_a_client() -> None:
    with pytest.raises(
        NotInWorkflowError, match=r"use `await client.execute_workflow\(shop.checkout\(...\), id=...\)`"
    ):
        await checkout("o")


def test_a_call_for_a_client_need_not_be_awaited() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checkout("o")
        gc.collect()


def test_in_a_workflow_it_is_a_child(run: Run, host: FakeRuntime) -> None:
    async def code() -> None:
        assert await checkout("o") == "done"
        assert [(child.name, child.args) for child in host.children] == [("shop.checkout", ("o",))]
        with pytest.warns(RuntimeWarning, match="workflow call 'shop.checkout' was never awaited"):
            checkout("o")

    run(code())


def test_sandbox_options_of_temporal() -> None:
    @workflow.defn(sandboxed=False)
    async def free() -> None: ...

    assert free.name == "free"
    with workflow.unsafe.imports_passed_through(), workflow.unsafe.sandbox_unrestricted():
        pass
    with pytest.raises(ValueError, match="sandboxed=True asks for what this library does not have"):
        workflow.defn(sandboxed=True)


# ---- what is refused


def _plain() -> None:
    @workflow.defn
    def work() -> None: ...  # type: ignore[arg-type]


def _keyword_only() -> None:
    @workflow.defn
    async def work(*, x: int) -> None: ...


def _not_even_a_function() -> None:
    workflow.defn(3)  # type: ignore[call-overload]


def _no_run() -> None:
    @workflow.defn
    class Empty: ...


def _plain_run() -> None:
    class Work:
        @workflow.run
        def run(self) -> None: ...  # type: ignore[arg-type]


def _two_runs() -> None:
    @workflow.defn
    class Work:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.run
        async def walk(self) -> None: ...


def _inherited_run() -> None:
    @workflow.defn
    class Work(Publish): ...


def _undecorated() -> None:
    class Work:
        @workflow.run
        async def run(self) -> None: ...

    Work.run()


def _needs_arguments() -> None:
    @workflow.defn
    class Work:
        def __init__(self, x: int) -> None: ...

        @workflow.run
        async def run(self, x: int) -> None: ...


def _other_arguments() -> None:
    @workflow.defn
    class Work:
        @workflow.init
        def __init__(self, x: int) -> None: ...

        @workflow.run
        async def run(self, x: str) -> None: ...


def _init_elsewhere() -> None:
    class Work:
        @workflow.init
        def setup(self) -> None: ...


def _same_name() -> None:
    @workflow.defn
    class Work:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.signal
        def go(self) -> None: ...

        @workflow.signal(name="go")
        def walk(self) -> None: ...


def _hidden() -> None:
    @workflow.defn
    class Work(Publish):
        @workflow.run
        async def run(self) -> None: ...  # type: ignore[override]

        def decide(self, decision: Decision) -> None: ...  # type: ignore[override]


def _async_query() -> None:
    class Work:
        @workflow.query
        async def status(self) -> str:
            return ""


def _two_validators() -> None:
    class Work:
        @workflow.update
        def rename(self, new: str) -> None: ...

        @rename.validator
        def one(self, new: str) -> None: ...

        @rename.validator
        def two(self, new: str) -> None: ...


def _other_validator() -> None:
    class Work:
        @workflow.update
        def rename(self, new: str) -> None: ...

        @rename.validator
        def check(self, old: str) -> None: ...


def _dynamic_with_name() -> None:
    class Work:
        @workflow.signal(dynamic=True, name="x")
        def all(self, name: str, args: list[Any]) -> None: ...


def _dynamic_with_one() -> None:
    class Work:
        @workflow.query(dynamic=True)
        def all(self, name: str) -> None: ...


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (_plain, RegistrationError, "workflow 'work' (tests/workflow/test_definitions.py:"),
        (
            _plain,
            RegistrationError,
            "must be an `async def`; write `async def` in place of `def`. (A plain function",
        ),
        (
            _keyword_only,
            RegistrationError,
            "parameter 'x' is keyword-only, and arguments are stored by position",
        ),
        (_not_even_a_function, TypeError, "@workflow.defn decorates async functions and classes, not int: 3"),
        (
            _no_run,
            RegistrationError,
            "workflow 'Empty' (_no_run.<locals>.Empty) has no @workflow.run; put it above",
        ),
        (_plain_run, RegistrationError, "Work.run must be an `async def`"),
        (_two_runs, RegistrationError, "has more than one @workflow.run: run and walk; keep one"),
        (
            _inherited_run,
            RegistrationError,
            "inherits its @workflow.run from Publish, and needs one of its own",
        ),
        (
            _undecorated,
            RegistrationError,
            "has a @workflow.run and no @workflow.defn; put @workflow.defn above",
        ),
        (
            _needs_arguments,
            RegistrationError,
            "needs x, and nobody would pass it; put @workflow.init above it",
        ),
        (
            _other_arguments,
            RegistrationError,
            "takes (x: 'int'), and run takes (x: 'str'); they get the same",
        ),
        (
            _init_elsewhere,
            RegistrationError,
            "@workflow.init decorates __init__, not _init_elsewhere.<locals>.Work.setup",
        ),
        (
            _same_name,
            RegistrationError,
            "signal 'go' has two handlers, at tests/workflow/test_definitions.py:",
        ),
        (
            _hidden,
            RegistrationError,
            "Work.decide hides the handler of Publish with something that handles nothing",
        ),
        (_async_query, RegistrationError, "is `async def`, and a query must answer from what is there"),
        (_two_validators, RegistrationError, "there is one already, at tests/workflow/test_definitions.py:"),
        (
            _other_validator,
            RegistrationError,
            "takes (old) and the update (new); they get the same arguments",
        ),
        (_dynamic_with_name, RegistrationError, "a dynamic handler takes every name and has none itself"),
        (
            _dynamic_with_one,
            RegistrationError,
            "must take two parameters: the name, and the list of arguments",
        ),
        (lambda: workflow.defn(name="a\x00b"), None, ""),
        (
            lambda: workflow.defn(name="a\x00b")(Publish),
            ValueError,
            "name must not contain control characters",
        ),
        (lambda: workflow.defn(run_timeout=0), ValueError, "run_timeout must be longer than zero, not 0"),
        (
            lambda: workflow.defn(dynamical=True),
            TypeError,
            "@workflow.defn has no option 'dynamical'; there are execution",
        ),  # type: ignore[call-overload]
        (lambda: workflow.defn(failure_exception_types=[3]), TypeError, "takes exception classes, not 3"),  # type: ignore[list-item]
        (
            lambda: checkout.options(name="x"),
            TypeError,
            "options() of workflow 'shop.checkout' has no option 'name'",
        ),  # type: ignore[call-arg]
        (
            lambda: definition_of(print),
            RegistrationError,
            "print is a plain function; put @workflow.defn above it",
        ),
        (
            lambda: definition_of(Decision),
            RegistrationError,
            "class Decision is not a workflow; put @workflow.defn above",
        ),
        (
            lambda: definition_of("x"),
            RegistrationError,
            "'x' is not a workflow; pass a function or a class under",
        ),
        (
            lambda: definition_of(type("Sub", (Publish,), {})),
            RegistrationError,
            "not a workflow, only its base Publish is",
        ),
    ],
)
def test_what_cannot_be_a_workflow_is_refused_with_a_reason(
    make: Callable[[], object], error: type[Exception] | None, text: str
) -> None:
    if error is None:
        make()
        return
    with pytest.raises(error) as caught:
        make()
    assert text in str(caught.value)


# ---- what a worker serves


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry[WorkflowDefinition]:
    """A process of its own, which has imported `checkout` and `Publish`."""
    registry: Registry[WorkflowDefinition] = Registry("workflow")
    monkeypatch.setattr(_workflow, "REGISTRY", registry)
    monkeypatch.setattr(_defn, "REGISTRY", registry)
    registry.add(checkout.definition)
    registry.add(definition_of(Publish))
    return registry


def test_a_worker_serves_its_queue(registry: Registry[WorkflowDefinition]) -> None:
    assert set(collect(None, "default")) == {"Publish"}
    assert set(collect(None, "shop")) == {"Publish", "shop.checkout"}
    assert set(collect([checkout, Draft, Publish.run, checkout], "default")) == {
        "shop.checkout",
        "Draft",
        "Publish",
    }


def test_two_of_one_name(registry: Registry[WorkflowDefinition]) -> None:
    @workflow.defn(name="Publish")
    async def publish() -> None: ...

    with pytest.raises(
        RegistrationError, match=r"two definitions of workflow 'Publish', at tests/.*:\d+ and at tests/"
    ):
        collect(None, "default")
    with pytest.raises(RegistrationError, match="two definitions of workflow 'Publish'"):
        collect([Publish, publish], "default")
    assert collect([publish], "default")["Publish"] is publish.definition


def test_a_local_class_is_a_workflow_while_it_is_there(registry: Registry[WorkflowDefinition]) -> None:
    def make() -> Any:
        @dataclass
        class Order:
            id: str

        @workflow.defn
        class Local:
            @workflow.run
            async def run(self, order: Order) -> Order:
                return order

            @workflow.signal
            def other(self, local: Local | None) -> None: ...

        return Local, Order

    local, order = make()
    definition = collect(None, "default")["Local"]
    assert definition.arg_types == (order,)
    assert definition.signals["other"].arg_types == (local | None,)
    del definition, local
    gc.collect()
    assert "Local" not in collect(None, "default")


def test_a_hint_of_a_handler_that_cannot_be_read_is_found_when_the_worker_starts() -> None:
    @workflow.defn
    class Bad:
        @workflow.run
        async def run(self) -> None: ...

        @workflow.signal
        def go(self, x: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        RegistrationError, match=r"signal 'go' \(tests/.*\): its type hints cannot be read, since name"
    ):
        collect([Bad], "default")


def test_a_workflow_is_no_coroutine_function() -> None:
    assert isinstance(checkout, Workflow)
    assert checkout.fn is checkout.definition.run_fn
