"""Which functions are workflow code, and which are activities: the decorated ones, and the helpers they call."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from durable.lint._code import FUNCTIONS, Class, Function, Meaning, Module, Variable
from durable.lint._project import Project


class Kind(Enum):
    """What a decorator makes of a function."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"
    QUERY = "query"
    VALIDATOR = "validator"
    MESSAGE = "message"


DECORATORS = {
    "durable.workflow.defn": Kind.WORKFLOW,
    "durable.workflow.run": Kind.WORKFLOW,
    "durable.workflow.init": Kind.WORKFLOW,
    "durable.workflow.signal": Kind.MESSAGE,
    "durable.workflow.update": Kind.MESSAGE,
    "durable.workflow.query": Kind.QUERY,
    "durable.workflow.dynamic_config": Kind.QUERY,
    "durable.activity.defn": Kind.ACTIVITY,
    "durable.activity.method": Kind.ACTIVITY,
    "durable.Query": Kind.QUERY,
    "durable.Update": Kind.MESSAGE,
    "durable.workflow.Query": Kind.QUERY,
    "durable.workflow.Update": Kind.MESSAGE,
}

INTERCEPTORS = ("WorkflowInboundInterceptor", "WorkflowOutboundInterceptor")

MADE_BY_CALLS = ("__init__", "__new__", "__post_init__")
"""What runs when a class is called."""


@dataclass(frozen=True, slots=True)
class Use:
    """A name in a function, with what it stands for.

    Attributes:
        node: The name.
        meaning: What it stands for.
        call: The call of it, if it is called there.
    """

    node: ast.Name | ast.Attribute
    meaning: Meaning
    call: ast.Call | None


@dataclass(eq=False)
class Look:
    """One function, as a rule looks at it.

    Attributes:
        function: The function.
        project: What it belongs to.
        root: The workflow or activity it is, or is called from.
        kind: What its decorator makes of it, if it has one.
    """

    function: Function
    project: Project
    root: str
    kind: Kind | None

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return self.function.nodes

    @cached_property
    def uses(self) -> list[Use]:
        """The names that are read in it and that stand for something, without those within longer ones."""
        return list(_uses(self.function, self.project))

    def meaning(self, node: ast.AST) -> Meaning | None:
        """See `Project.meaning`."""
        return self.project.meaning(node, self.function)

    def dotted(self, node: ast.AST) -> str | None:
        """The dotted name of something that is not of the program, else None."""
        found = self.meaning(node)
        return found if isinstance(found, str) else None

    def kind_of(self, node: ast.AST) -> Kind | None:
        """What the decorator of the function that a name stands for makes of it."""
        found = self.meaning(node)
        if isinstance(found, Function):
            return kind_of(found, self.project)
        if isinstance(found, Class) and is_workflow_class(found, self.project):
            return Kind.WORKFLOW
        return None

    def parent(self, node: ast.AST) -> ast.AST | None:
        """The node around a node."""
        return self.function.module.parents.get(node)

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node within the function, the nearest first."""
        for one in self.function.module.around(node):
            if one is self.function.node:
                return
            yield one

    def is_unrestricted(self, node: ast.AST) -> bool:
        """Whether a node stands under `with workflow.unsafe.sandbox_unrestricted():`."""
        calls = (
            item.context_expr
            for one in self.around(node)
            if isinstance(one, ast.With | ast.AsyncWith)
            for item in one.items
        )
        return any(
            isinstance(call, ast.Call)
            and self.dotted(call.func) == "durable.workflow.unsafe.sandbox_unrestricted"
            for call in calls
        )


def _uses(function: Function, project: Project) -> Iterator[Use]:
    parents = function.module.parents
    within: set[ast.AST] = set()
    for node in function.nodes:
        if not isinstance(node, ast.Name | ast.Attribute) or node in within:
            continue
        found = project.meaning(node, function)
        if found is None or found in project.allowed:
            continue
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            inner = inner.value
            within.add(inner)
        parent = parents.get(node)
        yield Use(node, found, parent if isinstance(parent, ast.Call) and parent.func is node else None)


# --- decorators ---


def kind_of(function: Function, project: Project) -> Kind | None:
    """What the decorators of a function make of it."""
    for decorator in function.decorators:
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(name, ast.Attribute) and name.attr == "validator":
            return Kind.VALIDATOR
        kind = DECORATORS.get(_decorator(name, function, project))
        if kind is not None:
            return kind
    return None


def _decorator(name: ast.expr, at: Function | Class, project: Project) -> str:
    scope = at.outer or at.module
    found = project.meaning(name, scope)
    if isinstance(found, Variable) and len(found.bound) == 1:  # defn = workflow.defn(task_queue="bills")
        value = found.bound[0].value
        if isinstance(value, ast.Call):
            found = project.meaning(value.func, found.module)
    return found if isinstance(found, str) else ""


def is_workflow_class(one: Class, project: Project) -> bool:
    """Whether a class is decorated as a workflow."""
    names = [dec.func if isinstance(dec, ast.Call) else dec for dec in one.node.decorator_list]
    return any(_decorator(name, one, project) == "durable.workflow.defn" for name in names)


# --- the way from function to function ---


def workflow_code(modules: Sequence[Module], project: Project) -> dict[Function, str]:
    """Return all functions that run in workflows of some modules, each with the workflow through which it was found first."""
    roots: list[tuple[Function, str]] = []
    for module in modules:
        for one in module.classes.values():
            if is_workflow_class(one, project):
                roots += [(method, one.name) for method in _handlers(one, project)]
            elif _is_interceptor(one, project):
                roots += [(method, one.name) for method in one.functions]
        for function in module.functions.values():
            if function.owner is None and kind_of(function, project) is Kind.WORKFLOW:
                roots.append((function, function.name))
    return reached(roots, project)


def activities(modules: Sequence[Module], project: Project) -> dict[Function, str]:
    """Return all functions that run on the event loop in `async def` activities of some modules, likewise."""
    found = [function for module in modules for function in module.functions.values()]
    roots = [(one, one.name) for one in found if one.is_async and kind_of(one, project) is Kind.ACTIVITY]
    return reached(roots, project)


def _is_interceptor(one: Class, project: Project) -> bool:
    """Whether the methods of a class stand around those of workflows."""
    scope = one.outer or one.module
    bases = [str(project.meaning(base, scope)) for base in one.node.bases]
    return any(base.startswith("durable.") and base.rpartition(".")[2] in INTERCEPTORS for base in bases)


def _handlers(one: Class, project: Project) -> Iterator[Function]:
    for part in project.line(one):
        for method in part.functions:
            name = method.node.name if not isinstance(method.node, ast.Lambda) else ""
            if kind_of(method, project) not in (None, Kind.ACTIVITY) or name in MADE_BY_CALLS:
                yield method


def reached(roots: Sequence[tuple[Function, str]], project: Project) -> dict[Function, str]:
    """Follow calls, and functions that are passed on, from some functions to all that they may run."""
    found: dict[Function, str] = {}
    waiting = list(reversed(roots))
    while waiting:
        function, root = waiting.pop()
        if function in found:
            continue
        found[function] = root
        waiting.extend((one, root) for one in _next(function, project) if one not in found)
    return found


def _next(function: Function, project: Project) -> Iterator[Function]:
    for one in function.inner:
        if kind_of(one, project) is not Kind.ACTIVITY:
            yield one
    for decorator in function.decorators:  # what a decorator of one's own makes of it runs with it
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        meaning = project.meaning(name, function.outer or function.module)
        if isinstance(meaning, Function):
            yield meaning
    for use in _uses(function, project):
        if isinstance(use.meaning, Function):
            if kind_of(use.meaning, project) is None:
                yield use.meaning
        elif isinstance(use.meaning, Class) and use.call is not None:
            if is_workflow_class(use.meaning, project):
                continue
            for method in MADE_BY_CALLS:
                made = project.attribute(use.meaning, method)
                if isinstance(made, Function):
                    yield made


def definitions(modules: Sequence[Module], project: Project) -> Iterator[tuple[Function, Kind]]:
    """Yield what is decorated, with what it is made."""
    for module in modules:
        for node, function in module.functions.items():
            if isinstance(node, FUNCTIONS) and (kind := kind_of(function, project)) is not None:
                yield function, kind
