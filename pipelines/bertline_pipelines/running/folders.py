"""Folders of local runs: scratch folders that are always cleaned up, and an output folder for one run at a time.

Both use locks on files. The system drops a lock when its holder ends, even if it is killed. Locks also work between
containers that share a disk, where process ids don't. On a disk without locks nothing is removed.

    $TMPDIR/bertline-run-<random>/lock    locked (shared) by the run and each of its tasks: a task may outlive a killed
                                          run by what it takes to save itself. The line in it names the kernel: some
                                          disks keep locks to the machine that took them, so others' folders are left
    <out>/.lock                           locked while the run lives, with a line about it
"""

import contextlib
import datetime
import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bertline.errors import TransientError
from bertline.store import disks

PREFIX = "bertline-run-"
LOCK = "lock"


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is deleted afterwards. First removes folders of killed runs, which may hold shards and checkpoints.

    Raises:
        UserError: the folder for temporary files can't be written to.
    """
    _sweep()
    with disks.explained("write", Path(tempfile.gettempdir())):
        made = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with (made / "new").open("w") as file:
            file.write(_kernel())
            file.flush()
            if _lock(file, fcntl.LOCK_SH):
                os.rename(file.name, made / LOCK)  # at last, so that every lock file is either held or orphaned
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Lock an output folder for this run; creates it if necessary.

    Raises:
        UserError: it can't be written to.
        TransientError: another run has it; names the run.
    """
    with disks.output(out):
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("a+")
    with file:
        if not _lock(file, fcntl.LOCK_EX):
            file.seek(0)
            raise TransientError(
                f"another run writes to {out}: {file.read().strip() or 'unknown'}. Wait until it has "
                "ended, or use another folder: --out FOLDER"
            )
        file.truncate(0)
        now = datetime.datetime.now().astimezone()
        file.write(f"process {os.getpid()} on {platform.node()}, since {now:%Y-%m-%d %H:%M}")
        file.flush()
        yield


def _lock(file: IO[str], kind: int) -> bool:
    """True if the lock is ours, or if the disk has no locks; False if another process holds it."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _sweep() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (left / LOCK).open("r+") as file:
            if file.read() == _kernel():
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)


def _kernel() -> str:
    """The running kernel's id, which differs between machines and reboots; "" if it has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
