"""The release before this one, out of the repository, and processes that run it or this one."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


# Where a clone brings no tags it may still bring the commits: the last release, to be kept even with its tag.
LAST_RELEASE = "58863e1e42f3b11c8ef4195f1871aafb0c2b9665"
# "if-found" makes a missing release a test that is not run, and said so in the last lines. Otherwise it fails.
WANTED = "DURABLE_TEST_RELEASE_BEFORE"


def unpack_release_before(into: Path) -> Path:
    """Write the library as it was at the last release before this commit, and return where it can be imported from.

    Without a release there is nothing to be compatible with: the test that asks fails, with what to do about it.
    """
    try:
        packed = _git("archive", _release_before(), "durable")
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        problem = (
            "a rolling upgrade is tried with the release before this one, and this clone has neither its tag nor its commit "
            f"({said.decode().strip()}); run: git fetch --unshallow --tags, or git fetch --tags in a clone that is whole"
        )
    else:
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(into, filter="data")
        return into
    if os.environ.get(WANTED) == "if-found":
        pytest.skip(problem)
    pytest.fail(problem, pytrace=False)


def _release_before() -> str:
    try:
        return _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^").decode().strip()
    except subprocess.CalledProcessError:
        return LAST_RELEASE


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True).stdout


async def process(library: Path, folder: Path, *arguments: str) -> asyncio.subprocess.Process:
    """Start Python with a library of one release, in a folder that has the program."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=folder,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{library}{os.pathsep}{folder}"},
    )


async def worker(library: Path, folder: Path, url: str) -> asyncio.subprocess.Process:
    """Start a worker of one release, and return when it serves."""
    started = await process(library, folder, "-m", "durable", "worker", "-A", "relay:make", "--db", url)
    assert started.stderr is not None
    told = b""
    while b"serving" not in (line := await asyncio.wait_for(started.stderr.readline(), 60)):
        told += line
        assert line, f"the worker ended with {await started.wait()}: {told.decode()}"
    return started


async def succeeded(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a process, which must be a good one."""
    _, told = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, told.decode()
