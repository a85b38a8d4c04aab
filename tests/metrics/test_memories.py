"""Host memory: what is read, and from where."""

import subprocess
import sys

import numpy as np
import pytest

from bertline.metrics import memories
from bertline.metrics.memories import Memory


def test_the_peak_stays_and_the_resident_falls():
    before = memories.host_resident()
    block = np.ones(200_000_000 // 8)
    assert memories.host_resident() > before + 150e6
    del block
    assert memories.host_resident() < before + 100e6
    assert memories.host_peak() > before + 150e6


def test_the_peak_is_this_process_own():
    """A child's getrusage begins with what its parent had."""
    block = np.ones(300_000_000 // 8)
    program = "from bertline.metrics import memories; print(memories.host_peak())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert 5e6 < int(done.stdout) < block.nbytes


def test_a_settled_peak_stands_still():
    memory = Memory()
    measured = memory.settle()
    block = np.ones(memories.host_peak() // 8)
    assert memories.host_peak() > memory.host_peak() == measured["host_memory_peak_bytes"]
    assert measured.keys() == {"host_memory_peak_bytes", "gpu_present"}
    del block


def group(folder, path, name, text):
    (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / path / name).write_text(text)


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/kubepods/pod1/a\n", {"kubepods/pod1/a/memory.max": "4096\n"}, 4096),
        ("0::/kubepods/pod1/a\n", {"kubepods/pod1/memory.max": "2048\n", "kubepods/pod1/a/memory.max": "4096\n"}, 2048),
        ("0::/kubepods/pod1/a\n", {"kubepods/pod1/a/memory.max": "max\n"}, None),
        ("0::/\n", {"memory.max": "1024\n"}, 1024),  # a container with a namespace of its own
        ("0::/../other\n", {}, None),
        (
            "3:cpu,memory:/a\n2:cpu:/a\n",
            {"memory/memory.limit_in_bytes": str(2**63 - 4096), "memory/a/memory.limit_in_bytes": "8192"},
            8192,
        ),
        ("3:memory:/docker/1\n", {"memory/memory.limit_in_bytes": "512"}, 512),
        ("", {}, None),
    ],
)
def test_the_lowest_limit_of_the_groups_around_counts(tmp_path, groups, limits, expected):
    (tmp_path / "cgroup").write_text(groups)
    for path, text in limits.items():
        folder, _, name = path.rpartition("/")
        group(tmp_path / "mounted", folder, name, text)
    assert memories.host_limit(tmp_path / "cgroup", tmp_path / "mounted") == expected


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert memories.host_limit(tmp_path / "cgroup", tmp_path) is None
