"""The files of a program together: which file an import means, and what an expression stands for."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from durable.lint._code import (
    BUILTINS,
    Assigned,
    Binding,
    Class,
    Function,
    Imported,
    Meaning,
    Module,
    Variable,
)

SOURCES = ("", "src")
"""Where, under a folder, its packages may be."""

DEPTH = 20
"""How many aliases are followed before a name is given up, since they may go round in a circle."""

RETURNS = {
    "logging.getLogger": "logging.Logger",
    "asyncio.get_running_loop": "asyncio.AbstractEventLoop",
    "asyncio.get_event_loop": "asyncio.AbstractEventLoop",
    "asyncio.new_event_loop": "asyncio.AbstractEventLoop",
    "pathlib.Path.cwd": "pathlib.Path",
    "pathlib.Path.home": "pathlib.Path",
}
"""What functions return that code calls methods of."""

PATHS = ("pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath")


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that is no Python."""

    path: Path
    line: int
    column: int
    why: str


class Project:
    """The files of a program, read when they are asked for.

    Args:
        root: Where imports are no longer looked for above; paths are shown from here.
        allowed: Dotted names that are no offence.

    Attributes:
        unreadable: The files that are no Python.
        writers: The variables of modules that code outside of workflows changes, with the name of a function that does.
    """

    def __init__(self, root: Path, allowed: Sequence[str] = ()) -> None:
        self.root = root.resolve()
        self.allowed = frozenset(allowed)
        self.unreadable: dict[Path, Unreadable] = {}
        self.writers: dict[tuple[str, Path], str] = {}
        self._modules: dict[Path, Module | None] = {}
        self._found: dict[tuple[Path, str], Module | None] = {}

    @property
    def modules(self) -> list[Module]:
        """All that were read."""
        return [one for one in self._modules.values() if one is not None]

    def read(self, path: Path) -> Module | None:
        """Return the module in a file; None if it is no Python, which is noted."""
        path = path.resolve()
        if path not in self._modules:
            self._modules[path] = self._read(path)
        return self._modules[path]

    def shown(self, path: Path) -> str:
        """A path as findings show it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def _read(self, path: Path) -> Module | None:
        try:
            data = path.read_bytes()
            tree = ast.parse(data)
            lines = data.decode("utf-8-sig").splitlines()
        except (SyntaxError, UnicodeDecodeError, ValueError) as error:
            line, column = getattr(error, "lineno", None) or 1, getattr(error, "offset", None) or 1
            why = error.msg if isinstance(error, SyntaxError) else str(error)
            self.unreadable[path] = Unreadable(path, line, column, why)
            return None
        return Module(path, self.shown(path), tree, lines)

    # --- imports ---

    def _imported(self, found: Imported, at: Module, depth: int) -> Meaning | None:
        meaning: Meaning | None
        if found.level:
            folder = at.path.parent
            for _ in range(found.level - 1):
                folder = folder.parent
            meaning = self._in_folder(folder, found.module) if found.module else self._package(folder)
            if meaning is None and not found.module and found.name is not None:
                return self._in_folder(folder, found.name)
        elif found.module.partition(".")[0] == "durable":
            meaning = found.module
        else:
            meaning = self._absolute(found.module, at) or found.module
        if found.name is None or meaning is None:
            return meaning
        return self.attribute(meaning, found.name, depth - 1)

    def _absolute(self, dotted: str, at: Module) -> Module | None:
        key = (at.path.parent, dotted)
        if key not in self._found:
            self._found[key] = self._look_for(dotted, at.path)
        return self._found[key]

    def _look_for(self, dotted: str, path: Path) -> Module | None:
        for folder in path.parents:
            if not folder.is_relative_to(self.root):
                break
            for source in SOURCES:
                if (found := self._in_folder(folder / source, dotted)) is not None:
                    return found
        return None

    def _in_folder(self, folder: Path, dotted: str) -> Module | None:
        path = folder.joinpath(*dotted.split("."))
        file = path.with_suffix(".py") if path.name.isidentifier() else path
        return self.read(file) if file.is_file() else self._package(path)

    def _package(self, folder: Path) -> Module | None:
        file = folder / "__init__.py"
        if file.is_file():
            return self.read(file)
        if not folder.is_dir() or not any(folder.glob("*.py")):
            return None
        if file not in self._modules:  # a package without a file of its own
            self._modules[file] = Module(file, self.shown(file), ast.Module([], []), [])
        return self._modules[file]

    # --- what an expression stands for ---

    def meaning(self, node: ast.AST, scope: Function | Module, depth: int = DEPTH) -> Meaning | None:
        """What a name, or a name of a name, stands for; None where nobody can tell from the text."""
        if depth == 0:
            return None
        if isinstance(node, ast.Name):
            return self._name(node.id, scope, depth - 1)
        if isinstance(node, ast.Attribute):
            outer = self.meaning(node.value, scope, depth - 1)
            if isinstance(outer, str | Module | Class):
                return self.attribute(outer, node.attr, depth - 1)
            kind = self.type_of(node.value, scope, depth - 1)
            return None if kind is None else self.attribute(kind, node.attr, depth - 1)
        if isinstance(node, ast.Subscript):  # Signal[int], set[str]
            return self.meaning(node.value, scope, depth - 1)
        return None

    def _name(self, name: str, scope: Function | Module, depth: int) -> Meaning | None:
        at: Function | None = scope if isinstance(scope, Function) else None
        while at is not None:
            if name in at.bindings:
                if name == at.first_parameter and at.owner is not None:
                    return None
                return self._bound(at.bindings[name], at, name, depth)
            at = at.outer
        module = scope.module if isinstance(scope, Function) else scope
        if name in module.bindings:
            return self._bound(module.bindings[name], module, name, depth)
        return f"builtins.{name}" if name in BUILTINS else None

    def _bound(
        self, bound: Sequence[Binding], scope: Function | Module, name: str, depth: int
    ) -> Meaning | None:
        module = scope.module if isinstance(scope, Function) else scope
        last = bound[-1]
        if isinstance(last, ast.ClassDef):
            return module.classes[last]
        if isinstance(last, ast.FunctionDef | ast.AsyncFunctionDef):
            return module.functions[last]
        if isinstance(last, Imported):
            return self._imported(last, module, depth)
        if len(bound) == 1 and isinstance(last.value, ast.Name | ast.Attribute):
            alias = self.meaning(last.value, scope, depth)
            if isinstance(alias, Function | Class | str | Module):
                return alias
        if isinstance(scope, Function):
            return None
        return Variable(name, module, tuple(one for one in bound if isinstance(one, Assigned)))

    def attribute(self, of: Meaning, name: str, depth: int = DEPTH) -> Meaning | None:
        """What an attribute of something stands for."""
        if depth == 0:
            return None
        if isinstance(of, str):
            return of if name == "parent" and of in PATHS else f"{of}.{name}"
        if isinstance(of, Module):
            if name in of.bindings:
                return self._bound(of.bindings[name], of, name, depth - 1)
            return self._in_folder(of.path.parent, name) if of.path.name == "__init__.py" else None
        if isinstance(of, Class):
            for one in self.line(of):
                bound = one.members.get(name)
                if bound is None:
                    continue
                if isinstance(bound[-1], Assigned):
                    return Variable(name, one.module, tuple(b for b in bound if isinstance(b, Assigned)), one)
                return self._bound(bound, one.outer or one.module, name, depth - 1)
        return None

    def line(self, of: Class) -> Iterator[Class]:
        """A class and those of the program that it inherits from."""
        waiting, seen = [of], set[Class]()
        while waiting:
            one = waiting.pop(0)
            if one in seen:
                continue
            seen.add(one)
            yield one
            bases = [self.meaning(base, one.outer or one.module) for base in one.node.bases]
            waiting.extend(base for base in bases if isinstance(base, Class))

    # --- types, as far as they show ---

    def known(
        self, node: ast.AST, scope: Function | Module, depth: int = DEPTH
    ) -> tuple[Assigned, Function | Module] | None:
        """What is known of a variable or of an object's attribute, if it is one thing only, and the scope that says it."""
        if isinstance(node, ast.Name):
            at: Function | None = scope if isinstance(scope, Function) else None
            while at is not None and node.id not in at.bindings:
                at = at.outer
            where = at or (scope.module if isinstance(scope, Function) else scope)
            return _one([(one, where) for one in where.bindings.get(node.id, ())])
        if not isinstance(node, ast.Attribute):
            return None
        owner = self.type_of(node.value, scope, depth - 1)
        if isinstance(owner, Class):
            for one in self.line(owner):
                if said := one.fields.get(node.attr):
                    return _one([(bound, method or one.outer or one.module) for bound, method in said])
            return None
        variable = self.meaning(node, scope, depth - 1)
        if isinstance(variable, Variable):
            return _one([(bound, variable.module) for bound in variable.bound])
        return None

    def type_of(self, node: ast.AST, scope: Function | Module, depth: int = DEPTH) -> str | Class | None:
        """The class of an expression's value, where the text shows it."""
        if depth == 0:
            return None
        if isinstance(node, ast.Await):
            return self.type_of(node.value, scope, depth - 1)
        if isinstance(node, ast.Call):
            return self._type_of_call(node, scope, depth - 1)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            left = self.type_of(node.left, scope, depth - 1)
            return left if left in PATHS else None
        if isinstance(node, ast.Attribute) and (above := self.meaning(node, scope, depth - 1)) in PATHS:
            return str(above)  # Path(...).parent
        if isinstance(node, ast.Name) and (own := self._own_class(node, scope)) is not None:
            return own
        if isinstance(node, ast.Name | ast.Attribute):
            found = self.known(node, scope, depth - 1)
            if found is None:
                return None
            said, where = found
            if said.annotation is not None:
                return self.annotated(said.annotation, where, depth - 1)
            return None if said.value is None else self.type_of(said.value, where, depth - 1)
        return None

    def _own_class(self, node: ast.Name, scope: Function | Module) -> Class | None:
        at: Function | None = scope if isinstance(scope, Function) else None
        while at is not None:
            if node.id in at.bindings:
                return at.owner if node.id == at.first_parameter else None
            at = at.outer
        return None

    def _type_of_call(self, node: ast.Call, scope: Function | Module, depth: int) -> str | Class | None:
        called = self.meaning(node.func, scope, depth)
        if isinstance(called, Class):
            return called
        if isinstance(called, Function) and not isinstance(called.node, ast.Lambda):
            returns = called.node.returns
            return None if returns is None else self.annotated(returns, called.module, depth)
        if isinstance(called, str):
            last = called.rpartition(".")[2]
            return RETURNS.get(called) or (called if last[:1].isupper() else None)
        return None

    def annotated(self, node: ast.expr, scope: Function | Module, depth: int = DEPTH) -> str | Class | None:
        """The class that an annotation names; of `X | None`, X."""
        if depth == 0:
            return None
        plain = unquoted(node)
        if isinstance(plain, ast.BinOp) and isinstance(plain.op, ast.BitOr):
            sides = [one for one in (plain.left, plain.right) if not is_none(one)]
            return self.annotated(sides[0], scope, depth - 1) if len(sides) == 1 else None
        if isinstance(plain, ast.Subscript):
            outer = self.meaning(plain.value, scope, depth - 1)
            if outer in ("typing.Optional", "typing.Annotated", "typing.Final", "typing.ClassVar"):
                inner = plain.slice.elts[0] if isinstance(plain.slice, ast.Tuple) else plain.slice
                return self.annotated(inner, scope, depth - 1)
            return outer if isinstance(outer, str | Class) else None
        found = self.meaning(plain, scope, depth - 1)
        return found if isinstance(found, str | Class) else None


def _one(
    bound: Sequence[tuple[Binding, Function | Module]],
) -> tuple[Assigned, Function | Module] | None:
    """Of all that a name is bound to, what tells about it: an annotation, or the only value."""
    said = [(one, where) for one, where in bound if isinstance(one, Assigned)]
    annotated = [one for one in said if one[0].annotation is not None]
    return annotated[0] if annotated else said[0] if len(bound) == len(said) == 1 else None


def unquoted(node: ast.expr) -> ast.expr:
    """An annotation that is written as a string, as what the string says."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value, mode="eval").body
        except SyntaxError:
            return node
    return node


def is_none(node: ast.AST) -> bool:
    """Whether an expression is `None`."""
    return isinstance(node, ast.Constant) and node.value is None
