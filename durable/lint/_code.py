"""Python files as the rules see them: modules, classes and functions, and what a name in one of them stands for.

Nothing is imported and nothing is run. A name is followed through imports, aliases and the annotations that are there,
as far as the files go that belong to the program; whatever is beyond is a dotted name, such as "time.time".
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

SCOPES = (*FUNCTIONS, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Imported:
    """A name that an import binds: a module, or with `name` what stands in it under that name."""

    module: str
    level: int
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """A name that is assigned: its value, its annotation, or neither where it comes from elsewhere."""

    value: ast.expr | None = None
    annotation: ast.expr | None = None
    is_parameter: bool = False


Binding = Imported | Assigned | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(eq=False)
class Module:
    """One file.

    Attributes:
        path: Where it is.
        shown: Its path as findings show it.
        tree: What it says.
        lines: Its text.
        bindings: What the names at its top level are bound to, all of the times.
        parents: The node around each node.
    """

    path: Path
    shown: str
    tree: ast.Module
    lines: list[str]
    bindings: dict[str, list[Binding]] = field(init=False)
    parents: dict[ast.AST, ast.AST] = field(init=False)
    functions: dict[ast.AST, Function] = field(init=False, default_factory=dict[ast.AST, "Function"])
    classes: dict[ast.AST, Class] = field(init=False, default_factory=dict[ast.AST, "Class"])

    def __post_init__(self) -> None:
        self.bindings = bindings_of(own_nodes(self.tree))
        self.parents = {}
        self._collect(self.tree, None, None)

    def _collect(self, node: ast.AST, owner: Class | None, outer: Function | None) -> None:
        for child in ast.iter_child_nodes(node):
            self.parents[child] = node
            if isinstance(child, ast.ClassDef):
                made = Class(child, self, outer)
                self.classes[child] = made
                self._collect(child, made, outer)
            elif isinstance(child, FUNCTIONS):
                function = Function(child, self, owner, outer)
                self.functions[child] = function
                self._collect(child, None, function)
            else:
                self._collect(child, owner, outer)

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around a node, the nearest first."""
        while (parent := self.parents.get(node)) is not None:
            yield parent
            node = parent


@dataclass(eq=False)
class Class:
    """A class of the program.

    Attributes:
        node: What it says.
        module: Where it stands.
        outer: The function it is defined in, if any.
    """

    node: ast.ClassDef
    module: Module
    outer: Function | None

    @property
    def name(self) -> str:
        return self.node.name

    @cached_property
    def members(self) -> dict[str, list[Binding]]:
        """What its body binds."""
        return bindings_of(own_nodes(self.node))

    @cached_property
    def fields(self) -> dict[str, list[tuple[Assigned, Function | None]]]:
        """What is known of the attributes of its objects: by `name: Type` in the body, by `self.name = ...` in a method."""
        found: dict[str, list[tuple[Assigned, Function | None]]] = {}
        for name, bound in self.members.items():
            found[name] = [(one, None) for one in bound if isinstance(one, Assigned)]
        for function in self.functions:
            for node in function.nodes:
                target: ast.expr
                if isinstance(node, ast.Assign) and len(node.targets) == 1:
                    target, assigned = node.targets[0], Assigned(node.value)
                elif isinstance(node, ast.AnnAssign):
                    target, assigned = node.target, Assigned(node.value, node.annotation)
                else:
                    continue
                if isinstance(target, ast.Attribute) and is_name(target.value, function.first_parameter):
                    found.setdefault(target.attr, []).append((assigned, function))
        return found

    @property
    def functions(self) -> list[Function]:
        """Its methods."""
        return [one for one in self.module.functions.values() if one.owner is self]


@dataclass(eq=False)
class Function:
    """A function, a method or a lambda of the program.

    Attributes:
        node: What it says.
        module: Where it stands.
        owner: The class whose method it is, if any.
        outer: The function it is defined in, if any.
    """

    node: FunctionNode
    module: Module
    owner: Class | None
    outer: Function | None

    @property
    def name(self) -> str:
        """What it is called in messages."""
        name = "lambda" if isinstance(self.node, ast.Lambda) else self.node.name
        return name if self.owner is None else f"{self.owner.name}.{name}"

    @property
    def decorators(self) -> list[ast.expr]:
        return [] if isinstance(self.node, ast.Lambda) else self.node.decorator_list

    @property
    def is_async(self) -> bool:
        return isinstance(self.node, ast.AsyncFunctionDef)

    @property
    def parameters(self) -> list[ast.arg]:
        """Its parameters, `self` of a method included."""
        args = self.node.args
        rest = [one for one in (args.vararg, args.kwarg) if one is not None]
        return [*args.posonlyargs, *args.args, *args.kwonlyargs, *rest]

    @property
    def first_parameter(self) -> str | None:
        """What a method calls its object; None outside of classes."""
        args = [*self.node.args.posonlyargs, *self.node.args.args]
        return args[0].arg if self.owner is not None and args else None

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """The nodes of its body, in order, without those of functions and classes in it, but with these themselves."""
        return own_nodes(self.node)

    @cached_property
    def inner(self) -> list[Function]:
        """The functions that are defined right in it, the methods of its classes included."""
        return [one for one in self.module.functions.values() if one.outer is self]

    @cached_property
    def globals(self) -> set[str]:
        """The names it declares as global."""
        return {name for node in self.nodes if isinstance(node, ast.Global) for name in node.names}

    @cached_property
    def bindings(self) -> dict[str, list[Binding]]:
        """What its local names are bound to, all of the times."""
        found = bindings_of(self.nodes)
        for one in self.parameters:
            found.setdefault(one.arg, []).append(Assigned(annotation=one.annotation, is_parameter=True))
        outside = self.globals | {
            name for node in self.nodes if isinstance(node, ast.Nonlocal) for name in node.names
        }
        return {name: bound for name, bound in found.items() if name not in outside}


@dataclass(frozen=True, slots=True)
class Variable:
    """A name at the top level of a module, or of a class of it, that is neither function, class nor import."""

    name: str
    module: Module
    bound: tuple[Assigned, ...]
    owner: Class | None = None


Meaning = str | Module | Function | Class | Variable
"""What a name stands for: a part of the program, or the dotted name of what is not."""


def own_nodes(scope: ast.AST) -> list[ast.AST]:
    """The nodes of a scope in order, without those inside of the functions and classes that it defines."""
    found: list[ast.AST] = []
    if isinstance(scope, ast.Lambda):
        waiting: list[ast.AST] = [scope.body]
    else:
        waiting = list(reversed(getattr(scope, "body", [])))
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, SCOPES):
            inside = (
                [*node.args.defaults, *node.args.kw_defaults] if isinstance(node, FUNCTIONS) else node.bases
            )
            waiting.extend(one for one in reversed(inside) if one is not None)
            continue
        if isinstance(node, ast.AnnAssign):  # its annotation does nothing
            waiting.extend(one for one in (node.value, node.target) if one is not None)
            continue
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))
    return found


def is_name(node: ast.AST, name: str | None) -> bool:
    """Whether an expression is this name."""
    return isinstance(node, ast.Name) and node.id == name


def bindings_of(nodes: list[ast.AST]) -> dict[str, list[Binding]]:
    """What is bound by the nodes of a scope."""
    found: dict[str, list[Binding]] = {}

    def bind(target: ast.AST | None, binding: Assigned) -> None:
        if isinstance(target, ast.Name):
            found.setdefault(target.id, []).append(binding)
        elif isinstance(target, ast.Tuple | ast.List):
            for one in target.elts:
                bind(one.value if isinstance(one, ast.Starred) else one, Assigned())

    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                found.setdefault(name, []).append(Imported(alias.name if alias.asname else name, 0))
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found.setdefault(alias.asname or alias.name, []).append(
                    Imported(node.module or "", node.level, alias.name)
                )
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                bind(target, Assigned(node.value))
        elif isinstance(node, ast.AnnAssign):
            bind(node.target, Assigned(node.value, node.annotation))
        elif isinstance(node, ast.NamedExpr):
            bind(node.target, Assigned(node.value))
        elif isinstance(node, ast.withitem):
            bind(node.optional_vars, Assigned(node.context_expr))
        elif isinstance(node, ast.AugAssign | ast.For | ast.AsyncFor | ast.comprehension):
            bind(node.target, Assigned())
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.setdefault(node.name, []).append(Assigned())
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.setdefault(node.rest, []).append(Assigned())
    return found


BUILTINS = frozenset(dir(builtins))
