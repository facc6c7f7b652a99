"""The program that the processes of these tests run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.deployment import relay


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of its own with the program in it."""
    folder = tmp_path / "program"
    folder.mkdir()
    shutil.copy(Path(relay.__file__), folder / "relay.py")
    return folder
