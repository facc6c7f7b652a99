"""Other Pythons on this machine: find them, and run the replay tests under each.

A history recorded under one interpreter must replay under the next, so replay is tested on all that can be found: on
`PATH`, below pyenv's root, and by the `py` launcher. Being there is not enough, an interpreter counts when it runs.

    python -m tests._interpreters            # lists them
    python -m tests._interpreters run        # an environment for each (.venv-3.12, ...), and the replay tests in it
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
OLDEST = (3, 11)
NEWEST_TRIED = 20  # python3.11 ... python3.20
REPLAY_TESTS = ("tests/replay", "tests/history")
SLICE_SECONDS = 120

PROBE = """
import ensurepip, json, sqlite3, sys, sysconfig, venv
print(json.dumps({
    "path": sys.executable,
    "implementation": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "final": sys.version_info.releaselevel == "final",
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
}))
"""


@dataclasses.dataclass(frozen=True)
class Interpreter:
    path: str
    implementation: str
    version: tuple[int, int, int]
    final: bool
    free_threaded: bool

    @property
    def series(self) -> str:
        """Such as "3.14t": one interpreter of each is enough."""
        return f"{self.version[0]}.{self.version[1]}{'t' if self.free_threaded else ''}"

    def __str__(self) -> str:
        return ".".join(map(str, self.version)) + ("t" if self.free_threaded else "")


def probe(command: Iterable[str]) -> Interpreter | None:
    """Ask it; None when it does not run, lacks what an environment needs, is no CPython or is too old."""
    try:
        answer = subprocess.run(
            [*command, "-I", "-c", PROBE], capture_output=True, text=True, timeout=30, check=True
        )
        facts = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    found = Interpreter(**{**facts, "version": tuple(facts["version"])})
    return found if found.implementation == "cpython" and found.version >= OLDEST else None


def candidates() -> Iterator[list[str]]:
    yield [getattr(sys, "_base_executable", sys.executable)]  # ours, without its environment
    minors = range(OLDEST[1], NEWEST_TRIED + 1)
    names = [f"python3.{minor}{flavour}" for minor in minors for flavour in ("", "t")]
    for name in (*names, "python3", "python"):
        if path := shutil.which(name):
            yield [path]
    for root in pyenv_roots():
        yield from ([str(path)] for path in sorted(root.glob("versions/*/bin/python")))
    if launcher := shutil.which("py"):
        yield from ([launcher, f"-3.{minor}"] for minor in minors)


def pyenv_roots() -> set[Path]:
    roots = {Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")}
    if pyenv := shutil.which("pyenv"):
        answer = subprocess.run([pyenv, "root"], capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            roots.add(Path(answer.stdout.strip()))
    return {root for root in roots if root.is_dir()}


def find() -> list[Interpreter]:
    """The newest working CPython of each series, oldest series first."""
    best: dict[str, Interpreter] = {}
    for command in candidates():
        found = probe(command)
        if found and (found.series not in best or best[found.series].version < found.version):
            best[found.series] = found
    return sorted(best.values(), key=lambda one: (one.version, one.free_threaded))


# --- running ---


def environment(interpreter: Interpreter) -> Path:
    """Its environment's Python; made when missing, filled again when pyproject.toml is newer than it."""
    directory = ROOT / f".venv-{interpreter.series}"
    python = directory / "bin" / "python"
    stamp = directory / ".replay"
    project = ROOT / "pyproject.toml"
    if probe([str(python)]) is None:
        shutil.rmtree(directory, ignore_errors=True)
        subprocess.run([interpreter.path, "-m", "venv", str(directory)], check=True)
    if not stamp.exists() or stamp.stat().st_mtime < project.stat().st_mtime:
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        subprocess.run([*pip, "--upgrade", "pip"], check=True)
        subprocess.run([*pip, "-e", ".", "--group", "replay"], cwd=ROOT, check=True)
        stamp.touch()
    return python


def run(report: Path | None = None) -> int:
    """The replay tests under each interpreter; the last lines name what was tested, and so does the report."""
    tests = [path for path in REPLAY_TESTS if (ROOT / path).is_dir()]
    failed = False
    if not tests:
        verdicts = ["replay: there are no tests of it yet"]
    else:
        verdicts, failed = test_each(tests)
    print("\n".join(verdicts))
    if report:
        with report.open("a") as file:
            file.writelines(f"{verdict}\n" for verdict in verdicts)
    return int(failed)


def test_each(tests: list[str]) -> tuple[list[str], bool]:
    """A verdict for each interpreter, and whether one of them is bad."""
    verdicts: list[str] = []
    failed = False
    for interpreter in find():
        print(f"--- Python {interpreter}", flush=True)
        try:
            python = environment(interpreter)
        except subprocess.CalledProcessError:
            # A dependency may have no build yet for a Python that is not out. One that is out is supported, or not.
            failed |= interpreter.final
            verdicts.append(f"replay on Python {interpreter}: not tested, the dependencies do not install")
            continue
        # Sets and dicts must not be able to leak into a history: another hash seed for each, and said, to come back to.
        seed = str(random.randrange(1, 2**32))
        cores = ["-n", "auto", "--dist", "worksteal"]
        command = [str(python), "-m", "pytest", "-q", *cores, f"--slice={SLICE_SECONDS}", *tests]
        code = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, check=False
        ).returncode
        failed |= code != 0
        verdicts.append(
            f"replay on Python {interpreter}: {'failed' if code else 'ran'} (PYTHONHASHSEED={seed})"
        )
    return verdicts, failed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests._interpreters", description=__doc__.splitlines()[0]
    )
    parser.add_argument("action", nargs="?", choices=["list", "run"], default="list")
    parser.add_argument("--report", type=Path, help="also append the verdicts to this file")
    options = parser.parse_args()
    if options.action == "run":
        return run(options.report)
    for interpreter in find():
        print(f"{interpreter.series:6} {interpreter!s:9} {interpreter.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
