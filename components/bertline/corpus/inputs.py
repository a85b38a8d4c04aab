"""Opens the dump: a file on this machine's disk, or parts of a file elsewhere.

    rolling/dump.json      the state of the dump from which this corpus is made; create-only

All slices must come from the same state of the file. A whole file is checked by its checksum; parts can't be. So the
first process records the state that the server reports (`sources.ranges`), all parts must come from this state, and
each bz2 block has a CRC. If the dump has a checksum, the process that does the first slice also reads the whole file
and checks it. So once the first slice is done the dump is the right one, after one download for any number of pods.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from bertline.errors import DamagedError
from bertline.sources.files import Source
from bertline.sources.ranges import RangedFile
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore
from bertline.store.realizations import ROLLING
from bertline.wikipedia import dumps

PIN = f"{ROLLING}dump.json"


@dataclass(frozen=True)
class Dump:
    """The source of slices."""

    file: dumps.Dump
    size: int
    """Bytes."""
    state: str | None
    """Identifies the state, if it may change: from the server, or the sha256 of the download."""

    @property
    def is_here(self) -> bool:
        """True if it is on this machine."""
        return isinstance(self.file, Path)


def dump(source: Source, store: ObjectStore, prefix: str, work: Path, *, checks: bool, checked: str | None) -> Dump:
    """The dump, to read slices of it.

    Args:
        source: The dump's source.
        store: The corpus' store.
        prefix: The corpus' prefix in the store.
        work: A scratch folder, for a dump that has to be read whole.
        checks: True if the first slice belongs to this process.
        checked: The state from which the first slice was made, if it is done.

    Raises:
        UserError: it doesn't exist, has another checksum, or isn't in the state of the other slices any more.
        TransientError: the server failed repeatedly.
    """
    ranged = source.ranged(store)
    if ranged is None:
        obtained = source.obtain(work, store)
        return Dump(obtained.path, obtained.path.stat().st_size, obtained.sha256)
    pinned = _pinned(ranged, store, f"{prefix}{PIN}")
    _compare(pinned, ranged)
    if not checks or checked == pinned.state or not (source.sha256 or source.sha1):
        return Dump(ranged, ranged.size, ranged.state)
    path = source.fetch(work, store)
    _compare(pinned, source.ranged(store))
    return Dump(path, path.stat().st_size, pinned.state)


def _pinned(ranged: RangedFile, store: ObjectStore, name: str) -> RangedFile:
    """The state that the first process recorded; this may be the first one."""
    written = json.dumps({"url": ranged.url, "size": ranged.size, "state": ranged.state}, indent=1).encode()
    try:
        store.create(name, written)
        return ranged
    except ConflictError:
        pass
    try:
        document = json.loads(store.get(name)[0])
        pinned = RangedFile(str(document["url"]), int(document["size"]), str(document["state"]), b"")
    except (NotFoundError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{store.uri}/{name} is damaged; delete it") from error
    if pinned.url == ranged.url:
        return pinned
    store.put(name, written)  # a file with a checksum at another URL: slices of another state are made again
    return ranged


def _compare(pinned: RangedFile, now: RangedFile | None) -> None:
    if now is None:
        raise pinned.changed("one that can't be read in parts")
    if (now.size, now.state) != (pinned.size, pinned.state):
        raise pinned.changed(f"one of {now.size:,} bytes with {now.state}")
