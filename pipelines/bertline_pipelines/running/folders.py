"""Folders of runs on this machine: scratch that outlives nobody, and an output folder for one run at a time.

Both rest on locks on files. The system drops a lock when its holder ends, however it ends, and a lock holds between
containers that share the disk, where process ids say nothing. On a disk without locks nothing is swept.

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
    """A folder that is gone afterwards. Removes those of killed runs first: shards and checkpoints may lie there.

    Raises:
        UserError: the place for temporary files can't be written to.
    """
    _sweep()
    with disks.explained("write", Path(tempfile.gettempdir())):
        made = Path(tempfile.mkdtemp(prefix=PREFIX))
    try:
        with (made / "new").open("w") as file:
            file.write(_kernel())
            file.flush()
            if _lock(file, fcntl.LOCK_SH):
                os.rename(file.name, made / LOCK)  # only now: whoever sees a lock file sees a held or an orphaned one
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Have an output folder to oneself; it is made if it isn't there.

    Raises:
        UserError: it can't be written to.
        TransientError: another run has it; names that.
    """
    with disks.output(out):
        out.mkdir(parents=True, exist_ok=True)
        file = (out / ".lock").open("a+")
    with file:
        if not _lock(file, fcntl.LOCK_EX):
            file.seek(0)
            raise TransientError(
                f"another run writes to {out}: {file.read().strip() or 'it says nothing of itself'}. Wait until it has "
                "ended, or give this one another folder: --out FOLDER"
            )
        file.truncate(0)
        now = datetime.datetime.now().astimezone()
        file.write(f"process {os.getpid()} on {platform.node()}, since {now:%Y-%m-%d %H:%M}")
        file.flush()
        yield


def _lock(file: IO[str], kind: int) -> bool:
    """True if the lock is ours now, or if the disk knows no locks; False if somebody else holds it."""
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
    """The running kernel's id: another one on another machine, and after a reboot; "" where it has none."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""
