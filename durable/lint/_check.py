"""The way from files to findings."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from durable.lint._code import Function, Module
from durable.lint._config import SKIPPED, Config
from durable.lint._project import Project
from durable.lint._reach import Look, activities, definitions, kind_of, workflow_code
from durable.lint._rule import Finding, Rule, Where
from durable.lint._suppressions import left
from durable.lint.rules import RULES
from durable.lint.rules._state import changes

UNREADABLE = "DUR900"

OF_THE_WORLD = "DUR1"
"""How the codes of rules begin that are about what `workflow.unsafe.sandbox_unrestricted()` lets pass."""


def check(paths: Iterable[Path], config: Config) -> list[Finding]:
    """Check files, and the Python files in folders; nothing of them is imported.

    What they import from elsewhere in the program is read as well, and checked as far as workflows or activities of these
    files call it.

    Args:
        paths: Files and folders.
        config: What is looked for.

    Raises:
        FileNotFoundError: There is no such path.
    """
    project = Project(config.root, config.allow)
    files = list(dict.fromkeys(file.resolve() for path in paths for file in _files(path, config, project)))
    modules = [module for file in files if (module := project.read(file)) is not None]
    found: dict[Module, set[Finding]] = {module: set() for module in modules}
    for rule, look in _looks(modules, project):
        module = look.function.module
        for finding in _findings(rule, look):
            if config.wants(rule.code, module.shown):
                found.setdefault(module, set()).add(finding)
    answer = [
        Finding(
            project.shown(one.path),
            one.line,
            one.column,
            UNREADABLE,
            f"this is no Python: {one.why}",
            one.line,
        )
        for one in project.unreadable.values()
    ]
    for module, findings in found.items():
        if not config.skips(module.shown):
            answer += [one for one in left(sorted(findings), module) if config.wants(one.code, module.shown)]
    return sorted(answer)


def _files(path: Path, config: Config, project: Project) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    else:
        for one in sorted(path.iterdir()):
            if one.name.startswith(".") or one.name in SKIPPED or config.skips(project.shown(one.resolve())):
                continue
            if one.is_dir() or one.suffix == ".py":
                yield from _files(one, config, project)


def _looks(modules: Sequence[Module], project: Project) -> Iterator[tuple[Rule, Look]]:
    """Each rule with each function that it looks at."""
    in_workflows = workflow_code(modules, project)
    project.writers = _writers(project, in_workflows)
    functions: dict[Where, list[Look]] = {
        Where.WORKFLOW: [_look(one, root, project) for one, root in in_workflows.items()],
        Where.ACTIVITY: [_look(one, root, project) for one, root in activities(modules, project).items()],
        Where.DEFINITION: [Look(one, project, one.name, kind) for one, kind in definitions(modules, project)],
    }
    for rule in RULES:
        for look in functions[rule.where]:
            yield rule, look


def _look(function: Function, root: str, project: Project) -> Look:
    return Look(function, project, root, kind_of(function, project))


def _writers(project: Project, in_workflows: Mapping[Function, str]) -> dict[tuple[str, Path], str]:
    """The variables of modules that code outside of workflows changes, with the name of a function that does."""
    return {
        (variable.name, variable.module.path): function.name
        for module in project.modules
        for function in module.functions.values()
        if function not in in_workflows
        for _, _, variable in changes(function, project)
        if variable is not None and variable.owner is None
    }


def _findings(rule: Rule, look: Look) -> Iterator[Finding]:
    by = ""
    if look.kind is None and look.root != look.function.name:
        called = "workflow" if rule.where is Where.WORKFLOW else "activity"
        by = f" (in {look.function.name}, which {called} {look.root} runs)"
    for node, message in rule.check(look):
        if rule.code.startswith(OF_THE_WORLD) and look.is_unrestricted(node):
            continue
        assert isinstance(node, ast.expr | ast.stmt | ast.ExceptHandler | ast.arg)
        is_block = isinstance(node, ast.stmt | ast.ExceptHandler)
        end = node.lineno if is_block else node.end_lineno or node.lineno  # a block's first line counts
        yield Finding(
            look.function.module.shown, node.lineno, node.col_offset + 1, rule.code, message + by, end
        )
