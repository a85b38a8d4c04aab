"""Threads and workers follow what the process may use, not what the node has."""

import os
import subprocess
import sys

import psutil
import pytest

from bertline.errors import UserError
from bertline.process import processors


@pytest.fixture
def node(monkeypatch, tmp_path):
    """A node of 64 cores whose control groups are files of ours."""
    monkeypatch.delenv(processors.THREADS, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.setattr(processors, "CGROUPS", tmp_path)
    monkeypatch.setattr(processors, "MEMBERSHIP", tmp_path / "membership")
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 64), ("400000 100000", 4), ("150000 100000", 2), ("5000 100000", 1)]
)
def test_a_containers_cpu_limit_counts_and_not_the_nodes_cores(quota, expected, node):
    (node / "cpu.max").write_text(quota + "\n")
    assert processors.cores() == processors.threads() == expected


def test_a_limit_of_a_group_around_counts_too(node):
    (node / "membership").write_text("3:memory:/other\n0::/slice/unit\n")
    (node / "slice/unit").mkdir(parents=True)
    (node / "slice/cpu.max").write_text("300000 100000")
    (node / "slice/unit/cpu.max").write_text("max 100000")
    assert processors.cores() == 3


@pytest.mark.parametrize(("quota", "expected"), [("-1", 64), ("250000", 3)])
def test_limits_of_version_1_count(quota, expected, node):
    (node / "membership").write_text("4:cpu,cpuacct:/pod\n0::/\n")
    (node / "cpu/pod").mkdir(parents=True)
    (node / "cpu/pod/cpu.cfs_quota_us").write_text(quota + "\n")
    (node / "cpu/pod/cpu.cfs_period_us").write_text("100000\n")
    assert processors.cores() == expected


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("memory.max", "2000000000"),
        ("memory.high", "2000000000"),
        ("memory/pod/memory.limit_in_bytes", "2000000000"),
        ("memory/memory.limit_in_bytes", "2000000000"),
    ],
)
def test_a_containers_memory_limit_counts_and_not_the_nodes_memory(file, text, node):
    machine = processors.memory()
    (node / "membership").write_text("4:memory:/pod\n0::/\n")
    (node / file).parent.mkdir(parents=True, exist_ok=True)
    (node / file).write_text(text + "\n")
    assert processors.memory() == min(2_000_000_000, machine)


@pytest.mark.parametrize("text", ["max", "9223372036854771712"])
def test_no_limit_is_the_machines_memory(text, node):
    machine = processors.memory()
    (node / "memory.max").write_text(text)
    assert processors.memory() == machine == psutil.virtual_memory().total


@pytest.fixture
def one_core():
    """A real control group of half a core; its file for members."""
    for root, files in ((processors.CGROUPS / "cpu", ("cpu.cfs_quota_us",)), (processors.CGROUPS, ("cpu.max",))):
        group = root / f"bertline-tests-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / files[0]).write_text("50000")
            yield group / "cgroup.procs"
            return
        except OSError:
            continue
        finally:
            group.rmdir()
    pytest.skip("no control group can be made here")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core is all there is")
def test_a_real_limit_counts(one_core):
    code = "from bertline.process import processors; print(processors.threads())"
    script = f"echo $$ > {one_core} && exec {sys.executable} -c '{code}'"
    environment = {name: value for name, value in os.environ.items() if name != processors.THREADS}
    result = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True, env=environment)
    assert result.stdout == "1\n"


def test_without_control_groups_the_affinity_counts(node):
    assert processors.cores() == 64


def test_the_affinity_of_a_real_process_counts():
    core = min(os.sched_getaffinity(0))
    code = "from bertline.process import processors; print(processors.threads())"
    command = ["taskset", "-c", str(core), sys.executable, "-c", code]
    environment = {name: value for name, value in os.environ.items() if name != processors.THREADS}
    assert subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout == "1\n"


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_variable_is_an_unset_one(text, node, monkeypatch):
    monkeypatch.setenv(processors.THREADS, text)
    assert processors.threads() == 64


def test_the_number_asked_for_counts(node, monkeypatch):
    monkeypatch.setenv(processors.THREADS, "3")
    assert processors.threads() == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²"])
def test_what_is_no_number_is_refused(text, node, monkeypatch):
    monkeypatch.setenv(processors.THREADS, text)
    with pytest.raises(UserError, match="give a number, at least 1"):
        processors.threads()
