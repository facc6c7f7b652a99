"""`durable bench`: what it measures, and that nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from durable.cli import ExitCode
from tests.cli.conftest import Done
from tests.cli.schemas import check


async def test_it_measures_and_leaves_nothing(store_url: str, tmp_path: Path) -> None:
    url = store_url if store_url.startswith("postgresql") else "sqlite:///shop.db"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "durable", "bench", "--db", url, "--json"),
        *("--seconds", "300ms", "--runs", "1", "--runs", "20"),
        cwd=tmp_path,
        env=None,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert b"20 at once, for 0.3 s" in err
    check(json.loads(out), "bench")
    one, twenty = json.loads(out)["results"]
    assert (one["runs"], twenty["runs"]) == (1, 20)
    for found in (one, twenty):
        assert found["steps"] > 1
        assert found["steps_per_second"] == pytest.approx(found["steps"] / found["seconds"], rel=0.01)
        assert 0 < found["p50_ms"] <= found["p99_ms"]
    if url == store_url:
        assert one["settings"]["fsync"] in ("on", "off")
        connection = await asyncpg.connect(url)
        schemas = await connection.fetch(
            "select nspname from pg_namespace where nspname like 'durable\\_bench%'"
        )
        await connection.close()
        assert schemas == []
    else:
        assert one["settings"]["synchronous"] == "full"
        assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--runs", "0"], "--runs is a number from 1 to 2000"),
        (["--runs", "2001"], "--runs is a number from 1 to 2000"),
        (["--seconds", "0s"], "--seconds must be longer than zero"),
        (["-n", "shop"], "bench makes a namespace of its own; leave -n out"),
        (["--db", "sqlite:///no/such/folder/x.db"], "cannot make a file in no/such/folder"),
    ],
)
def test_what_it_does_not_measure(
    cli: Callable[..., Done], sqlite_url: str, arguments: list[str], told: str
) -> None:
    done = cli("bench", "--db", sqlite_url, *arguments)
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert told in done.err
