"""One file out of a zip or tar archive, packed with gzip, bzip2, xz or not at all."""

import contextlib
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from bertline.errors import UserError
from bertline.store import disks

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError)
_NAMED = 8
"""How many members a message names."""


def extract(archive: Path, member: str, target: Path) -> None:
    """Write a member to a file. Where it lies in the archive says nothing about where it is written.

    Raises:
        UserError: that isn't an archive, or is damaged, or has no such file in it.
        TransientError: the disk is full.
    """
    try:
        with _opened(archive, member) as source, disks.explained("write", target), target.open("wb") as file:
            shutil.copyfileobj(source, file)
    except _BROKEN as error:
        raise UserError(f"{archive} is damaged, {member} can't be read from it: {error}; get it again") from error
    except (RuntimeError, NotImplementedError) as error:  # from zipfile: encrypted, or with an unknown compression
        raise UserError(f"{member} in {archive} can't be unpacked: {error}; unpack it and give its path") from error


@contextlib.contextmanager
def _opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            with opened.open(entries[_place(archive, member, [entry.filename for entry in entries])]) as file:
                yield file
        return
    if not tarfile.is_tarfile(archive):
        raise UserError(
            f"{archive} is neither a zip nor a tar archive, so it has no member {member}; give its URL without `member`"
        )
    with tarfile.open(archive) as tar:
        files = [entry for entry in tar.getmembers() if entry.isfile()]
        extracted = tar.extractfile(files[_place(archive, member, [entry.name for entry in files])])
        assert extracted is not None
        with extracted as file:
            yield file


def _place(archive: Path, member: str, names: list[str]) -> int:
    """Where among the archive's files a member is.

    Raises:
        UserError: nowhere, or twice.
    """
    places = [place for place, name in enumerate(names) if name.removeprefix("./") == member]
    if len(places) == 1:
        return places[0]
    if places:
        raise UserError(f"{archive} has {len(places)} files {member}; bertline needs exactly one")
    last = member.rpartition("/")[2]
    alike = [name for name in names if name.rpartition("/")[2] == last] or names
    shown = ", ".join(alike[:_NAMED]) + (", …" if len(alike) > _NAMED else "")
    raise UserError(f"{archive} has no file {member}; it has {shown or 'no files at all'}")
