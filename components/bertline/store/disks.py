"""Errors of local disks as sentences; needed with every store, because remote objects are staged to disk too."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from bertline.errors import TransientError, UserError
from bertline.store.objects import OutageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # EFBIG: a limit on file size
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
KINDS = {
    errno.EEXIST: "there is a file where a folder is needed",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder, not a file",
}
PASSING = {errno.EIO, errno.EMFILE, errno.ENFILE}
AWAY = {errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH}  # of network file systems


@contextlib.contextmanager
def explained(doing: str, path: Path) -> Iterator[None]:
    """Turn OSErrors into errors that say what to do.

    Args:
        doing: "write" or "read".
        path: The file in question; the operating system's own message often names a temporary one.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise _no_space(doing, path) from error
        if error.errno in REFUSED:
            why = KINDS.get(error.errno, error.strerror)
            raise UserError(f"can't {doing} {path}: {why}; check the path and its permissions") from error
        if error.errno in AWAY:
            raise OutageError(f"can't {doing} {path} now: {error.strerror}") from error
        if error.errno in PASSING:
            raise TransientError(f"can't {doing} {path} now: {error.strerror}; run the same command again") from error
        raise


@contextlib.contextmanager
def output(path: Path) -> Iterator[None]:
    """Like `explained`, for writing a file or folder that the user names; a missing folder is a mistake in the name."""
    with explained("write", path):
        try:
            yield
        except FileNotFoundError as error:
            raise UserError(f"can't write {path}: its folder doesn't exist") from error


@contextlib.contextmanager
def room(directory: Path) -> Iterator[None]:
    """Turn every error about a full disk into a TransientError; for work on scratch files.

    Args:
        directory: The folder to name in the message if the error doesn't name a file.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_space("write", Path(error.filename) if error.filename else directory) from error


def _no_space(doing: str, path: Path) -> TransientError:
    return TransientError(
        f"no space left to {doing} {path}{_free(path)}: free some space and run the same command again; finished "
        "work is kept"
    )


def _free(path: Path) -> str:
    place = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    try:
        return f" ({shutil.disk_usage(place).free >> 20} MiB free)"
    except OSError:
        return ""
