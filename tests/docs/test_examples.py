"""Every program that the documentation shows runs, and prints what it should."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"

PRINTED = {
    "hello": "Hello, Ada!\n",
    "approval": """\
approver: please read 'Terms'
doc-7 is waiting for a decision
doc-7: approved and decided by ada
approver: please read 'Imprint'
doc-8: expired
""",
    "bank": """\
300 from ada to bob
ada has less than 900
{'ada': 700, 'bob': 300}
""",
    "local_activity": "ada paid 65\n",
    "fan_out": "30 thumbnails, from 0-small.jpg to 29-small.jpg, 10 at a time\n",
    "saga": """\
flight booked
hotel booked
receipt-a
flight booked
hotel booked
hotel-b cancelled
flight-b cancelled
trip-b failed: LimitExceeded: the card's limit is 1000
""",
    "updatable_timer": """\
moved to the day after
reminded in time, after 2 changes
""",
    "sleep_for_days": """\
letter 1 to ada
the next letter to ada in 30 days
letter 1 to bob
letter 2 to bob
bob got 2
ada got 1
""",
    "subscription": """\
ada: charged for month 1 of year 1
ada: charged for month 2 of year 1
ada: charged for month 3 of year 1
ada: charged for month 1 of year 2
ada: moved to another town
""",
    "context_propagation": """\
the workflow is run by ada
it is asked by bob
it is signalled by bob
Hello, Temporal, for ada
""",
    "reset": """\
lamp for 0: yes
lamp for 2500: yes
paused - until the price list is checked; an operator has paused it, until handle.unpause()
chair for 2500: no
""",
    "batches": """\
3 inquiries
2 of 2 told
2 of 2 told
lamp: sold out
chair: sold out
1 ended
terminate by ada because the shop is closed
""",
    "schedules": """\
orders: from 09:00 to 10:00
orders: from 10:00 to 11:00
orders: from 11:00 to 12:00
hourly-report is paused: stocktaking
orders and returns: asked for by hand
next ones known: 10
""",
    "standalone": """\
1.jpg at 100
2.jpg at 200
3.jpg at 300
5.jpg at 500
resize-4: activity was cancelled
4 Completed, 1 Canceled
""",
    "converter": "door at 10.0.0.2: 4 pixels\n",
    "encryption": "Ada is in room 15\nreadable in the database: False\n",
    "agent": """\
tool: weather(Oslo)
tool: weather(Rome)
It is 3 degrees in Oslo, and 18 degrees in Rome.
""",
}


def readme_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def readme_programs() -> dict[str, str]:
    blocks = [block for block in readme_blocks() if "pytest" not in block]
    return {re.findall(r"^async def (\w+)", block, re.MULTILINE)[-2]: block for block in blocks}


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == PRINTED.keys()


@pytest.mark.parametrize("name", PRINTED)
@pytest.mark.parametrize("url", ["", "sqlite:///kept.db"])
def test_an_example_runs(name: str, url: str, tmp_path: Path) -> None:
    done = run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *([url] if url else [])], tmp_path
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, PRINTED[name], "")


def test_readme_shows_these_programs() -> None:
    assert readme_programs().keys() == {"hello", "countdown"}


def test_readmes_first_program_runs_twice(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(readme_programs()["hello"])
    for _ in range(2):
        done = run([sys.executable, "-W", "error", "first.py"], tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "Hello, Ada!\n", "")


def test_readmes_test_passes(tmp_path: Path) -> None:
    (test,) = (block for block in readme_blocks() if "pytest" in block)
    (tmp_path / "countdown.py").write_text(readme_programs()["countdown"])
    (tmp_path / "test_countdown.py").write_text(test)
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


@pytest.mark.crash
def test_readmes_countdown_goes_on_after_a_kill(tmp_path: Path) -> None:
    for number in range(3):
        (folder := tmp_path / f"{number}").mkdir()
        if count_down_with_a_kill(folder) < 25:  # a wait for the end of a lease would be there each time
            return
    pytest.fail("it does not go on at once")


def count_down_with_a_kill(folder: Path) -> float:
    """Return how long it took."""
    (folder / "countdown.py").write_text(readme_programs()["countdown"])
    command = [sys.executable, "countdown.py"]
    began = time.monotonic()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        before = [first.stdout.readline() for _ in range(4)]
        first.kill()
        before += first.stdout.readlines()  # what it had come to say until then
    done = run(command, folder)
    last = 11 - len(before)
    assert before == [f"{number} ...\n" for number in range(10, last - 1, -1)]
    after = done.stdout.splitlines()
    # The last line before the kill may come again: its activity had run, and whether that was recorded is open.
    assert after[-last:] == [*(f"{number} ..." for number in range(last - 1, 0, -1)), "lift-off"]
    assert after[:-last] in ([], [f"{last} ..."])
    assert done.returncode == 0
    return time.monotonic() - began
