"""A project that has `durable` from a built wheel, and nothing of this repository: its tests use the fixtures."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.testing.test_plugin import PROGRAM, TESTS

ROOT = Path(__file__).parents[2]

WHERE = """
def test_it_is_that_of_the_wheel() -> None:
    import durable

    assert durable.__file__.startswith(FOLDER)
"""

PLUGINS = {
    "strict": ("-p", "no:anyio", "-o", "asyncio_mode=strict"),
    "auto": ("-p", "no:anyio", "-o", "asyncio_mode=auto"),
    "anyio": ("-p", "no:asyncio", "-o", "anyio_mode=auto"),
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, and what the wheel and its users need: the same as here, but not `durable`."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed: pip install --group test")
    folder = tmp_path_factory.mktemp("scratch")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", symlinks=True)
    (packages,) = (folder / "venv").glob("lib/*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    # Of the folder itself only what lies in it is seen, and not where its `.pth` files lead: to this repository.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    return folder


@pytest.mark.parametrize("plugin", PLUGINS)
def test_its_fixtures_work(scratch: Path, tmp_path: Path, plugin: str) -> None:
    pytest.importorskip("pytest_asyncio")
    mark = "@pytest.mark.asyncio" if plugin == "strict" else ""
    program = (PROGRAM + TESTS).replace("MARK", mark) + WHERE.replace("FOLDER", repr(str(scratch)))
    (tmp_path / "test_scratch.py").write_text(program, "utf-8")
    done = subprocess.run(
        [
            scratch / "venv" / "bin" / "python",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:hypothesispytest",
            *PLUGINS[plugin],
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))},
    )
    assert "6 passed" in done.stdout, done.stdout + done.stderr
