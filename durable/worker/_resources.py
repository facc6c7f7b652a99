"""How much of the machine is in use, read from Linux: of all of it, and of what this process's control groups allow.

Memory that the kernel would give back at once, page cache above all, does not count as used. Control groups of both
versions are read, of this process and of all above it; what is nearest to its limit counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

MEASURE_EVERY = 0.1
"""Seconds between two measurements: `/proc/stat` counts hundredths of a second, so a shorter time would tell little."""

V1_UNLIMITED = 1 << 60
"""Bytes from which a limit of a version 1 group means that there is none."""


class Resources:
    """The machine as a worker sees it.

    Attributes:
        memory: Which part of the memory is in use, from 0 to 1.
        cpu: Which part of the CPU time was in use lately; None as long as that is not known.
    """

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        """Read below `root`.

        Raises:
            RuntimeError: This system does not tell.
        """
        self._proc, self._groups = root / "proc", root / "sys/fs/cgroup"
        self._clock = clock
        self.memory = 0.0
        self.cpu: float | None = None
        try:
            self._measured_at = clock()
            self._times = self._cpu_times()
            self._memory_levels, self._cpu_levels = self._find_groups()
            self._used = [used() for used, _ in self._cpu_levels]
            self.memory = self._memory_used()
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise RuntimeError(
                "a resource-based tuner reads /proc, which this system does not have as Linux has it "
                f"({error}): use WorkerTuner.create_fixed, or a CustomSlotSupplier that asks what this system knows"
            ) from error

    def measure(self) -> None:
        """Look again, unless that was just done."""
        now = self._clock()
        passed = now - self._measured_at
        if passed < MEASURE_EVERY:
            return
        self._measured_at = now
        self.memory = self._memory_used()
        busy, total = self._cpu_times()
        shares = [(busy - self._times[0]) / max(1, total - self._times[1])]
        self._times = busy, total
        used = [read() for read, _ in self._cpu_levels]
        shares.extend(
            (after - before) / (passed * cores)
            for before, after, (_, cores) in zip(self._used, used, self._cpu_levels, strict=True)
        )
        self._used = used
        self.cpu = max(shares)

    # ------------------------------------------------------------------ all of it

    def _memory_used(self) -> float:
        lines = (line.split() for line in (self._proc / "meminfo").read_text().splitlines())
        found = {words[0]: int(words[1]) for words in lines if len(words) > 1}
        shares = [1 - found["MemAvailable:"] / found["MemTotal:"]]
        shares.extend(used() / limit for used, limit in self._memory_levels)
        return max(shares)

    def _cpu_times(self) -> tuple[int, int]:
        """Return the time that was used, and all there was, of all processors, in ticks."""
        with (self._proc / "stat").open() as lines:
            user, nice, system, idle, iowait, *others = map(int, lines.readline().split()[1:9])
        busy = user + nice + system + sum(others)
        return busy, busy + idle + iowait

    # ------------------------------------------------------------------ control groups

    def _find_groups(
        self,
    ) -> tuple[list[tuple[Callable[[], int], int]], list[tuple[Callable[[], float], float]]]:
        """Return how to read what is used, and its limit, of each group that has one: bytes, and seconds of CPU."""
        memory: list[tuple[Callable[[], int], int]] = []
        cpu: list[tuple[Callable[[], float], float]] = []
        try:
            lines = (self._proc / "self/cgroup").read_text().splitlines()
        except OSError:
            return memory, cpu
        for line in lines:
            _, controllers, path = line.split(":", 2)
            for kind in controllers.split(",") or [""]:
                for folder in _levels(self._groups / kind, path):
                    if kind in ("", "memory") and (limit := _memory_limit(folder)) is not None:
                        memory.append((partial(_memory_of, folder), limit))
                    if kind in ("", "cpu") and (cores := _cores(folder)) is not None:
                        account = self._groups / "cpuacct" / folder.relative_to(self._groups / kind)
                        cpu.append((partial(_cpu_of, folder, account), cores))
        return memory, cpu


def _levels(mount: Path, path: str) -> Iterator[Path]:
    """The folders of a group and of all above it, as far as they can be seen from here.

    In a container the path may be the host's, and the mount the container's own group.
    """
    folder = mount / path.lstrip("/")
    while True:
        if folder.is_dir():
            yield folder
        if folder == mount or mount not in folder.parents:
            return
        folder = folder.parent


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _memory_limit(folder: Path) -> int | None:
    limit = _number(folder / "memory.max")
    if limit is None:
        limit = _number(folder / "memory.limit_in_bytes")
    return limit if limit is not None and 0 < limit < V1_UNLIMITED else None


def _memory_of(folder: Path) -> int:
    used = _number(folder / "memory.current")
    if used is None:
        used = _number(folder / "memory.usage_in_bytes") or 0
    stat = _table(folder / "memory.stat")
    return max(0, used - stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _cores(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        quota, period = str(_number(folder / "cpu.cfs_quota_us")), str(_number(folder / "cpu.cfs_period_us"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _cpu_of(folder: Path, account: Path) -> float:
    micros = _table(folder / "cpu.stat").get("usage_usec")
    return micros / 1e6 if micros is not None else (_number(account / "cpuacct.usage") or 0) / 1e9


def _table(file: Path) -> dict[str, int]:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, value in (line.split() for line in lines)}
