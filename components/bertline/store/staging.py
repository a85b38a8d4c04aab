"""Many files between a store and local disk: in parallel, checksummed on the way, with a progress bar."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from bertline.errors import DamagedError
from bertline.process import parallel, progress
from bertline.store import disks
from bertline.store.objects import NotFoundError, ObjectStore, Progress, no_progress

THREADS = 8  # memory is THREADS * the client's chunk
CHUNK = 1 << 20


class File(BaseModel):
    """One payload file as the manifest lists it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Relative to the realization's place, `/` between parts."""
    size: int
    """Bytes."""
    sha256: str

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        # Others may write to the bucket of a manifest, and its paths are joined to local directories.
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} leads out of its realization")
        return path


def checksum(path: Path, advance: Progress = no_progress) -> str:
    """sha256 of a file, read in parts."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def put(store: ObjectStore, prefix: str, path: Path, name: str) -> File:
    """Upload one file; return its entry for the manifest."""
    file = File(path=name, size=path.stat().st_size, sha256=checksum(path))
    store.upload(path, f"{prefix}{name}")
    return file


def send(store: ObjectStore, prefix: str, directory: Path, names: Sequence[str]) -> list[File]:
    """Upload files of a directory."""
    return parallel.each(lambda name: put(store, prefix, directory / name, name), names, THREADS)


def fetch(
    store: ObjectStore, prefix: str, files: Sequence[File], directory: Path, *, label: str | None = None
) -> list[Path]:
    """Local verified files, in the order of `files`; see `Realization.stage`."""
    with progress.bar(label, sum(file.size for file in files), "B") as advance:
        return parallel.each(lambda file: _fetch(store, prefix, file, directory, advance), files, THREADS)


def damages(
    store: ObjectStore, prefix: str, files: Sequence[File], directory: Path, advance: Progress = no_progress
) -> list[str]:
    """Read files; a sentence for each that differs from its entry."""

    def examine(file: File) -> str | None:
        path = directory / file.path
        try:
            _fetch(store, prefix, file, directory, advance)
        except DamagedError as error:
            return str(error)
        finally:
            path.unlink(missing_ok=True)
        return None

    return [damage for damage in parallel.each(examine, files, THREADS) if damage]


def _fetch(store: ObjectStore, prefix: str, file: File, directory: Path, advance: Progress) -> Path:
    name = f"{prefix}{file.path}"
    path = store.local_path(name)
    try:
        if path is None:
            path = directory / file.path
            with disks.explained("write", path):
                path.parent.mkdir(parents=True, exist_ok=True)
            store.download(name, path, advance)
            size, sha256 = path.stat().st_size, checksum(path)
        else:
            with disks.explained("read", path):
                size, sha256 = path.stat().st_size, checksum(path, advance)
    except (NotFoundError, FileNotFoundError) as error:
        raise DamagedError(f"{store.uri}/{name} is missing, though its manifest lists it") from error
    if (size, sha256) != (file.size, file.sha256):
        raise DamagedError(
            f"{store.uri}/{name} is damaged: its manifest says {file.size} bytes with sha256 {file.sha256[:12]}…, "
            f"found {size} bytes with {sha256[:12]}…; see `bertline store verify`"
        )
    return path
