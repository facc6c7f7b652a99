"""What the package is before it does anything: its names, its version, its types, and what importing it costs."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import durable

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# The packages that HOUSE's floors call pure: they compute, and nothing else.
PURE = ("_timetables", "history", "converter", "workflow", "activity", "interceptor", "_replay", "_engine")


def public_modules() -> list[str]:
    """Every module whose dotted name has no underscore in it, so that a user may import it."""
    found = pkgutil.walk_packages(durable.__path__, "durable.")
    public = (
        module.name for module in found if not any(part.startswith("_") for part in module.name.split("."))
    )
    return ["durable", *public]


def modules_loaded_by(statement: str) -> set[str]:
    """What a fresh interpreter holds after the statement and did not hold before it."""
    program = (
        "import json, sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(answer.stdout))


@pytest.mark.parametrize(
    "costly",
    [
        "asyncpg",
        "croniter",
        "dateutil",
        "sqlite3",
        "opentelemetry.sdk",
        "multiprocessing",
        "importlib.metadata",
    ],
)
def test_importing_durable_leaves_costly_modules_alone(costly: str) -> None:
    # Loaded on use instead: a program on SQLite never pays for asyncpg, one without schedules never for croniter.
    loaded = modules_loaded_by("from durable import activity, common, exceptions, workflow")
    assert costly not in loaded


@pytest.mark.parametrize(
    ("statement", "left_alone"),
    [
        ("import durable", ("asyncio", "msgspec", "durable.exceptions")),
        ("import durable.exceptions", ("durable.workflow", "durable.activity", "durable.client")),
        ("from durable import workflow, activity", ("durable.client", "durable.worker", "durable.store")),
    ],
)
def test_what_is_not_asked_for_is_not_loaded(statement: str, left_alone: tuple[str, ...]) -> None:
    assert not modules_loaded_by(statement) & set(left_alone)


def test_each_name_of_the_package_is_that_of_its_module() -> None:
    wheres = durable._WHERE
    assert {*wheres, *durable._MODULES} == set(durable.__all__) <= set(dir(durable))
    for name, module in wheres.items():
        assert getattr(durable, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = durable.nothing  # type: ignore[attr-defined]


def test_importing_the_package_starts_nothing() -> None:
    statement = "import threading, durable; assert threading.active_count() == 1, threading.enumerate()"
    assert "durable" in modules_loaded_by(statement)


@pytest.mark.parametrize("name", public_modules())
def test_public_module_lists_its_names(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    assert listed is not None, f"{name} has no __all__, so nobody can tell what is public in it"
    assert len(listed) == len(set(listed)), f"{name}.__all__ repeats a name"
    missing = [one for one in listed if not hasattr(module, one)]
    assert not missing, f"{name}.__all__ lists names that are not there: {missing}"


def test_version_is_the_one_in_pyproject() -> None:
    assert metadata.version("durable") == PROJECT["project"]["version"]
    assert durable.__version__ == PROJECT["project"]["version"]


def test_types_are_shipped() -> None:
    assert resources.files(durable).joinpath("py.typed").is_file()


def test_runtime_dependencies_are_the_reviewed_ones() -> None:
    names = {requirement.split(">")[0] for requirement in PROJECT["project"]["dependencies"]}
    assert names == {"anyio", "asyncpg", "croniter", "msgspec", "opentelemetry-api"}


def test_s22_a_wheel_is_built_twice_to_the_byte(tmp_path: Path) -> None:
    made: list[bytes] = []
    for name in ("one", "two"):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / name)]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        (wheel,) = (tmp_path / name).glob("*.whl")
        made.append(wheel.read_bytes())
    assert made[0] == made[1]


def test_every_pure_package_is_held_to_it() -> None:
    # import-linter refuses to be told of a package that is not there, so the list grows with the tree.
    contracts = {one["id"]: one for one in PROJECT["tool"]["importlinter"]["contracts"]}
    there = {f"durable.{name}" for name in PURE if any((ROOT / "durable" / name).glob("*.py"))}
    assert set(contracts["pure"]["source_modules"]) == there
