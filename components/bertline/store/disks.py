"""What local disks do wrong, as sentences. For every store, because remote objects are staged to disk as well."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from bertline.errors import TransientError, UserError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # EFBIG too: a limit on file size is a quota by another name
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}
PASSING = {errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT}  # network file systems, mostly


@contextlib.contextmanager
def sentences(doing: str, path: Path) -> Iterator[None]:
    """Turn OSErrors into errors that say what to do.

    Args:
        doing: "write" or "read".
        path: The file in question; the operating system's own message often names a temporary one.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise TransientError(
                f"no space left to {doing} {path}{_free(path)}: free some and run the same command again; "
                "what was finished is kept"
            ) from error
        if error.errno in REFUSED:
            raise UserError(f"can't {doing} {path}: {error.strerror}; check the path and its permissions") from error
        if error.errno in PASSING:
            raise TransientError(f"can't {doing} {path} now: {error.strerror}; run the same command again") from error
        raise


def _free(path: Path) -> str:
    place = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    try:
        return f" ({shutil.disk_usage(place).free >> 20} MiB free)"
    except OSError:
        return ""
