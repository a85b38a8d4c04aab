"""What local disks do wrong, as sentences. For every store, because remote objects are staged to disk as well."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from bertline.errors import TransientError, UserError
from bertline.store.objects import OutageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # EFBIG too: a limit on file size is a quota by another name
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
KINDS = {
    errno.EEXIST: "there is a file, where a folder is needed",
    errno.ENOTDIR: "a part of the path is a file, where a folder is needed",
    errno.EISDIR: "it is a folder, where a file is needed",
}
PASSING = {errno.EIO, errno.EMFILE, errno.ENFILE}
AWAY = {errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH}  # a network file system's


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
    """The same for a file or folder that a user names: that it can't even be made is a mistake in the name."""
    with explained("write", path):
        try:
            yield
        except FileNotFoundError as error:
            raise UserError(f"can't write {path}: the folder that it is to lie in doesn't exist") from error


@contextlib.contextmanager
def room(directory: Path) -> Iterator[None]:
    """Turn a full disk into such an error, whoever finds it full: for work of all kinds on scratch files.

    Args:
        directory: Where the work writes; the file is named instead where the error names it.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise _no_space("write", Path(error.filename) if error.filename else directory) from error


def _no_space(doing: str, path: Path) -> TransientError:
    return TransientError(
        f"no space left to {doing} {path}{_free(path)}: free some and run the same command again; what was finished is "
        "kept"
    )


def _free(path: Path) -> str:
    place = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    try:
        return f" ({shutil.disk_usage(place).free >> 20} MiB free)"
    except OSError:
        return ""
