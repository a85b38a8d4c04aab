"""Caches checksums of files on this machine: a dump has 20 GB, and every command needs its checksum.

    $XDG_CACHE_HOME/bertline/digests/<sha256 of path and algorithm>.json

An entry is valid while the file has the same size, inode, device and times. A file that was changed within `YOUNG_S`
before it was read isn't cached, because another change may not change its time. Times include the inode's change time,
which programs can't set. Each entry is a file that is renamed into place, so any number of processes may read and
write. A cache that can't be read or written is silently not used.
"""

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from bertline.process import progress
from bertline.store import disks

CHUNK = 1 << 20
WORTH_NOTING = 1 << 20
"""Bytes; smaller files aren't cached, because they are read in a millisecond."""
WORTH_SHOWING = 256 << 20
YOUNG_S = 3.0  # FAT counts in 2 s


def known(path: Path, algorithm: str) -> str:
    """The file's digest in hexadecimal, from the cache if it has a valid entry."""
    path = path.resolve()
    with disks.explained("read", path):
        now = _state(path.stat())
    if now["size"] < WORTH_NOTING:
        return read(path, algorithm)
    entry = _entry(path, algorithm)
    if noted := _noted(entry, now):
        return noted
    began = time.time()
    digest = read(path, algorithm)
    with disks.explained("read", path):
        after = _state(path.stat())
    if after == now and began - max(now["mtime_ns"], now["ctime_ns"]) / 1e9 > YOUNG_S:
        _note(entry, now | {"path": str(path), "digest": digest})
    return digest


def read(path: Path, algorithm: str) -> str:
    """The file's digest in hexadecimal, always from its bytes."""
    digest = hashlib.new(algorithm)
    with disks.explained("read", path), path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        with progress.bar(f"checking {path.name}" if size >= WORTH_SHOWING else None, size, "B") as advance:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                advance(len(chunk))
    return digest.hexdigest()


def _state(found: os.stat_result) -> dict[str, Any]:
    return {
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "inode": found.st_ino,
        "device": found.st_dev,
    }


def _entry(path: Path, algorithm: str) -> Path | None:
    """Path of a file's entry; None on a machine without a cache folder."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # as the specification says
        try:
            base = str(Path.home() / ".cache")
        except RuntimeError:
            return None
    name = hashlib.sha256(f"{algorithm} {path}".encode("utf-8", "surrogateescape")).hexdigest()
    return Path(base, "bertline", "digests", f"{name}.json")


def _noted(entry: Path | None, state: dict[str, Any]) -> str | None:
    if entry is None:
        return None
    try:
        document = json.loads(entry.read_bytes())
        digest = document["digest"]
        agrees = all(document[name] == value for name, value in state.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if agrees and re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", str(digest)) else None


def _note(entry: Path | None, document: dict[str, Any]) -> None:
    if entry is None:
        return
    with contextlib.suppress(OSError, ValueError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=entry.parent)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(document, file)
            os.replace(temporary, entry)
        except BaseException:
            os.unlink(temporary)
            raise
