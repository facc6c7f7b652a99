"""What a worker reads of the machine: all of it, and what the control groups of its process allow."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from durable.worker._resources import MEASURE_EVERY, Resources

MB = 1 << 20


class Machine:
    """Files as Linux has them, and a clock."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 100.0
        self.memory(1000, 750)
        self.cpu(1000, 1000)
        self.write("proc/self/cgroup", "0::/\n")

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def memory(self, total: int, available: int) -> None:
        self.write(
            "proc/meminfo",
            f"MemTotal: {total} kB\nMemFree: 5 kB\nMemAvailable: {available} kB\nHugePages: \n",
        )

    def cpu(self, busy: int, idle: int) -> None:
        self.write("proc/stat", f"cpu  {busy - 10} 4 3 {idle - 5} 5 1 1 1 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")

    def resources(self) -> Resources:
        return Resources(self.root, lambda: self.now)

    def later(self, resources: Resources, seconds: float = 1.0) -> Resources:
        self.now += seconds
        resources.measure()
        return resources


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_all_of_the_machine(machine: Machine) -> None:
    found = machine.resources()
    assert (found.memory, found.cpu) == (0.25, None)
    machine.memory(1000, 100)
    machine.cpu(1090, 1110)
    machine.later(found, MEASURE_EVERY / 2)
    assert (found.memory, found.cpu) == (0.25, None), "it was measured just now"
    machine.later(found)
    assert found.memory == 0.9
    assert found.cpu == pytest.approx(0.45, abs=0.01)


def test_a_container_with_version_2(machine: Machine) -> None:
    machine.write("sys/fs/cgroup/memory.max", str(100 * MB))
    machine.write("sys/fs/cgroup/memory.current", str(60 * MB))
    machine.write("sys/fs/cgroup/memory.stat", f"anon 5\ninactive_file {20 * MB}\n")
    machine.write("sys/fs/cgroup/cpu.max", "50000 100000\n")
    machine.write("sys/fs/cgroup/cpu.stat", "usage_usec 1000000\nuser_usec 1\n")
    found = machine.resources()
    assert found.memory == 0.4
    machine.write("sys/fs/cgroup/cpu.stat", "usage_usec 1400000\nuser_usec 1\n")
    machine.write("sys/fs/cgroup/memory.current", str(110 * MB))
    machine.later(found)
    assert found.memory == 0.9
    assert found.cpu == pytest.approx(0.8)


def test_the_tightest_of_nested_groups(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/app.slice/worker\n")
    for folder, limit, current in (
        ("", "max", 0),
        ("app.slice/", str(100 * MB), 90),
        ("app.slice/worker/", str(500 * MB), 80),
    ):
        machine.write(f"sys/fs/cgroup/{folder}memory.max", limit + "\n")
        machine.write(f"sys/fs/cgroup/{folder}memory.current", str(current * MB))
        machine.write(f"sys/fs/cgroup/{folder}cpu.max", "max 100000\n")
    found = machine.resources()
    assert found.memory == 0.9
    machine.cpu(1500, 1500)
    assert machine.later(found).cpu == pytest.approx(0.5, abs=0.01), "no quota: the machine's own"


@pytest.mark.parametrize("path", ["/docker/abc", "/"])
def test_version_1(machine: Machine, path: str) -> None:
    """The mount in a container is its own group, whatever the path says."""
    machine.write("proc/self/cgroup", f"4:memory:{path}\n3:cpu,cpuacct:{path}\n0::/\n")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", str(100 * MB))
    machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", str(70 * MB))
    machine.write("sys/fs/cgroup/memory/memory.stat", f"total_inactive_file {20 * MB}\n")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    machine.write("sys/fs/cgroup/cpuacct/cpuacct.usage", "5000000000")
    found = machine.resources()
    assert found.memory == 0.5
    machine.write("sys/fs/cgroup/cpuacct/cpuacct.usage", "6000000000")
    assert machine.later(found).cpu == pytest.approx(0.5)


def test_no_limit_of_version_1(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "4:memory:/\n3:cpu:/\n")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712")
    machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", str(70 * MB))
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert machine.resources().memory == 0.25


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"use WorkerTuner\.create_fixed, or a CustomSlotSupplier"):
        Resources(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has it")
def test_this_machine() -> None:
    now = [0.0]
    found = Resources(clock=lambda: now[0])
    now[0] = 1.0
    found.measure()
    assert 0 < found.memory < 1
    assert found.cpu is not None
    assert found.cpu >= 0
