"""Files that come from outside: dumps, vocabularies, task files. Identified by checksum where there is one.

    dump: enwiki.xml.bz2                          a path, relative to the experiment file
    dump: {url: https://…, sha1: 852dfec9…}       downloaded, resumed if interrupted, checked
    dump: sample:pydoc-topics                     made here, see `bertline.samples`

A source's *identity* is its checksum; the URL is only where it was found. So a file may move, or be read from a mirror,
without anything being built again. Without a checksum the URL has to serve as identity; `bertline validate` says so.

A pod doesn't see the disk that a path is on, and its Python may make other samples. So `upload` copies what is on this
machine into the store (`bertline.store.mirrors`) before anything runs elsewhere, and `Source.fetch` finds it there.
"""

import hashlib
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from bertline import progress
from bertline.errors import DamagedError, TransientError, UserError
from bertline.store import disks, mirrors
from bertline.store.objects import ObjectStore

CHUNK = 1 << 20
TIMEOUT_S = 60.0
ATTEMPTS = 5
SCHEMES = ("http", "https", "sample")


class Source(BaseModel):
    """One file from outside."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str = Field(min_length=1)
    """Path, `http(s)://` or `sample:`."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    sha1: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    """What Wikimedia publishes for its dumps."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any, info: ValidationInfo) -> Any:
        """A bare string is a URL; a relative path counts from the experiment's folder."""
        value = {"url": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("url"), str):
            return value
        url = value["url"].removeprefix("file://")
        scheme = urlsplit(url).scheme
        if scheme and scheme not in SCHEMES:
            raise ValueError(f"unknown scheme {scheme!r} in {url}; accepted: a path, {', '.join(SCHEMES)}")
        if not scheme and info.context:
            url = str((info.context["folder"] / Path(url).expanduser()).resolve())
        return value | {"url": url}

    @model_serializer(mode="wrap")
    def _identity(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        """In a key only the identity counts."""
        return self.identity if info.context and info.context.get("key") else handler(self)

    @property
    def identity(self) -> str:
        """What the source is, as opposed to where it is."""
        return f"sha256:{self.sha256}" if self.sha256 else f"sha1:{self.sha1}" if self.sha1 else self.url

    @property
    def is_local(self) -> bool:
        """True for a path."""
        return not urlsplit(self.url).scheme

    @property
    def is_sample(self) -> bool:
        """True if it is made on the spot."""
        return self.url.startswith("sample:")

    @property
    def name(self) -> str:
        """For people."""
        return self.url.rstrip("/").rpartition("/")[2]

    def pinned(self) -> "Source":
        """The source with its sha256, for those that can be read without a download.

        Raises:
            UserError: a path that isn't there, or an unknown sample.
        """
        if self.sha256 or not (self.is_local or self.is_sample):
            return self
        with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
            return self.model_copy(update={"sha256": _digest(self._local(Path(directory)), "sha256")})

    def fetch(self, directory: Path, store: ObjectStore | None = None) -> Path:
        """The file on local disk, checked; a local one is used where it is.

        Args:
            directory: Where a file that isn't local goes.
            store: Asked for the copy that `upload` made, unless the file is on this machine.

        Raises:
            UserError: it isn't there, or isn't the file that the checksum names.
            DamagedError: the store's copy isn't that file.
            TransientError: the download failed several times.
        """
        is_here = self.is_local and Path(self.url).is_file()
        if store and self.sha256 and not is_here:
            if found := mirrors.fetch(store, self.sha256, directory, self.name):
                return found
            if self.is_local:
                raise UserError(
                    f"there is no file {self.url} on this machine, and no copy of it in the store, "
                    f"{store.uri}/{mirrors.ROOT}{self.sha256}; `bertline submit` puts one there, from the machine that "
                    "has the file"
                )
        path = self._download(directory) if self.url.startswith("http") else self._local(directory)
        for algorithm, expected in (("sha256", self.sha256), ("sha1", self.sha1)):
            if expected and (found_digest := _digest(path, algorithm)) != expected:
                raise UserError(
                    f"{self.url} isn't the expected file: {algorithm} should be {expected}, is {found_digest}; "
                    + (
                        "another version of Python makes other samples: use the one that made the plan, or "
                        "`bertline submit`, which puts its sample into the store"
                        if self.is_sample
                        else "correct the checksum in the experiment or the file"
                    )
                )
        return path

    def _local(self, directory: Path) -> Path:
        if self.is_sample:
            from bertline import samples

            with disks.sentences("write", directory):
                return samples.write(self.url.removeprefix("sample:"), directory)
        path = Path(self.url)
        if not path.is_file():
            raise UserError(f"there is no file {path}; give the path of an existing file, or a URL")
        return path

    def _download(self, directory: Path) -> Path:
        """Resumes where a broken connection left off (HTTP range), up to `ATTEMPTS` times."""
        path = directory / re.sub(r"[^\w.-]", "_", self.name)
        problem: Exception | None = None
        for _ in range(ATTEMPTS):
            begun = path.stat().st_size if path.exists() else 0
            request = urllib.request.Request(self.url, headers={"Range": f"bytes={begun}-"} if begun else {})
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                    begun = begun if response.status == 206 else 0
                    total = begun + int(response.headers.get("Content-Length") or 0)
                    with (
                        path.open("ab" if begun else "wb") as file,
                        progress.bar(f"downloading {self.name}", total, "B", begun) as advance,
                    ):
                        _copy(response.read, file.write, advance)
                    if path.stat().st_size >= total:
                        return path
                    problem = DamagedError(f"{path.stat().st_size} of {total} bytes came")
            except urllib.error.HTTPError as error:
                if error.code == 416:  # nothing beyond what is there
                    return path
                if error.code < 500 and error.code != 429:
                    raise UserError(f"{self.url}: the server says {error.code} {error.reason}") from error
                problem = error
            except (OSError, TimeoutError) as error:
                problem = error
        raise TransientError(f"downloading {self.url} failed {ATTEMPTS} times, last: {problem}") from problem


def upload(sources: Iterable[Source], store: ObjectStore) -> list[Source]:
    """Copy what is on this machine into a store, for pods; those that had to be copied.

    Pinned paths and samples (see `Source.pinned`) are; URLs are not, a pod reads them itself. What the store has
    already isn't read again. Write the experiment's reference first (`bertline.store.references`): what nothing refers
    to is garbage.

    Raises:
        UserError: a path isn't there and the store hasn't it either, or the file has changed since it was pinned.
    """
    copied = []
    for source in dict.fromkeys(sources):
        if source.sha256 is None or not (source.is_local or source.is_sample):
            continue
        if source.is_local and not Path(source.url).is_file() and mirrors.find(store, source.sha256):
            continue
        with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
            if mirrors.send(store, source._local(Path(directory)), source.sha256, source.name):
                copied.append(source)
    return copied


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], Any], advance: Callable[[int], None]) -> None:
    while chunk := read(CHUNK):
        write(chunk)
        advance(len(chunk))


def _digest(path: Path, algorithm: str) -> str:
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
