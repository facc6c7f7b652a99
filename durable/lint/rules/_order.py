"""An order that nobody can repeat: that of sets, and of what hangs on addresses and salted hashes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from durable.lint._code import Assigned, Function, Module
from durable.lint._project import Project, unquoted
from durable.lint._reach import Kind, Look
from durable.lint._rule import Found, Rule

SETS = (
    "builtins.set",
    "builtins.frozenset",
    "typing.Set",
    "typing.FrozenSet",
    "typing.AbstractSet",
    "collections.abc.Set",
    "collections.abc.MutableSet",
)

SAME_EVERYWHERE = ("builtins.int", "builtins.bool", "builtins.float", "asyncio.Task", "asyncio.Future")
"""Elements whose hashes are the same at every replay: numbers, and the tasks of the workflow's own loop."""

MAKES_TASKS = ("create_task", "ensure_future", "start", "start_activity", "start_child_workflow")

OF_SETS = ("union", "intersection", "difference", "symmetric_difference", "copy")

ORDER_FREE = {
    f"builtins.{name}"
    for name in ["sorted", "set", "frozenset", "sum", "min", "max", "len", "any", "all", "bool", "isinstance"]
} | {"collections.Counter", "math.fsum", "math.prod"}
"""What comes to the same in whichever order."""

ORDERED = {
    f"builtins.{name}"
    for name in [
        "list",
        "tuple",
        "iter",
        "enumerate",
        "zip",
        "map",
        "filter",
        "reversed",
        "next",
        "str",
        "repr",
    ]
} | {
    "durable.workflow.map",
    "durable.workflow.as_completed",
    "itertools.chain",
    "itertools.batched",
    "itertools.islice",
    "collections.deque",
    "asyncio.gather",
}
"""What keeps the order of what it is given."""


def is_unordered(node: ast.AST, scope: Function | Module, project: Project, depth: int = 8) -> bool:
    """Whether an expression is a set whose order may be another at a replay."""
    if depth == 0:
        return False
    if isinstance(node, ast.Set):
        return not all(_same_everywhere(one, scope, project) for one in node.elts)
    if isinstance(node, ast.SetComp):
        return not _same_everywhere(node.elt, scope, project)
    if isinstance(node, ast.Call):
        return _call_is_unordered(node, scope, project, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
        sides = (node.left, node.right)
        return any(is_unordered(one, scope, project, depth - 1) or _is_keys(one) for one in sides)
    if isinstance(node, ast.Name | ast.Attribute):
        found = project.known(node, scope)
        if found is None:
            return False
        said, where = found
        if said.annotation is not None:
            return _annotation_is_unordered(said.annotation, where, project)
        return said.value is not None and is_unordered(said.value, where, project, depth - 1)
    if isinstance(node, ast.Await):
        return isinstance(node.value, ast.Call) and _returns_unordered(node.value, scope, project)
    return False


def _call_is_unordered(node: ast.Call, scope: Function | Module, project: Project, depth: int) -> bool:
    called = project.meaning(node.func, scope)
    if called in ("builtins.set", "builtins.frozenset"):
        return not node.args or not _items_same_everywhere(node.args[0], scope, project)
    if isinstance(node.func, ast.Attribute) and node.func.attr in OF_SETS:
        return is_unordered(node.func.value, scope, project, depth - 1)
    return _returns_unordered(node, scope, project)


def _returns_unordered(node: ast.Call, scope: Function | Module, project: Project) -> bool:
    called = project.meaning(node.func, scope)
    if (
        isinstance(called, Function)
        and not isinstance(called.node, ast.Lambda)
        and called.node.returns is not None
    ):
        return _annotation_is_unordered(called.node.returns, called.module, project)
    return False


def _annotation_is_unordered(node: ast.expr, scope: Function | Module, project: Project) -> bool:
    plain = unquoted(node)
    if isinstance(plain, ast.BinOp) and isinstance(plain.op, ast.BitOr):
        return any(_annotation_is_unordered(one, scope, project) for one in (plain.left, plain.right))
    if isinstance(plain, ast.Subscript):
        if project.meaning(plain.value, scope) not in SETS:
            return False
        element = plain.slice
        return project.annotated(element, scope) not in SAME_EVERYWHERE
    return project.meaning(plain, scope) in SETS


def _is_keys(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "keys"


def _same_everywhere(node: ast.AST, scope: Function | Module, project: Project) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or node.value is None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        if name in MAKES_TASKS:
            return True
    if isinstance(node, ast.Name):
        found = project.known(node, scope)
        if found is not None and found[0].annotation is None and found[0].value is not None:
            return isinstance(found[0].value, ast.Call | ast.Constant) and _same_everywhere(
                found[0].value, found[1], project
            )
    return project.type_of(node, scope) in SAME_EVERYWHERE


def _items_same_everywhere(node: ast.AST, scope: Function | Module, project: Project) -> bool:
    """Whether all that something iterates over has hashes that are the same at every replay."""
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(_same_everywhere(one, scope, project) for one in node.elts)
    if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp):
        return _same_everywhere(node.elt, scope, project)
    if isinstance(node, ast.Call) and project.meaning(node.func, scope) == "builtins.range":
        return True
    if isinstance(node, ast.Name | ast.Attribute) and (found := project.known(node, scope)) is not None:
        said: Assigned = found[0]
        if said.annotation is not None:
            plain = unquoted(said.annotation)
            return (
                isinstance(plain, ast.Subscript)
                and project.annotated(plain.slice, found[1]) in SAME_EVERYWHERE
            )
        return said.value is not None and _items_same_everywhere(said.value, found[1], project)
    return False


class UnorderedSet(Rule):
    """The order of a set decides what is done in which order: a loop that awaits, `asyncio.gather(*names)`, `list(names)`."""

    code = "DUR201"
    name = "set-order"
    message = "a set has another order in another process, and with it the workflow's steps; iterate over sorted(...), or keep a list"
    bad = """
    from durable import activity, workflow

    @activity.defn
    async def invite(name: str) -> None: ...

    @workflow.defn
    async def party(names: set[str]) -> None:
        for name in names:
            await invite(name)
    """
    good = """
    from durable import activity, workflow

    @activity.defn
    async def invite(name: str) -> None: ...

    @workflow.defn
    async def party(names: set[str]) -> None:
        for name in sorted(names):
            await invite(name)
    """

    def check(self, look: Look) -> Iterator[Found]:
        def unordered(node: ast.AST) -> bool:
            return is_unordered(node, look.function, look.project)

        for node in look.nodes:
            if isinstance(node, ast.For) and unordered(node.iter) and _order_shows(node.body, look):
                yield node.iter, self.message
            elif isinstance(node, ast.ListComp | ast.GeneratorExp):
                if any(unordered(one.iter) for one in node.generators) and not _order_free(node, look):
                    yield node, self.message
            elif isinstance(node, ast.DictComp):
                if any(unordered(one.iter) for one in node.generators) and _awaits([node.value]):
                    yield node, self.message
            elif isinstance(node, ast.Starred) and unordered(node.value) and not _order_free(node, look):
                yield node, self.message
            elif isinstance(node, ast.Call):
                yield from self._call(
                    node, look, unordered(node.func.value) if isinstance(node.func, ast.Attribute) else False
                )

    def _call(self, node: ast.Call, look: Look, of_set: bool) -> Iterator[Found]:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and of_set:
            yield (
                node,
                "pop() takes another element of a set in another process; keep a list, or take min(...)",
            )
        joins = isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "extend")
        if not joins and look.dotted(node.func) not in ORDERED:
            return
        for one in node.args:
            if is_unordered(one, look.function, look.project) and not _order_free(node, look):
                yield one, self.message


def _order_free(node: ast.AST, look: Look) -> bool:
    """Whether what is made of a set is put into something that has no order itself."""
    parent = look.parent(node)
    if isinstance(parent, ast.Set):
        return True
    return isinstance(parent, ast.Call) and look.dotted(parent.func) in ORDER_FREE


def _order_shows(body: list[ast.stmt], look: Look) -> bool:
    """Whether a loop's body does something whose order can be seen: it awaits, starts something, or makes a list."""
    if _awaits(body):
        return True
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Yield | ast.YieldFrom):
                return True
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute) and node.func.attr in (
                "append",
                "extend",
                "appendleft",
                *MAKES_TASKS,
            ):
                return True
            if look.kind_of(node.func) in (Kind.ACTIVITY, Kind.WORKFLOW) or (
                look.dotted(node.func) or ""
            ).startswith(("durable.workflow.", "asyncio.")):
                return True
    return False


def _awaits(nodes: list[ast.expr] | list[ast.stmt]) -> bool:
    return any(
        isinstance(one, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in nodes for one in ast.walk(node)
    )


class Identity(Rule):
    """`id()`, `hash()` or the default order of objects decides something."""

    code = "DUR202"
    name = "identity"
    bad = """
    from durable import workflow

    @workflow.defn
    async def shard(customer: str) -> int:
        return hash(customer) % 8
    """
    good = """
    import zlib

    from durable import workflow

    @workflow.defn
    async def shard(customer: str) -> int:
        return zlib.crc32(customer.encode()) % 8
    """

    def check(self, look: Look) -> Iterator[Found]:
        if look.function.name.rpartition(".")[2] in ("__hash__", "__eq__"):
            return
        for use in look.uses:
            if use.meaning == "builtins.id":
                yield (
                    use.node,
                    "id() is an address, another one at every replay; use a number or a name of your own",
                )
            elif use.meaning == "builtins.hash":
                yield use.node, "hash() is another in another process; use zlib.crc32() or hashlib"


class Garbage(Rule):
    """The garbage collector decides something: `weakref`, `gc`."""

    code = "DUR203"
    name = "garbage-collection"
    bad = """
    import weakref

    from durable import workflow

    class Cart: ...

    @workflow.defn
    async def shop() -> bool:
        carts = weakref.WeakSet([Cart()])
        return bool(carts)
    """
    good = """
    from durable import workflow

    class Cart: ...

    @workflow.defn
    async def shop() -> bool:
        carts = [Cart()]
        return bool(carts)
    """

    def check(self, look: Look) -> Iterator[Found]:
        for use in look.uses:
            name = use.meaning
            if isinstance(name, str) and use.call is not None and name.partition(".")[0] in ("weakref", "gc"):
                yield (
                    use.node,
                    f"{name}() goes by when garbage is collected, which a replay does not repeat; keep a reference",
                )


RULES: tuple[Rule, ...] = (UnorderedSet(), Identity(), Garbage())
