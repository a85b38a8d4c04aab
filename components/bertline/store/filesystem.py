"""`file://`: an object is a file under the root.

A file is either complete or doesn't exist: content is written to a temporary file in the same folder, synced, and then
linked (`create`) or renamed (all other operations). A killed process can leave a `.tmp-…` file, which listings don't
show and `bertline store gc` removes.
"""

import errno
import fcntl
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bertline.errors import UserError
from bertline.store import disks
from bertline.store.objects import ConflictError, NotFoundError, Progress, Stat, Version, no_progress

CHUNK = 1 << 20
TEMPORARY = ".tmp-"
LOCK = ".lock"

# `a/b` if `a` is an object, and `a` if it is a folder: in a bucket such objects simply don't exist.
ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FileSystemStore:
    """An `ObjectStore` in a local directory, created on the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.uri = self.root.as_uri()

    def get(self, name: str) -> tuple[bytes, Version]:  # noqa: D102 - the protocol says it
        with self._reading(name) as file:
            content = file.read()
        return content, _version(content)

    def read(self, name: str, begin: int, end: int, state: str = "") -> bytes:  # noqa: D102
        with self._reading(name) as file, disks.explained("read", self._path(name)):
            if state and _state(os.fstat(file.fileno())) != state:
                raise ConflictError(f"{self.uri}/{name} isn't in the expected state")
            file.seek(begin)
            return file.read(end - begin)

    def stat(self, name: str) -> Stat | None:  # noqa: D102
        with disks.explained("read", self._path(name)):
            try:
                found = self._path(name).stat()
            except ABSENT:
                return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return Stat(name, found.st_size, found.st_mtime, _state(found))

    def list(self, prefix: str) -> Iterator[Stat]:  # noqa: D102
        for name in _names(self.root, prefix.rpartition("/")[0]):
            file = name.rpartition("/")[2]
            is_object = name != LOCK and not file.startswith(TEMPORARY)
            if is_object and name.startswith(prefix) and (found := self.stat(name)):
                yield found

    def leftovers(self) -> Iterator[Stat]:  # noqa: D102
        for name in _names(self.root, ""):
            if name.rpartition("/")[2].startswith(TEMPORARY) and (found := self.stat(name)):
                yield found

    def put(self, name: str, content: bytes) -> Version:  # noqa: D102
        with self._writing(name) as (file, path):
            file.write(content)
            _sync(file)
            os.replace(file.name, path)
        return _version(content)

    def create(self, name: str, content: bytes) -> Version:  # noqa: D102
        with self._writing(name) as (file, path):
            file.write(content)
            _sync(file)
            try:
                os.link(file.name, path)  # the one call that fails if the name exists
            except FileExistsError as error:
                raise ConflictError(f"{self.uri}/{name} exists already") from error
            except OSError as error:
                if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise UserError(
                        f"the file system of {self.root} has no hard links, which `create` needs; put "
                        "the store on another disk or in a bucket (gs://)"
                    ) from error
                raise
        return _version(content)

    def replace(self, name: str, content: bytes, version: Version) -> Version:  # noqa: D102
        with self._lock():
            try:
                current = self.get(name)[1]
            except NotFoundError as error:
                raise ConflictError(f"{self.uri}/{name} was deleted by another process") from error
            if current != version:
                raise ConflictError(f"{self.uri}/{name} was changed by another process")
            return self.put(name, content)

    def delete(self, name: str) -> None:  # noqa: D102
        path = self._path(name)
        with disks.explained("delete", path):
            try:
                path.unlink()
            except ABSENT:
                return
        for parent in path.parents:  # object stores have no empty folders
            if parent == self.root or not parent.is_relative_to(self.root):
                break
            try:
                parent.rmdir()
            except OSError:
                break  # it isn't empty

    def upload(self, path: Path, name: str, progress: Progress = no_progress) -> None:  # noqa: D102
        with path.open("rb") as source, self._writing(name) as (target, place):
            _copy(source, target, progress)
            _sync(target)
            os.replace(target.name, place)

    def download(self, name: str, path: Path, progress: Progress = no_progress) -> None:  # noqa: D102
        with self._reading(name) as source, disks.explained("write", path), path.open("wb") as target:
            _copy(source, target, progress)

    def local_path(self, name: str) -> Path | None:  # noqa: D102
        return self._path(name)

    def hasty(self) -> "FileSystemStore":  # noqa: D102
        return self  # a file system has no timeouts

    def _path(self, name: str) -> Path:
        return self.root / name

    @contextmanager
    def _reading(self, name: str) -> Iterator[IO[bytes]]:
        path = self._path(name)
        with disks.explained("read", path):
            try:
                file = path.open("rb")
            except ABSENT as error:
                raise NotFoundError(f"{self.uri}/{name} is not there") from error
        with file:
            yield file

    @contextmanager
    def _writing(self, name: str) -> Iterator[tuple[IO[bytes], Path]]:
        """A temporary file in `name`'s folder, deleted at the end unless it was renamed."""
        path = self._path(name)
        # A random name, because pods on a shared disk may have equal process and thread numbers.
        temporary = path.parent / f"{TEMPORARY}{uuid.uuid4().hex[:16]}"
        with disks.output(path), _open_new(temporary) as file:
            try:
                yield file, path
                _sync_folder(path.parent)
            finally:
                temporary.unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """A lock for `replace`: a directory has no compare-and-swap. The kernel frees a killed process' lock."""
        with disks.explained("write", self.root / LOCK):
            self.root.mkdir(parents=True, exist_ok=True)
            with (self.root / LOCK).open("wb") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield


def _version(content: bytes) -> Version:
    return hashlib.sha256(content).hexdigest()


def _state(found: os.stat_result) -> str:
    return f"{found.st_ino}-{found.st_size}-{found.st_mtime_ns}"


def _names(root: Path, folder: str) -> list[str]:
    """Names of all files below a folder, in order. Raises if a folder can't be read."""
    names = []
    with disks.explained("read", root / folder):
        for parent, _, files in os.walk(root / folder, onerror=_unless_gone):
            relative = Path(parent).relative_to(root)
            names += [(relative / file).as_posix() for file in files]
    return sorted(names)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error


def _open_new(path: Path) -> IO[bytes]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("xb")
        except FileNotFoundError:
            continue  # `delete` swept the empty folder between the two calls


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Sync a folder, so that after a power cut no manifest exists without its files."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _copy(source: IO[bytes], target: IO[bytes], progress: Progress) -> None:
    while chunk := source.read(CHUNK):
        target.write(chunk)
        progress(len(chunk))
