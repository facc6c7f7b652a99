"""What the source itself must not do: S1, S2, S25."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import durable

ROOT = Path(durable.__file__).parent

EXECUTES = {"eval", "exec", "compile", "__import__"}
LOADS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "yaml", "runpy"}
IMPORTS = {"import_module", "exec_module", "spec_from_file_location", "run_path", "run_module"}

MAY_EXECUTE = {
    "_replay/_ordered.py": "builds the standard library's own modules anew, from their files",
    "worker/_processes.py": "talks to its own processes; nothing that was stored is unpickled",
}
MAY_IMPORT = {
    "__init__.py": "its own parts, when they are asked for",
    "store/__init__.py": "the adapter of a URL's scheme, from a table",
    "client/__init__.py": "its own parts",
    "worker/__init__.py": "its own parts",
    "store/_seats.py": "adapters of drivers, from a table",
    "store/_nowhere.py": "adapters of drivers, from a table",
    "worker/_processes.py": "in its process, the module of a definition that this worker has",
    "cli/_worker.py": "the module that the person at the command line names",
    "cli/_context.py": "the module that the person at the command line names",
    "cli/_program.py": "commands, from a table",
    "testing/replay.py": "the module that the person at the command line names",
}


def trees() -> Iterator[tuple[str, ast.AST]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    target = node.func
    return (
        target.id
        if isinstance(target, ast.Name)
        else target.attr
        if isinstance(target, ast.Attribute)
        else ""
    )


def test_s1_nothing_unpickles_or_evaluates() -> None:
    found: list[str] = []
    for name, tree in trees():
        for node in ast.walk(tree):
            where = f"{name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = (
                    [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else [one.name for one in node.names]
                )
                found += [f"{where} imports {one}" for one in modules if one.partition(".")[0] in LOADS]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in EXECUTES:
                found.append(f"{where} calls {node.func.id}")
    found = [one for one in found if one.partition(":")[0] not in MAY_EXECUTE]
    assert not found, "\n".join(found)


def test_s1_modules_are_imported_by_name_in_these_places_only() -> None:
    found = {name for name, tree in trees() for node in ast.walk(tree) if called(node) in IMPORTS}
    stored = ("history/", "converter/", "_engine/", "_replay/", "workflow/", "activity/")
    assert not [name for name in found if name.startswith(stored) and name not in MAY_EXECUTE]
    assert found <= {
        *MAY_IMPORT,
        *MAY_EXECUTE,
        *(name for name in found if name.startswith(("testing/", "lint/", "cli/"))),
    }


FORMATTED_SQL = re.compile(
    r"\b(select\s.+\sfrom|insert\s+into|update\s+\S+\s+set|delete\s+from|create\s+(table|role|function)|alter\s)",
    re.IGNORECASE,
)
MAY_FORMAT = {
    "store/_filter/_compile.py": "columns from a table, values as parameters (watched in tests/security/test_sql.py)",
    "store/sqlite/_rows.py": "as many question marks as there are rows",
    "store/_filter/_dialects.py": "columns from a table, values as parameters",
}


def test_s2_no_statement_is_made_from_values() -> None:
    """An f-string that is SQL holds nothing but names that the code itself has; see the list."""
    found: list[str] = []
    for name, tree in trees():
        if not name.startswith(("store/", "client/", "worker/", "contrib/")) or name in MAY_FORMAT:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                constant = "".join(one.value for one in node.values if isinstance(one, ast.Constant))
                if FORMATTED_SQL.search(constant) and any(
                    isinstance(one, ast.FormattedValue) for one in node.values
                ):
                    found.append(f"{name}:{node.lineno}")
    assert not found, found


def test_s25_importing_reads_no_secret() -> None:
    """Nothing of the environment is read when the library is imported."""
    code = (
        "import os, sys\n"
        "class Watched(dict):\n"
        "    asked = []\n"
        "    def __getitem__(self, key): self.asked.append(key); return dict.__getitem__(self, key)\n"
        "    def get(self, key, default=None): self.asked.append(key); return dict.get(self, key, default)\n"
        "os.environ = Watched(os.environ)\n"
        "import durable, durable.client, durable.worker, durable.store.sqlite, durable.store.postgres\n"
        "print(sorted({k for k in Watched.asked if k.startswith(('DURABLE', 'PG')) or 'SECRET' in k or 'PASSWORD' in k}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
