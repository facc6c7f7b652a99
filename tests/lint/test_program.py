"""The way through a program: which functions are workflow code, in whichever file they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint.rig import lint

CLOCK = "import time\n\ndef now() -> float:\n    return time.time()\n"

FLOW = """
from durable import workflow
{imports}

@workflow.defn
async def flow() -> object:
    return {call}
"""


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from shop.clock import now", "now()"),
        ("from shop.clock import now as n", "n()"),
        ("from shop import clock", "clock.now()"),
        ("import shop.clock", "shop.clock.now()"),
        ("import shop.clock as c", "c.now()"),
        ("from .clock import now", "now()"),
        ("from . import clock", "clock.now()"),
        ("from shop import now", "now()"),
        ("from shop.clock import now", "sorted([1], key=lambda one: now())"),
        ("from shop.clock import now\nfrom functools import partial", "partial(now)()"),
    ],
)
@pytest.mark.parametrize("paths", [(), ("shop/flows.py",)])
@pytest.mark.parametrize("folder", ["", "src/"])
def test_helpers_are_found_through_every_kind_of_import(
    imports: str, call: str, paths: tuple[str, ...], folder: str, tmp_path: Path
) -> None:
    files = {
        f"{folder}shop/__init__.py": "from shop.clock import now\n",
        f"{folder}shop/clock.py": CLOCK,
        f"{folder}shop/flows.py": FLOW.format(imports=imports, call=call),
    }
    (found,) = lint(tmp_path, files=files, paths=tuple(folder + one for one in paths))
    assert (found.path, found.line, found.code) == (f"{folder}shop/clock.py", 4, "DUR101")
    assert found.message.endswith("(in now, which workflow flow runs)")


def test_scripts_beside_each_other_import_by_bare_names_and_packages_need_no_file(tmp_path: Path) -> None:
    files = {
        "one/flows.py": FLOW.format(imports="from clock import now", call="now()"),
        "one/clock.py": "def now() -> int:\n    return 1\n",
        "two/flows.py": FLOW.format(imports="from clock import now", call="now()"),
        "two/clock.py": CLOCK,
        "three/flows.py": FLOW.format(imports="from two import clock", call="clock.now()"),
    }
    (found,) = lint(tmp_path, files=files)
    assert found.path == "two/clock.py"


def test_helpers_are_methods_properties_decorators_and_constructors_too(tmp_path: Path) -> None:
    found = lint(
        tmp_path,
        """
        import random, time, uuid
        from collections.abc import Callable
        from dataclasses import dataclass, field
        from durable import workflow

        class Base:
            def inherited(self) -> float:
                return random.random()

        @dataclass
        class Order(Base):
            name: str

            def __post_init__(self) -> None:
                self.made = time.time()

            @property
            def id(self) -> str:
                return str(uuid.uuid4())

            def untouched(self) -> float:
                return random.random()

        def traced(fn: Callable[..., object]) -> Callable[..., object]:
            def outer(*args: object) -> object:
                time.time()
                return fn(*args)
            return outer

        @traced
        def helper() -> int:
            return 1

        class Shop:
            def __init__(self, order: Order) -> None:
                self.order = order

            def sell(self) -> float:
                return self.order.inherited()

        @workflow.defn
        async def flow(order: Order) -> object:
            Order("a")
            helper()
            return order.id, Shop(order).sell()
        """,
    )
    assert [(one.line, one.code) for one in found] == [
        (8, "DUR102"),
        (15, "DUR101"),
        (19, "DUR103"),
        (26, "DUR101"),
    ]


def test_of_a_class_every_handler_is_workflow_code_and_what_it_inherits(tmp_path: Path) -> None:
    found = lint(
        tmp_path,
        """
        import random
        from durable import workflow

        class Common:
            @workflow.signal
            def nudge(self) -> None:
                self.nudged = random.random()

        @workflow.defn
        class Flow(Common):
            @workflow.init
            def __init__(self, name: str) -> None:
                self.one = random.random()

            @workflow.run
            async def run(self, name: str) -> None:
                await self.step()

            async def step(self) -> None:
                self.two = random.random()

            @workflow.update
            async def change(self) -> None:
                self.three = random.random()

            @workflow.query
            def status(self) -> float:
                return random.random()

            @staticmethod
            def for_clients() -> float:
                return random.random()
        """,
    )
    assert [one.line for one in found] == [7, 13, 20, 24, 28]


def test_activities_clients_and_tests_may_do_as_they_like(tmp_path: Path) -> None:
    assert not lint(
        tmp_path,
        """
        import random, time, uuid
        from durable import Client, Worker, activity, workflow

        def helper() -> float:
            return random.random()

        @activity.defn
        def act() -> float:
            print(open("a").read())
            return helper() + time.time()

        class Things:
            @activity.method
            async def act(self) -> float:
                return helper()

        @workflow.defn
        async def flow() -> float:
            return await act() + await Things.act() + await workflow.execute_activity(act)

        async def main() -> None:
            async with Client.connect("sqlite:///a.db") as client, Worker(client):
                print(await client.execute_workflow(flow(), id=str(uuid.uuid4())))
        """,
    )


@pytest.mark.parametrize(
    "decorator",
    [
        "@workflow.defn",
        "@workflow.defn(name='a', task_queue='b')",
        "@durable.workflow.defn",
        "@defn",
        "@mine",
        "@mine_too",
    ],
)
def test_decorators_by_any_name(decorator: str, tmp_path: Path) -> None:
    text = f"""
import time
import durable
from durable import workflow
from durable.workflow import defn

mine = workflow.defn
mine_too = workflow.defn(task_queue="bills")

{decorator}
async def flow() -> float:
    return time.time()
"""
    assert [one.code for one in lint(tmp_path, text)] == ["DUR101"]


def test_names_that_go_round_in_circles_end_the_search(tmp_path: Path) -> None:
    files = {
        "a.py": "from b import x\ny = x\n",
        "b.py": "from a import y\nx = y\n\nclass A(A): ...\n",
        "c.py": FLOW.format(imports="from a import x\nfrom b import A", call="(x(), A().b(), A)"),
    }
    assert lint(tmp_path, files=files) == []


def test_a_file_that_is_no_python_is_one_finding(tmp_path: Path) -> None:
    files = {"good.py": CLOCK, "bad.py": "def f(:\n", "latin.py": ""}
    (tmp_path / "raw.py").write_bytes(b"x = '\xff'\n")
    found = lint(tmp_path, files=files)
    assert [(one.path, one.code) for one in found] == [("bad.py", "DUR900"), ("raw.py", "DUR900")]
    assert found[0].line == 1


def test_interceptors_of_workflows_are_workflow_code(tmp_path: Path) -> None:
    found = lint(
        tmp_path,
        """
        import time
        from durable.worker import WorkflowInboundInterceptor

        class Timed(WorkflowInboundInterceptor):
            async def execute_workflow(self, input: object) -> object:
                time.time()
                return await super().execute_workflow(input)
        """,
    )
    assert [one.code for one in found] == ["DUR101"]
