"""The device's memory, utilization and name from NVML, the driver's library.

A separate thread reads them every few seconds, because a call may hang if the driver has a problem. Then the last
sample becomes too old and isn't shown any more; training and scrapes don't wait.
"""

import contextlib
import importlib
import os
import threading
import time
from dataclasses import dataclass
from typing import Any

EVERY_S = 2.0
KEPT_S = 30.0
"""Seconds after which a sample isn't shown any more."""


@dataclass(frozen=True)
class Sample:
    """Values of the device at one time. `used` includes all processes and the driver: used + free = total."""

    used: int
    total: int
    utilization: float | None
    """Share of the time in which a kernel ran; None if the device has no such value (a MIG slice)."""


class Sampler:
    """Samples the first device that this process may use. Without the library or a device its thread ends at once."""

    def __init__(self) -> None:
        self._last: tuple[float, Sample] | None = None
        self._ended = threading.Event()
        self.present: bool | None = None
        """None until NVML has answered."""
        self.name: str | None = None
        self.driver: str | None = None
        self.peak: int | None = None
        """The most used bytes of all samples since `forget_peak`."""
        self.errors = 0
        """Number of failed reads."""
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)
        self._thread.start()

    def sample(self) -> Sample | None:
        """The last sample; None if it is too old."""
        last = self._last
        return last[1] if last and time.monotonic() - last[0] <= KEPT_S else None

    def forget_peak(self) -> None:
        """Reset `peak`, because another task begins."""
        self.peak = None

    def close(self) -> None:
        """Let the thread end soon."""
        self._ended.set()

    def _run(self) -> None:
        try:
            nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            self.present = False
            return
        nothing = (nvml.NVMLError_LibraryNotFound, nvml.NVMLError_DriverNotLoaded)
        device = None
        while self.present is not False and not self._ended.is_set():
            try:
                device = device or self._open(nvml)
                self.present = device is not None
                if device:
                    self._look(nvml, device)
            except Exception as error:  # noqa: BLE001 - no error of the driver may end training
                if self.present is None and isinstance(error, nothing):
                    self.present = False
                self.errors += 1
                device = None
                with contextlib.suppress(Exception):
                    nvml.nvmlShutdown()
            self._ended.wait(EVERY_S)

    def _open(self, nvml: Any) -> Any:
        """A handle of the device; None if there is no device."""
        nvml.nvmlInit()
        wanted = visible(os.environ.get("CUDA_VISIBLE_DEVICES"))
        if wanted is None or not nvml.nvmlDeviceGetCount():
            return None
        if wanted.isdigit():
            device = nvml.nvmlDeviceGetHandleByIndex(int(wanted))
        else:
            device = nvml.nvmlDeviceGetHandleByUUID(wanted)
        self.driver = str(nvml.nvmlSystemGetDriverVersion())
        self.name = str(nvml.nvmlDeviceGetName(device))
        return device

    def _look(self, nvml: Any, device: Any) -> None:
        memory = nvml.nvmlDeviceGetMemoryInfo(device)
        try:
            utilization = nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100  # from percent
        except nvml.NVMLError_NotSupported:
            utilization = None
        self._last = time.monotonic(), Sample(int(memory.used), int(memory.total), utilization)
        self.peak = max(self.peak or 0, int(memory.used))


def visible(devices: str | None) -> str | None:
    """The first of `CUDA_VISIBLE_DEVICES`, an index or a UUID; None if it hides all of them.

    NVML numbers devices by bus. CUDA puts the fastest device first, unless CUDA_DEVICE_ORDER=PCI_BUS_ID is set; this
    differs only on machines with several kinds of GPUs.
    """
    first = "0" if devices is None else devices.split(",")[0].strip()
    return None if first in ("", "-1", "NoDevFiles") else first
