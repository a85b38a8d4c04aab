"""How many cores this process may use: by its affinity, by its container's CPU limit, or as it was told."""

import os
from pathlib import Path

from bertline.errors import UserError

THREADS = "BERTLINE_THREADS"
"""Environment: threads of TensorFlow's pools."""

CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Cores that this process may use: the smaller one of its affinity and its CPU limit.

    The node may have many more, but threads beyond the limit only cost memory and wait for each other.
    """
    return min([len(os.sched_getaffinity(0)), *_limits()])


def threads() -> int:
    """Threads that TensorFlow may use: `BERTLINE_THREADS`, or all cores.

    Raises:
        UserError: `BERTLINE_THREADS` isn't a number above 0.
    """
    return asked(THREADS) or cores()


def asked(variable: str) -> int | None:
    """The number in an environment variable; None if it is unset or empty.

    Raises:
        UserError: it isn't a number above 0.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or not int(text):
        raise UserError(f"{variable} is {text!r}; give a number, at least 1, or leave it unset for all cores")
    return int(text)


def _limits() -> list[int]:
    """CPU limits of the process' control group and of those around it, in whole cores."""
    found = []
    for folder in (_group(), *_group().parents):
        try:
            microseconds, period = (CGROUPS / folder / "cpu.max").read_text().split()
            found.append(max(1, -(-int(microseconds) // int(period))))
        except (OSError, ValueError):  # no such file, or "max": no limit
            continue
    return found


def _group() -> Path:
    """The process' control group (version 2), from the root of them all; in a container that is the root itself."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return Path()
    names = [line.removeprefix("0::").strip("/") for line in lines if line.startswith("0::")]
    return Path(names[0]) if names and ".." not in names[0] else Path()
