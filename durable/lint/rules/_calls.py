"""Calls of activities and workflows: that they are awaited, and that what they are given and return can be stored."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from durable.lint._code import Function, Variable
from durable.lint._project import unquoted
from durable.lint._reach import Kind, Look
from durable.lint._rule import Found, Rule, Where, lookup, shown

WORKFLOW_COROUTINES = {
    f"durable.workflow.{name}"
    for name in [
        "sleep",
        "sleep_until",
        "wait_condition",
        "wait",
        "map",
        "execute_activity",
        "execute_activity_method",
        "execute_local_activity",
        "execute_local_activity_method",
        "execute_child_workflow",
        "start_child_workflow",
    ]
}

OTHER_COROUTINES = {"asyncio.sleep", "asyncio.wait", "asyncio.wait_for", "anyio.sleep", "anyio.sleep_until"}

SIGNALS = ("durable.Signal", "durable.workflow.Signal")


class NotAwaited(Rule):
    """An activity, a child workflow, a timer or a helper is called and not awaited, so nothing happens."""

    code = "DUR501"
    name = "not-awaited"
    bad = """
    from durable import activity, workflow

    @activity.defn
    async def charge(order: str) -> None: ...

    @workflow.defn
    async def checkout(order: str) -> str:
        charge(order)
        return "paid"
    """
    good = """
    from durable import activity, workflow

    @activity.defn
    async def charge(order: str) -> None: ...

    @workflow.defn
    async def checkout(order: str) -> str:
        await charge(order)
        return "paid"
    """

    def check(self, look: Look) -> Iterator[Found]:
        for node in look.nodes:
            if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
                continue
            name, start = _awaitable(node.value, look)
            if name is not None:
                more = f"; await it{', or call .start() to go on meanwhile' if start else ''}"
                yield node.value, f"{name}() does nothing unless it is awaited{more}"


def _awaitable(call: ast.Call, look: Look) -> tuple[str | None, bool]:
    """The name of what must be awaited, and whether it has `.start()`; None for what need not be."""
    func = call.func
    if (
        isinstance(func, ast.Call)
        and isinstance(func.func, ast.Attribute)
        and func.func.attr == "options"
        and look.kind_of(func.func.value) in (Kind.ACTIVITY, Kind.WORKFLOW)
    ):
        return ast.unparse(func.func.value), True  # charge.options(...)(order)
    kind = look.kind_of(func)
    if kind in (Kind.ACTIVITY, Kind.WORKFLOW):
        return ast.unparse(func), True
    found = look.meaning(func)
    if isinstance(found, str) and (found in WORKFLOW_COROUTINES or found in OTHER_COROUTINES):
        return shown(found), False
    if isinstance(found, Function) and found.is_async and kind is None and not found.decorators:
        generates = any(isinstance(one, ast.Yield) for one in found.nodes)
        return (None if generates else ast.unparse(func)), False
    if isinstance(func, ast.Attribute) and func.attr == "receive":
        signal = look.meaning(func.value)
        if isinstance(signal, Variable) and look.project.type_of(func.value, look.function) in SIGNALS:
            return ast.unparse(func), False
    return None, False


NOT_STORED = {
    "typing.Callable": "code is not data",
    "collections.abc.Callable": "code is not data",
    "types.FunctionType": "code is not data",
    "builtins.type": "classes are not data",
    "typing.Type": "classes are not data",
    **dict.fromkeys(
        (
            f"{module}.{name}"
            for module in ("typing", "collections.abc")
            for name in (
                "Iterator",
                "Generator",
                "AsyncIterator",
                "AsyncIterable",
                "AsyncGenerator",
                "Awaitable",
                "Coroutine",
            )
        ),
        "it can be gone through once only; make a list of it",
    ),
    **dict.fromkeys(("typing.IO", "typing.TextIO", "typing.BinaryIO", "io.*"), "an open file; pass its path"),
    "socket.*": "a connection; open it in the activity",
    "threading.*": "it belongs to one process",
    "asyncio.*": "it belongs to one run's event loop",
    "sqlite3.Connection": "a connection; open it in the activity",
    "asyncpg.*": "a connection; open it in the activity",
    "psycopg.*": "a connection; open it in the activity",
    "logging.*": "use activity.logger or workflow.logger",
    "durable.Client": "use activity.client()",
    "durable.client.Client": "use activity.client()",
}
"""Types whose values cannot be stored, and why or what to do."""


class NotStorable(Rule):
    """What is passed or returned cannot be stored: functions, iterators, open files, locks, connections."""

    code = "DUR502"
    name = "not-storable"
    where = Where.DEFINITION
    bad = """
    from collections.abc import Callable

    from durable import activity

    @activity.defn
    async def each(names: list[str], then: Callable[[str], None]) -> None: ...
    """
    good = """
    from durable import activity

    @activity.defn
    async def each(names: list[str], then: str) -> None: ...
    """

    def check(self, look: Look) -> Iterator[Found]:
        for annotation in _annotations(look):
            for name in _named(annotation, look):
                if (why := lookup(NOT_STORED, name)) is not None:
                    yield annotation, f"{shown(name)} cannot be stored as an argument or a result: {why}"


def _annotations(look: Look) -> Iterator[ast.expr]:
    node = look.function.node
    if isinstance(node, ast.Lambda):
        return
    skipped = 1 if look.function.first_parameter is not None else 0
    if look.kind is Kind.ACTIVITY and _is_transactional(look):
        skipped += 1  # the connection, which the worker passes
    for one in look.function.parameters[skipped:]:
        if one.annotation is not None:
            yield one.annotation
    if node.returns is not None:
        yield node.returns


def _is_transactional(look: Look) -> bool:
    return any(
        isinstance(decorator, ast.Call) and any(one.arg == "transactional" for one in decorator.keywords)
        for decorator in look.function.decorators
    )


def _named(annotation: ast.expr, look: Look) -> Iterator[str]:
    """The dotted names in an annotation; of what is unfit, not its parameters as well."""
    plain = unquoted(annotation)
    scope = look.function.outer or look.function.module
    if isinstance(plain, ast.Name | ast.Attribute):
        found = look.project.meaning(plain, scope)
        if isinstance(found, str):
            yield found
    elif isinstance(plain, ast.Subscript):
        outer = list(_named(plain.value, look))
        yield from outer
        if not any(lookup(NOT_STORED, one) for one in outer) and outer != ["typing.Literal"]:
            yield from _named(plain.slice, look)
    elif isinstance(plain, ast.Tuple | ast.List):
        for one in plain.elts:
            yield from _named(one, look)
    elif isinstance(plain, ast.BinOp):
        yield from _named(plain.left, look)
        yield from _named(plain.right, look)


class ArgumentNotStorable(Rule):
    """A call is given what cannot be stored: a lambda, a generator, an open file, a lock."""

    code = "DUR503"
    name = "argument-not-storable"
    bad = """
    from durable import activity, workflow

    @activity.defn
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    @workflow.defn
    async def squares(upto: int) -> int:
        return await total(n * n for n in range(upto))
    """
    good = """
    from durable import activity, workflow

    @activity.defn
    async def total(numbers: list[int]) -> int:
        return sum(numbers)

    @workflow.defn
    async def squares(upto: int) -> int:
        return await total([n * n for n in range(upto)])
    """

    def check(self, look: Look) -> Iterator[Found]:
        for node in look.nodes:
            if not isinstance(node, ast.Call):
                continue
            for value in _stored_arguments(node, look):
                if isinstance(value, ast.Lambda):
                    yield value, "a function cannot be stored; pass what it decides by"
                elif isinstance(value, ast.GeneratorExp):
                    yield value, "a generator cannot be stored; make a list of it"
                else:
                    kind = look.project.type_of(value, look.function)
                    why = lookup(NOT_STORED, kind) if isinstance(kind, str) else None
                    if why is not None:
                        yield value, f"{shown(str(kind))} cannot be stored as an argument: {why}"


def _stored_arguments(call: ast.Call, look: Look) -> list[ast.expr]:
    if look.kind_of(call.func) in (Kind.ACTIVITY, Kind.WORKFLOW):
        return [*call.args, *(one.value for one in call.keywords)]
    name = look.dotted(call.func)
    if name == "durable.workflow.continue_as_new":
        return call.args
    if name in WORKFLOW_COROUTINES and "execute" in name:
        return call.args[1:]
    return []


class NoAnnotation(Rule):
    """A workflow, an activity or a message does not say what it takes and returns, so values come back as plain JSON."""

    code = "DUR504"
    name = "no-annotation"
    where = Where.DEFINITION
    bad = """
    from durable import activity

    @activity.defn
    async def charge(order, cents: int):
        return f"{order}: {cents}"
    """
    good = """
    from durable import activity

    @activity.defn
    async def charge(order: str, cents: int) -> str:
        return f"{order}: {cents}"
    """

    # What a signal handler or a validator returns is thrown away, and `__init__` returns nothing.
    RETURNING = (Kind.WORKFLOW, Kind.ACTIVITY, Kind.QUERY)

    def check(self, look: Look) -> Iterator[Found]:
        function, node = look.function, look.function.node
        if isinstance(node, ast.Lambda):
            return
        if look.kind in self.RETURNING and node.returns is None and node.name != "__init__":
            yield (
                node,
                f"{function.name}() does not say what it returns, so its result is read back as plain JSON; annotate it",
            )
        named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        for one in named[1 if function.first_parameter is not None else 0 :]:
            if one.annotation is None:
                yield (
                    one,
                    f"parameter {one.arg!r} has no type, so it is read back as plain JSON; annotate it",
                )


RULES: tuple[Rule, ...] = (NotAwaited(), NotStorable(), ArgumentNotStorable(), NoAnnotation())
