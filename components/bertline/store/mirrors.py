"""Copies of input files for pods, which can't read this machine's disk: `sources/<sha256>`.

The name is the checksum of the bytes. So each file has one copy, whatever its name is and however many experiments use
it, and a reader can check it. Experiments refer to it by the checksum, which `garbage` finds in their graphs like keys.
"""

import re
from pathlib import Path

from bertline.errors import DamagedError, UserError
from bertline.process import progress
from bertline.store import disks, staging
from bertline.store.objects import ObjectStore, Progress, Stat, no_progress
from bertline.store.staging import File

ROOT = "sources/"
AGAIN = "run the same command again to use the changed file"
NAME = re.compile(rf"{ROOT}(?P<sha256>[0-9a-f]{{64}})")


def find(store: ObjectStore, sha256: str) -> Stat | None:
    """The copy of a file; None if the store has none."""
    return store.stat(f"{ROOT}{sha256}")


def send(store: ObjectStore, path: Path, sha256: str, label: str) -> bool:
    """Copy a file into the store, unless it is there; return True if it was copied.

    Raises:
        UserError: the file doesn't have this checksum, or not any more.
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
        store.delete(name)  # its bytes may be wrong
        raise UserError(f"{_changed(label, path)}, while it was uploaded; {AGAIN}")
    return True


def fetch(store: ObjectStore, sha256: str, directory: Path, label: str) -> Path | None:
    """A verified local copy, or the object itself in a store on a local disk; None if the store has no copy.

    Raises:
        DamagedError: the bytes don't have the checksum in the name.
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
    """Read all copies; a sentence for each whose bytes don't have the checksum in its name."""
    files = [
        File(path=match["sha256"], size=found.size, sha256=match["sha256"])
        for found in store.list(ROOT)
        if (match := NAME.fullmatch(found.name))
    ]
    found = []
    for file in files:  # one at a time: a dump may fill half a disk
        if staging.damages(store, ROOT, [file], directory, advance):
            found.append(_damaged(store, f"{ROOT}{file.path}"))
    return found


def _changed(label: str, path: Path) -> str:
    return f"{label} ({path}) has changed since the experiment was planned"


def _damaged(store: ObjectStore, name: str) -> str:
    return (
        f"{store.uri}/{name} is damaged: its bytes don't have the checksum in its name; delete this object, and "
        "`bertline submit` uploads it again"
    )
