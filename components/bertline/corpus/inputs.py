"""The dump as one process reads it: whole, from this machine's disk, or in parts, from where it is.

    rolling/dump.json      which state of a dump elsewhere this corpus is made of; create-only

All slices have to be of one state. A file that was read whole and has the right checksum is that file. Parts can't be
checked that way. Each comes from the state that the first process saw and wrote down, by what the server tells of it
(`sources.ranges`), and each bz2 block has a CRC. Where there is a checksum, whoever does the first slice reads the
whole file all the same, checks it, and sees that it is of that state. So a corpus whose first slice is done has the
right dump, at the price of one download, whatever the number of pods.
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
    """What slices are read from."""

    file: dumps.Dump
    size: int
    """Bytes."""
    state: str | None
    """Which one it is, where there may be several: what the server tells of it, or the sha256 of what came."""

    @property
    def is_here(self) -> bool:
        """If it is on this machine."""
        return isinstance(self.file, Path)


def dump(source: Source, store: ObjectStore, prefix: str, work: Path, *, checks: bool, checked: str | None) -> Dump:
    """The dump, to read slices of it.

    Args:
        source: Where it is.
        store: Of the corpus.
        prefix: The corpus' place in it.
        work: Scratch, for a dump that has to be read whole.
        checks: If the first slice belongs to this process.
        checked: The state of which the first slice was made, if it is done.

    Raises:
        UserError: it isn't there, isn't the file that the checksum names, or isn't in the state any more of which other
            slices are.
        TransientError: it was tried for a while.
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
    """The state that the first one saw, who may be this one."""
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
        raise DamagedError(f"{store.uri}/{name} isn't what was written there; delete it") from error
    if pinned.url == ranged.url:
        return pinned
    store.put(name, written)  # a file with a checksum, found elsewhere now: what is of another state is made again
    return ranged


def _compare(pinned: RangedFile, now: RangedFile | None) -> None:
    if now is None:
        raise pinned.changed("one that can't be read in parts")
    if (now.size, now.state) != (pinned.size, pinned.state):
        raise pinned.changed(f"one of {now.size:,} bytes with {now.state}")
