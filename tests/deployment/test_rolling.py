"""A rolling upgrade: workers of the release before and of this one on one database, runs crossing between them both ways."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from durable import Client, store
from durable.client import WorkflowHandle
from durable.worker import Replayer
from tests.deployment import relay, release
from tests.deployment.release import ROOT, process, succeeded, worker

OLD_RUNS = ("old-1", "old-2", "old-3")
NEW_RUNS = ("new-1", "new-2", "new-3")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release.unpack_release_before(tmp_path_factory.mktemp("release-before"))


async def reach(handles: Sequence[WorkflowHandle[Any, Any]], rounds: int, side: str | None) -> None:
    """Let the runs do one more round; the last one was taken by this side."""
    for handle in handles:
        await handle.signal("go", rounds)
    async with asyncio.timeout(60):
        for handle in handles:
            while len(seen := await handle.query("seen", result_type=list[str])) < rounds:
                await asyncio.sleep(0.02)
            if side is not None:
                assert seen[rounds - 1] == side, (handle.id, seen)


async def test_runs_cross_between_two_releases(store_url: str, before: Path, folder: Path) -> None:
    await succeeded(await process(before, folder, "-m", "durable", "migrate", "up", "--db", store_url))
    old = await worker(before, folder, store_url)
    await succeeded(await process(before, folder, "relay.py", store_url, *OLD_RUNS))
    # The new tables are made while workers of the release before are at work.
    await store.migrate(store_url)
    async with Client.connect(store_url) as client:
        runs = [client.get_workflow_handle(id) for id in OLD_RUNS]
        await reach(runs, 1, "old")
        new = await worker(ROOT, folder, store_url)
        runs += [await client.start_workflow("relay.relay", 5, id=id) for id in NEW_RUNS]
        await reach(runs, 2, None)  # both are at work
        assert [await one.execute_update("note", "both", result_type=int) for one in runs] == [1] * 6

        old.terminate()
        await succeeded(old)
        await reach(runs, 3, "new")

        # Back again: a worker of the release before begins on the new tables, also with runs that the new one began.
        old = await worker(before, folder, store_url)
        new.terminate()
        await succeeded(new)
        assert [await one.execute_update("note", "old", result_type=int) for one in runs] == [2] * 6
        await reach(runs, 4, "old")

        # And by a crash, which is found out by the others.
        new = await worker(ROOT, folder, store_url)
        old.kill()
        await reach(runs, 5, "new")
        for one in runs:
            sides = await one.result()
            assert sides[2:] == ["new", "old", "new"]
            history = await one.fetch_history()
            assert (await Replayer(workflows=[relay.Relay]).replay_workflow(history)).replay_failure is None
        new.terminate()
        await succeeded(new)
        await old.communicate()


def test_what_has_brought_tables_to_a_release_never_changes(before: Path) -> None:
    """A database has run it; what changed behind its back would be on new databases only."""
    released = sorted(before.glob("durable/store/*/migrations/*.sql"))
    assert released
    assert [
        one.name for one in released if one.read_bytes() != (ROOT / one.relative_to(before)).read_bytes()
    ] == []


def clone(into: Path, *options: str) -> Path:
    subprocess.run(
        ["git", "clone", "-q", "--no-tags", *options, f"file://{ROOT}", into], check=True, capture_output=True
    )
    return into


def test_a_clone_without_tags_has_the_commit_of_the_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: Path
) -> None:
    monkeypatch.setattr(release, "ROOT", clone(tmp_path / "clone"))
    unpacked = release.unpack_release_before(tmp_path)
    assert (unpacked / "durable" / "__init__.py").read_bytes() == (
        before / "durable" / "__init__.py"
    ).read_bytes()


def test_a_clone_without_tags_and_commits_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "ROOT", clone(tmp_path / "clone", "--depth=1"))
    monkeypatch.delenv(release.WANTED, raising=False)
    with pytest.raises(
        pytest.fail.Exception, match=r"this clone has neither its tag nor its commit .*run: git fetch"
    ):
        release.unpack_release_before(tmp_path)
    monkeypatch.setenv(release.WANTED, "if-found")
    with pytest.raises(pytest.skip.Exception, match=r"neither its tag nor its commit"):
        release.unpack_release_before(tmp_path)
