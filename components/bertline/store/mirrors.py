"""Copies of files from outside, for pods that can't reach the disk they lie on: `sources/<sha256>`.

The name is the checksum of the bytes, so there is one copy of a file, whatever it is called and however many
experiments use it, and a reader needs no other document to check it. Experiments refer to it by that checksum, which
`garbage` finds in their graphs as it finds keys.
"""

import re
from pathlib import Path

from bertline.errors import DamagedError, UserError
from bertline.process import progress
from bertline.store import disks, staging
from bertline.store.objects import ObjectStore, Progress, Stat, no_progress
from bertline.store.staging import File

ROOT = "sources/"
AGAIN = "run the same command again, it takes the file as it is now"
NAME = re.compile(rf"{ROOT}(?P<sha256>[0-9a-f]{{64}})")


def find(store: ObjectStore, sha256: str) -> Stat | None:
    """The copy of a file, None if the store has none."""
    return store.stat(f"{ROOT}{sha256}")


def send(store: ObjectStore, path: Path, sha256: str, label: str) -> bool:
    """Copy a file into the store, unless it is there. True if it was copied.

    Raises:
        UserError: the file isn't, or is no longer, the one that the checksum names.
    """
    name = f"{ROOT}{sha256}"
    with disks.explained("read", path):
        before = path.stat()
    found = store.stat(name)
    if found and found.size == before.st_size:
        return False
    with progress.bar(f"checking {label}", before.st_size, "B") as advance, disks.explained("read", path):
        if (sha256_found := staging.checksum(path, advance)) != sha256:
            raise UserError(f"{_changed(label, path)}: sha256 was {sha256}, is {sha256_found}; {AGAIN}")
    with progress.bar(f"uploading {label}", before.st_size, "B") as advance:
        store.upload(path, name, advance)
    with disks.explained("read", path):
        after = path.stat()
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        store.delete(name)  # nobody knows which bytes went up
        raise UserError(f"{_changed(label, path)}, while it was uploaded; {AGAIN}")
    return True


def fetch(store: ObjectStore, sha256: str, directory: Path, label: str) -> Path | None:
    """A verified local copy, or the object itself where the store is a local disk; None if the store has none.

    Raises:
        DamagedError: the bytes aren't those that the name says.
    """
    found = find(store, sha256)
    if found is None:
        return None
    file = File(path=sha256, size=found.size, sha256=sha256)
    try:
        [path] = staging.fetch(store, ROOT, [file], directory, label=f"fetching {label} from the store")
    except DamagedError as error:
        raise DamagedError(_damaged(store, found.name)) from error
    return path


def damages(store: ObjectStore, directory: Path, advance: Progress = no_progress) -> list[str]:
    """Read every copy and throw it away; a sentence for each whose bytes aren't those that its name says."""
    files = [
        File(path=match["sha256"], size=found.size, sha256=match["sha256"])
        for found in store.list(ROOT)
        if (match := NAME.fullmatch(found.name))
    ]
    found = []
    for file in files:  # one after the other: a dump may fill half a disk
        if staging.damages(store, ROOT, [file], directory, advance):
            found.append(_damaged(store, f"{ROOT}{file.path}"))
    return found


def _changed(label: str, path: Path) -> str:
    return f"{label} ({path}) has changed since the experiment was planned"


def _damaged(store: ObjectStore, name: str) -> str:
    return (
        f"{store.uri}/{name} is damaged: its bytes don't have the checksum that is its name; delete that object, and "
        "`bertline submit` uploads it again"
    )
