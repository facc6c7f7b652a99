"""The way through the code: loops that never end, exceptions that must pass, patches, and the end by continuing as new."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from durable.lint._code import SCOPES
from durable.lint._reach import Look, Use
from durable.lint._rule import Found, Rule

ALL = ("builtins.BaseException", "builtins.BaseExceptionGroup")
CANCELLED = (
    "asyncio.CancelledError",
    "asyncio.exceptions.CancelledError",
    "concurrent.futures.CancelledError",
)
CONTINUES = ("durable.workflow.ContinueAsNewError",)


def within(nodes: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """The nodes of some statements, without those of functions that they define."""
    waiting = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, SCOPES):
            waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def caught(handler: ast.ExceptHandler, look: Look) -> set[str]:
    """The dotted names of what a handler catches; "" for everything."""
    if handler.type is None:
        return {""}
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {look.dotted(one.func if isinstance(one, ast.Call) else one) or "?" for one in types}


def catches_all(handler: ast.ExceptHandler, look: Look) -> bool:
    """Whether a handler catches every exception there is, and none of them leaves it."""
    found = caught(handler, look)
    return bool(found & {"", *ALL}) and not any(isinstance(one, ast.Raise) for one in within(handler.body))


class Swallowed(Rule):
    """A cancellation, or whatever ends the workflow, is caught and does not go on: `except BaseException`, `except:`."""

    code = "DUR401"
    name = "swallowed-cancel"
    bad = """
    from durable import activity, workflow

    @activity.defn
    async def charge(order: str) -> None: ...

    @workflow.defn
    async def checkout(order: str) -> str:
        try:
            await charge(order)
        except BaseException:
            return "failed"
        return "paid"
    """
    good = """
    from durable import ActivityError, activity, workflow

    @activity.defn
    async def charge(order: str) -> None: ...

    @workflow.defn
    async def checkout(order: str) -> str:
        try:
            await charge(order)
        except ActivityError:
            return "failed"
        return "paid"
    """

    def check(self, look: Look) -> Iterator[Found]:
        cancelled = {
            ast.unparse(node.func.value)
            for node in look.nodes
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "cancel"
        }
        for node in look.nodes:
            if not isinstance(node, ast.Try | ast.TryStar):
                continue
            if any(_continues(one, look) for one in within(node.body)):
                continue  # DUR402 tells
            for handler in node.handlers:
                if catches_all(handler, look):
                    yield (
                        handler,
                        "this catches the cancellation of the workflow too, and whatever else ends it; catch Exception, or raise it again",
                    )
                elif (
                    caught(handler, look) & set(CANCELLED)
                    and any(isinstance(one, ast.While) and _is_true(one.test) for one in look.around(node))
                    and not _leaves(handler)
                    and not _awaits_one_of(cancelled, node)
                ):
                    yield (
                        handler,
                        "the loop goes on over a cancellation, so the workflow cannot be cancelled; raise it again, or leave the loop",
                    )


def _leaves(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(one, ast.Raise | ast.Return | ast.Break) for one in within(handler.body))


def _awaits_one_of(names: set[str], node: ast.Try | ast.TryStar) -> bool:
    """Whether what is awaited in a `try` was cancelled by the code itself, which then waits for its end."""
    return any(isinstance(one, ast.Await) and ast.unparse(one.value) in names for one in within(node.body))


def _continues(node: ast.AST, look: Look) -> bool:
    return isinstance(node, ast.Call) and look.dotted(node.func) == "durable.workflow.continue_as_new"


class CaughtContinue(Rule):
    """`workflow.continue_as_new()` is called where its exception does not get out: under `except BaseException`, `except:`, `finally: return`."""

    code = "DUR402"
    name = "caught-continue-as-new"
    bad = """
    from durable import workflow

    @workflow.defn
    async def poll(round: int) -> str:
        try:
            await workflow.sleep(60)
            workflow.continue_as_new(round + 1)
        except:
            return "failed"
    """
    good = """
    from durable import workflow

    @workflow.defn
    async def poll(round: int) -> str:
        try:
            await workflow.sleep(60)
        except TimeoutError:
            return "failed"
        workflow.continue_as_new(round + 1)
    """

    def check(self, look: Look) -> Iterator[Found]:
        for node in look.nodes:
            if not _continues(node, look):
                continue
            inner = node
            for around in look.around(node):
                if (
                    isinstance(around, ast.Try | ast.TryStar)
                    and inner in around.body
                    and self._kept(around, look)
                ):
                    yield (
                        node,
                        "continue_as_new() ends the run by an exception, which is caught here; call it behind the `try`",
                    )
                    break
                inner = around

    def _kept(self, node: ast.Try | ast.TryStar, look: Look) -> bool:
        for handler in node.handlers:
            named = caught(handler, look) & {"", *ALL, *CONTINUES}
            if named and not any(isinstance(one, ast.Raise) for one in within(handler.body)):
                return True
        return any(isinstance(one, ast.Return) for one in within(node.finalbody))


class EndlessLoop(Rule):
    """A loop has no end and nothing in it waits, so the worker stands still: `while True` without `await`."""

    code = "DUR403"
    name = "endless-loop"
    bad = """
    from durable import workflow

    @workflow.defn
    class Wait:
        def __init__(self) -> None:
            self.ready = False

        @workflow.run
        async def run(self) -> None:
            while not self.ready:
                pass

        @workflow.signal
        def go(self) -> None:
            self.ready = True
    """
    good = """
    from durable import workflow

    @workflow.defn
    class Wait:
        def __init__(self) -> None:
            self.ready = False

        @workflow.run
        async def run(self) -> None:
            await workflow.wait_condition(lambda: self.ready)

        @workflow.signal
        def go(self) -> None:
            self.ready = True
    """

    def check(self, look: Look) -> Iterator[Found]:
        for node in look.nodes:
            if isinstance(node, ast.While) and (_for_ever(node) or _only_waits(node)):
                yield (
                    node,
                    "nothing in this loop waits, so it holds up every run of the worker; await workflow.wait_condition() or workflow.sleep() "
                    "in it",
                )


def _is_true(test: ast.expr) -> bool:
    return isinstance(test, ast.Constant) and bool(test.value)


def _for_ever(node: ast.While) -> bool:
    if not _is_true(node.test):
        return False
    pauses = (ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Yield, ast.YieldFrom, ast.Return, ast.Raise)
    return not any(isinstance(one, pauses) for one in within(node.body)) and not _breaks(node.body)


def _breaks(body: Sequence[ast.AST]) -> bool:
    """Whether a `break` in a loop's body leaves that loop, not one within it."""
    for node in body:
        if isinstance(node, ast.Break):
            return True
        if isinstance(node, SCOPES):
            continue
        inside = (
            node.orelse
            if isinstance(node, ast.While | ast.For | ast.AsyncFor)
            else list(ast.iter_child_nodes(node))
        )
        if _breaks(inside):
            return True
    return False


def _only_waits(node: ast.While) -> bool:
    nothing = all(
        isinstance(one, ast.Pass | ast.Continue)
        or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in node.body
    )
    return nothing and not any(
        isinstance(one, ast.Await | ast.Call | ast.NamedExpr) for one in ast.walk(node.test)
    )


class Patches(Rule):
    """`workflow.patched` is used in a way that decides nothing, or contradicts itself."""

    code = "DUR404"
    name = "patches"
    bad = """
    from durable import activity, workflow

    @activity.defn
    async def ask_the_bank(order: str) -> None: ...

    @workflow.defn
    async def checkout(order: str) -> None:
        workflow.patched("ask-the-bank")
        await ask_the_bank(order)
    """
    good = """
    from durable import activity, workflow

    @activity.defn
    async def ask_the_bank(order: str) -> None: ...

    @workflow.defn
    async def checkout(order: str) -> None:
        if workflow.patched("ask-the-bank"):
            await ask_the_bank(order)
    """

    def check(self, look: Look) -> Iterator[Found]:
        asked: dict[str, Use] = {}
        deprecated: dict[str, Use] = {}
        for use in look.uses:
            if use.meaning == "durable.workflow.patched" and use.call is not None:
                if isinstance(look.parent(use.call), ast.Expr):
                    yield (
                        use.node,
                        "patched() decides nothing here; put the new way under `if`, or say deprecate_patch() when the old one is gone",
                    )
                asked.setdefault(_patch_id(use.call), use)
            elif use.meaning == "durable.workflow.deprecate_patch" and use.call is not None:
                if not isinstance(look.parent(use.call), ast.Expr):
                    yield (
                        use.node,
                        "deprecate_patch() answers nothing; leave it as a line of its own, and keep the new way only",
                    )
                deprecated.setdefault(_patch_id(use.call), use)
        for id in asked.keys() & deprecated.keys() - {""}:
            yield (
                deprecated[id].node,
                f"patch {id!r} is still asked for in line {asked[id].node.lineno}; replace patched() by deprecate_patch(), do not keep both",
            )


def _patch_id(call: ast.Call) -> str:
    id = call.args[0] if call.args else next((one.value for one in call.keywords if one.arg == "id"), None)
    return id.value if isinstance(id, ast.Constant) and isinstance(id.value, str) else ""


RULES: tuple[Rule, ...] = (Swallowed(), CaughtContinue(), EndlessLoop(), Patches())
