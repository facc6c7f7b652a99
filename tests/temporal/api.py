"""The public names of Temporal's Python SDK, with their parameters, read from its sources without importing them.

`python -m tests.temporal.api path/to/sdk-python "commit"` writes `api.json` anew, for a newer SDK.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parent / "api.json"

MODULES = ("workflow", "activity", "client", "worker", "common", "exceptions", "converter", "testing")


def table(sdk: Path) -> dict[str, dict[str, Any]]:
    """Return, by module and name, what each public name is."""
    return {module: dict(sorted(_names(sdk / "temporalio", module))) for module in MODULES}


def _names(root: Path, module: str) -> Iterator[tuple[str, Any]]:
    package = root / module
    files = sorted(package.glob("*.py")) if package.is_dir() else [root / f"{module}.py"]
    found: dict[str, ast.stmt] = {}
    for file in files:
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[node.name] = node  # the last of overloads is the function
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        found.setdefault(target.id, node)
    public = set(found)
    if package.is_dir():
        exported = _exported(package / "__init__.py") - _from_types(package / "__init__.py")
        public = exported or public
        for name in exported - set(found):
            found[name] = _elsewhere(root, package / "__init__.py", name)
    for name in public:
        node = found[name]
        if (
            not name.startswith("_")
            and name not in ("TYPE_CHECKING", "logger_")
            and not _is_type_variable(node)
        ):
            yield name, _what(node, found)


def _exported(file: Path) -> set[str]:
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            return set(ast.literal_eval(node.value))
    return set()


def _from_types(file: Path) -> set[str]:
    """Names that come from the module of type variables."""
    return {
        alias.name
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] == "types"
        for alias in node.names
    }


def _elsewhere(root: Path, file: Path, name: str) -> ast.stmt:
    """A name that the package takes from another one."""
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            source = root.parent / ((node.module or "").replace(".", "/") + ".py")
            if source.exists():
                for one in ast.parse(source.read_text("utf-8")).body:
                    if getattr(one, "name", None) == name:
                        return one
    return ast.Pass()


def _is_type_variable(node: ast.stmt) -> bool:
    value = getattr(node, "value", None)
    name = getattr(getattr(value, "func", None), "id", "") or getattr(
        getattr(value, "func", None), "attr", ""
    )
    return name in ("TypeVar", "ParamSpec", "TypeVarTuple", "NewType")


def _what(node: ast.stmt, known: dict[str, ast.stmt]) -> Any:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return _parameters(node)
    if isinstance(node, ast.ClassDef):
        return _class(node, known)
    return None


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [one.arg for one in named if one.arg not in ("self", "cls") and not one.arg.startswith("_")]


def _class(node: ast.ClassDef, known: dict[str, ast.stmt]) -> dict[str, Any]:
    """Its members (of an enum), the parameters of its making, its attributes, and its methods with theirs."""
    bases = [base for base in map(_base_name, node.bases) if base]
    if {"Enum", "IntEnum", "IntFlag"} & set(bases):
        return {
            "members": sorted(
                target.id
                for one in node.body
                if isinstance(one, ast.Assign)
                for target in one.targets
                if isinstance(target, ast.Name)
            )
        }
    init: list[str] | None = None
    fields: list[str] = []
    methods: dict[str, list[str]] = {}
    for base in bases:
        parent = known.get(base)
        if isinstance(parent, ast.ClassDef) and parent is not node:
            inherited = _class(parent, known)
            init = inherited.get("init")
            fields += inherited.get("fields", [])
            methods |= inherited.get("methods", {})
    for one in node.body:
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
            if one.name == "__init__":
                init = _parameters(one)
            elif any(getattr(decorator, "id", "") == "property" for decorator in one.decorator_list):
                fields.append(one.name)
            elif not one.name.startswith("_"):
                methods[one.name] = _parameters(one)
        elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            fields.append(one.target.id)
    return {
        "init": init,
        "fields": sorted({field for field in fields if not field.startswith("_")}),
        "methods": dict(sorted(methods.items())),
    }


def _base_name(base: ast.expr) -> str:
    if isinstance(base, ast.Subscript):
        base = base.value
    return base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""


if __name__ == "__main__":
    made = {"sdk": sys.argv[2], "modules": table(Path(sys.argv[1]))}
    TABLE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
