"""State that a replay does not bring back: what a module holds, and what a query leaves behind."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from durable.lint._code import Class, Function, Module, Variable
from durable.lint._project import Project
from durable.lint._reach import Kind, Look
from durable.lint._rule import Found, Rule

CONTAINERS = {
    "builtins.list",
    "builtins.dict",
    "builtins.set",
    "builtins.bytearray",
    "collections.defaultdict",
    "collections.deque",
    "collections.Counter",
    "collections.OrderedDict",
    "itertools.count",
}

CHANGES = frozenset(
    [
        "add",
        "append",
        "appendleft",
        "clear",
        "discard",
        "extend",
        "extendleft",
        "insert",
        "pop",
        "popitem",
        "popleft",
        "remove",
        "reverse",
        "rotate",
        "setdefault",
        "sort",
        "update",
    ]
)
"""Methods that change a container."""

Change = tuple[ast.AST, str, Variable | None]
"""Where something of the program is changed, what it is called, and the variable if it is one."""


def changes(function: Function, project: Project) -> Iterator[Change]:
    """What a function changes that outlives it: variables of modules, attributes of modules and of classes."""
    for node in function.nodes:
        if isinstance(node, ast.Assign | ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call):
            yield from _changed_by_call(node, function, project)
            continue
        else:
            continue
        for target in targets:
            yield from _changed(target, function, project)


def _changed(target: ast.expr, function: Function, project: Project) -> Iterator[Change]:
    if isinstance(target, ast.Tuple | ast.List):
        for one in target.elts:
            yield from _changed(one, function, project)
    elif isinstance(target, ast.Name):
        if target.id in function.globals:
            found = project.meaning(target, function.module)
            yield target, target.id, found if isinstance(found, Variable) else None
    elif isinstance(target, ast.Subscript):
        found = project.meaning(target.value, function)
        if isinstance(found, Variable):
            yield target, found.name, found
    elif isinstance(target, ast.Attribute):
        owner = project.meaning(target.value, function)
        if isinstance(owner, Module | Class):
            shown = owner.name if isinstance(owner, Class) else owner.path.stem
            found = project.attribute(owner, target.attr)
            yield target, f"{shown}.{target.attr}", found if isinstance(found, Variable) else None
        elif isinstance(owner, Variable) and owner.owner is None:
            yield target, f"{owner.name}.{target.attr}", None


def _changed_by_call(node: ast.Call, function: Function, project: Project) -> Iterator[Change]:
    if isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
        found = project.meaning(node.func.value, function)
        if isinstance(found, Variable) and is_container(found, project):
            yield node.func, found.name, found
    elif project.meaning(node.func, function) == "builtins.next" and node.args:
        found = project.meaning(node.args[0], function)
        if isinstance(found, Variable) and is_container(found, project):
            yield node, found.name, found


def is_container(variable: Variable, project: Project) -> bool:
    """Whether a variable holds something that can be changed in place."""
    for one in variable.bound:
        value = one.value
        if isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp):
            return True
        if isinstance(value, ast.Call) and project.meaning(value.func, variable.module) in CONTAINERS:
            return True
    return False


class GlobalWritten(Rule):
    """A variable of a module or of a class is changed, which all runs of the worker share and a replay changes again."""

    code = "DUR301"
    name = "global-written"
    bad = """
    from durable import workflow

    orders: list[str] = []

    @workflow.defn
    async def order(item: str) -> int:
        orders.append(item)
        return len(orders)
    """
    good = """
    from durable import activity, workflow

    @activity.defn
    async def store(item: str) -> int: ...

    @workflow.defn
    async def order(item: str) -> int:
        return await store(item)
    """

    def check(self, look: Look) -> Iterator[Found]:
        for node, name, _ in changes(look.function, look.project):
            yield (
                node,
                f"{name} is shared by all runs of the worker, and changed again by every replay; keep it in the workflow, or change it in an "
                "activity",
            )


class GlobalRead(Rule):
    """A variable of a module is read that other code changes while the program runs."""

    code = "DUR302"
    name = "global-read"
    bad = """
    from durable import workflow

    fee = 5

    def set_fee(cents: int) -> None:
        global fee
        fee = cents

    @workflow.defn
    async def price(cents: int) -> int:
        return cents + fee
    """
    good = """
    from durable import workflow

    FEE = 5

    @workflow.defn
    async def price(cents: int) -> int:
        return cents + FEE
    """

    def check(self, look: Look) -> Iterator[Found]:
        own = {
            (one.name, one.module) for _, _, one in changes(look.function, look.project) if one is not None
        }
        for use in look.uses:
            found = use.meaning
            if (
                not isinstance(found, Variable)
                or found.owner is not None
                or (found.name, found.module) in own
            ):
                continue
            writer = look.project.writers.get((found.name, found.module.path))
            if writer is not None:
                yield (
                    use.node,
                    f"{found.name} is changed by {writer} while the program runs, so a replay may find another value; pass it as an argument, or "
                    "read it in an activity",
                )


class QueryChanges(Rule):
    """A query or a validator changes the workflow, awaits or asks for something: no replay repeats it."""

    code = "DUR303"
    name = "query-changes"
    bad = """
    from durable import workflow

    @workflow.defn
    class Count:
        def __init__(self) -> None:
            self.asked = 0

        @workflow.run
        async def run(self) -> None:
            await workflow.sleep(60)

        @workflow.query
        def status(self) -> int:
            self.asked += 1
            return self.asked
    """
    good = """
    from durable import workflow

    @workflow.defn
    class Count:
        def __init__(self) -> None:
            self.asked = 0

        @workflow.run
        async def run(self) -> None:
            await workflow.sleep(60)

        @workflow.query
        def status(self) -> int:
            return self.asked
    """

    def check(self, look: Look) -> Iterator[Found]:
        if look.kind not in (Kind.QUERY, Kind.VALIDATOR):
            return
        own = look.function.first_parameter
        called = "a query" if look.kind is Kind.QUERY else "a validator"
        for node in look.nodes:
            if own is not None and _changes_object(node, own):
                yield (
                    node,
                    f"{called} changes the workflow, which no replay repeats; change it in an update or a signal",
                )
            elif isinstance(node, ast.Call) and look.kind_of(node.func) in (Kind.ACTIVITY, Kind.WORKFLOW):
                yield node, f"{called} cannot call activities or workflows; do it in an update"


def _changes_object(node: ast.AST, own: str) -> bool:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
        targets = [node.func.value]
    for target in targets:
        inside = False
        while isinstance(target, ast.Attribute | ast.Subscript):
            target, inside = target.value, True
        if inside and isinstance(target, ast.Name) and target.id == own:
            return True
    return False


RULES: tuple[Rule, ...] = (GlobalWritten(), GlobalRead(), QueryChanges())
