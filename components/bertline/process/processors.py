"""How many cores and how much memory this process may use: by the machine, by its container, or as it was told."""

import os
from collections.abc import Iterator
from pathlib import Path

from bertline.errors import UserError

THREADS = "BERTLINE_THREADS"
"""Environment variable: threads of TensorFlow's pools."""

CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def cores() -> int:
    """Cores that this process may use: the smaller of its affinity and its CPU limit.

    More threads than that would only cost memory and wait for each other.
    """
    return min([len(os.sched_getaffinity(0)), *_limits()])


def memory() -> int:
    """Bytes that this process and its children may use: the machine's memory, or less if the container has a limit."""
    limits = [
        int(text)
        for folder in _groups("memory")
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes")
        if (text := _text(folder / name)).isdecimal()
    ]
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits])


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
    """CPU limits of the process' control groups and their parents, in whole cores."""
    return [
        max(1, -(-quota // period))
        for folder in _groups("cpu")
        for quota, period in [*_read(folder, "cpu.max"), *_read(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us")]
        if quota > 0
    ]


def _read(folder: Path, *names: str) -> list[tuple[int, int]]:
    """(microseconds of processor time, microseconds of the period): one file in version 2, two files in version 1."""
    try:
        quota, period = " ".join(_text(folder / name) for name in names).split()
        return [(int(quota), int(period))]
    except ValueError:  # no such file, or "max": no limit
        return []


def _text(path: Path) -> str:
    """The text of a file; "" if it can't be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the process' control groups and their parents; in a container its own group may be the root."""
    lines = _text(MEMBERSHIP).splitlines()
    for line in ["0::/", f"1:{controller}:/", *lines]:
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        root = CGROUPS if number == "0" else CGROUPS / controller
        folder = root / path.lstrip("/")
        yield from (each for each in (folder, *folder.parents) if each.is_relative_to(root))
