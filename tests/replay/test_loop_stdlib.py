"""The standard library's own asyncio tests pass on the deterministic loop."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("loop_stdlib.py")
AT_LEAST = {(3, 11): 170, (3, 12): 190, (3, 13): 215}


def test_stdlib_tests_pass_on_our_loop() -> None:
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_asyncio") is None:
        # Some distributions ship Python without its tests. Then there is nothing to run, and this says which it was.
        assert not list(Path(importlib.util.__file__).parents[1].glob("test/test_asyncio/test_locks.py"))
        return
    done = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result = json.loads(done.stdout)
    assert result["failed"] == [], done.stderr[-4000:]
    assert result["run"] - result["skipped"] >= AT_LEAST.get(sys.version_info[:2], 250), result
