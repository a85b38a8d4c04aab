"""Memory of this process and its GPU; metrics and manifest use the same values."""

import os
import resource
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertline.metrics import gpus
from bertline.store import provenances

UNLIMITED = 1 << 60  # in cgroup v1 a number above this means "no limit"
ABSENT = "none"


@dataclass(frozen=True)
class Allocated:
    """Bytes that TensorFlow's allocator has given out on the first GPU."""

    current: int
    peak: int


class Memory:
    """Values for the metrics. After `settle` peaks and allocator don't change: they are the manifest's values."""

    def __init__(self, sampler: gpus.Sampler | None = None) -> None:
        self._sampler = sampler
        self._gpu: bool | None = None
        self._name: str | None = None
        self._read: Callable[[], Allocated] | None = None
        self._settled: dict[str, int] | None = None
        self._allocated: Allocated | None = None

    def attach(self, tensorflow: Any) -> None:
        """Use TensorFlow, once it has started, to find out whether there is a GPU."""
        config = tensorflow.config
        found = config.list_physical_devices("GPU")
        self._gpu = bool(found)
        if found:
            self._name = config.experimental.get_device_details(found[0]).get("device_name")

            def read() -> Allocated:
                told = config.experimental.get_memory_info("GPU:0")
                return Allocated(int(told["current"]), int(told["peak"]))

            self._read = read

    @property
    def gpu_present(self) -> bool | None:
        """None means not known yet."""
        if self._gpu is not None or self._sampler is None:
            return self._gpu
        return self._sampler.present

    @property
    def gpu_name(self) -> str | None:
        """The driver's name of the GPU; `ABSENT` without a GPU; None means not known yet."""
        if self.gpu_present is False:
            return ABSENT
        return self._name or (self._sampler.name if self._sampler else None)

    def allocated(self) -> Allocated | None:
        """None without a GPU, and before TensorFlow has started."""
        return self._allocated or (self._read() if self._read else None)

    def device(self) -> gpus.Sample | None:
        """NVML's last sample; None if it is too old."""
        return self._sampler.sample() if self._sampler and self.gpu_present else None

    def device_errors(self) -> int | None:
        """Number of failed calls of NVML."""
        return self._sampler.errors if self._sampler and self.gpu_present else None

    def host_peak(self) -> int:
        """Peak bytes of this process; see `settle`."""
        return self._settled["host_memory_peak_bytes"] if self._settled else host_peak()

    def settle(self) -> dict[str, int]:
        """The measurements for the manifest.

        `host_memory_peak_bytes`, `gpu_present` (0 or 1) and, with a GPU, `gpu_memory_peak_bytes` (of TensorFlow's
        allocator) and `gpu_device_peak_bytes` (of the whole device, the most of NVML's samples).
        """
        found = {"host_memory_peak_bytes": host_peak(), "gpu_present": int(bool(self._gpu))}
        if self._read:
            self._allocated = self._read()
            found["gpu_memory_peak_bytes"] = self._allocated.peak
            provenances.note("gpu", self._name)
        if self._gpu and self._sampler:
            if self._sampler.peak is not None:
                found["gpu_device_peak_bytes"] = self._sampler.peak
            provenances.note("gpu_driver", self._sampler.driver)
        self._settled = found
        return dict(found)


def host_resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def host_peak() -> int:
    """Peak bytes of this process in memory.

    getrusage is used only if the kernel has no better value, because it counts the memory of the forking parent.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def host_limit(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> int | None:
    """The lowest limit of the control group and its parents, in bytes; None without a limit."""
    found = []
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        folder = root / path.lstrip("/")
        for each in (folder, *folder.parents):
            if each.is_relative_to(root):
                found += _limit(each / name)
    return min(found, default=None)


def _limit(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:  # in a container its own group is the root, under another path
        return []
    return [int(text)] if text.isdigit() and int(text) < UNLIMITED else []
