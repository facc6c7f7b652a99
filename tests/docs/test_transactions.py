"""`docs/transactions.md`: what it shows runs."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import asyncpg

PAGE = Path(__file__).parents[2] / "docs" / "transactions.md"


async def test_the_transfer_runs(postgres_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute("create table accounts (name text primary key, cents integer)")
        await connection.execute("insert into accounts values ('ada', 1000), ('bob', 0)")
        program = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)[0]
        file = tmp_path / "bank.py"
        file.write_text(f"{program}\n\nimport asyncio\n\nasyncio.run(main({postgres_url!r}))\n")
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, str(file)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, "300 from ada to bob\n"), done.stderr
        rows = await connection.fetch("select name, cents from accounts order by name")
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [("ada", 700), ("bob", 300)]
