"""Input files: dumps, vocabularies, task files. Identified by checksum, if they have one.

    dump: enwiki.xml.bz2                          a path, relative to the experiment file
    dump: {url: https://…, sha1: 852dfec9…}       downloaded and checked, see `bertline.sources.downloads`
    dump: gs://bucket/enwiki.xml.bz2              or s3://: an object, see `bertline.store`
    train: {url: MNLI.zip, member: MNLI/train.tsv}   out of an archive, see `bertline.sources.archives`
    dump: sample:pydoc-topics                     generated, see `bertline.samples`

A source's *identity* is its checksum; the URL only says where it is. So a file may move, or be read from a mirror, and
nothing is built again. Without a checksum the URL is the identity. `bertline validate` warns about this, and the
result's manifest has the checksum of the download. Adding a checksum makes a new identity.

A pod can't read this machine's disk, and its Python may generate other samples. So `upload` copies local files into the
store (`bertline.store.mirrors`) before a run elsewhere, and `Source.fetch` reads them there.
"""

import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from bertline import addresses
from bertline.errors import UserError
from bertline.process import progress
from bertline.sources import digests
from bertline.store import disks, mirrors
from bertline.store.objects import ObjectStore

if TYPE_CHECKING:
    from bertline.sources.ranges import RangedFile

SCHEMES = ("http", "https", "gs", "s3", "file", "sample")


@dataclass(frozen=True)
class Obtained:
    """A source on local disk."""

    path: Path
    sha256: str | None
    """sha256 of the download of a URL without checksum, because the URL's content may change."""


class Source(BaseModel):
    """One input file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    url: str = Field(min_length=1)
    """Path, `http(s)://`, `gs://`, `s3://` or `sample:`. No credentials: the URL is in keys, logs and reports."""
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    sha1: str | None = Field(None, pattern="^[0-9a-f]{40}$")
    """What Wikimedia publishes for its dumps."""
    member: str | None = None
    """A file in the zip or tar archive that the URL names: `MNLI/train.tsv`. Checksums are those of the archive."""
    asked: str | None = Field(None, pattern="^https?://")
    """The URL that the experiment's file has, if that is `latest` and this is the dump that it meant (`releases`)."""

    @field_validator("member")
    @classmethod
    def _is_inside(cls, member: str | None) -> str | None:
        if member is not None and ({"", ".", ".."} & set(member.split("/")) or re.search(r"[\\\x00-\x1f]", member)):
            raise ValueError(
                f"{member!r:.200} can't be a file's place in an archive: it looks like folder/file, without `..` and "
                "without / at its ends"
            )
        return member

    @field_validator("asked")
    @classmethod
    def _without_secret(cls, url: str | None) -> str | None:
        if url and addresses.secret(url):
            raise ValueError("there is a secret in this URL, and it would be in keys, logs and reports")
        return url

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any, info: ValidationInfo) -> Any:
        """Read a string as a URL; a relative path is relative to the experiment's folder."""
        value = {"url": value} if isinstance(value, str) else value
        if not isinstance(value, dict) or not isinstance(value.get("url"), str):
            return value
        url = value["url"]
        if not url.strip():
            raise ValueError("expected a path, a URL or `sample:NAME`, found nothing")
        match scheme := urlsplit(url).scheme:
            case "http" | "https" | "gs" | "s3":
                if secret := addresses.secret(url):
                    raise ValueError(
                        f"this URL contains {secret}, which would be in keys, logs and reports; download the file "
                        "and give its path (`bertline submit` copies it into the store for pods). For a user and "
                        'password beside the URL see README, "Files from the web"'
                    )
                return value | {"url": addresses.web(url) if scheme.startswith("http") else addresses.stored(url)}
            case "sample":
                return value | {"url": scheme + url[len(scheme) :]}
            case "file":
                url = addresses.path(url)
            case "":
                pass
            case _:
                raise ValueError(f"unknown scheme {scheme!r}; accepted: a path, {', '.join(SCHEMES)}")
        if info.context:
            try:
                url = str((info.context["folder"] / Path(url).expanduser()).resolve())
            except (OSError, RuntimeError, ValueError) as error:  # `~nobody`, a link to itself, a null byte
                raise ValueError(f"{url!r:.200} is no path: {error}") from error
        return value | {"url": url}

    @model_serializer(mode="wrap")
    def _identity(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        """Write only the identity into a key."""
        return self.identity if info.context and info.context.get("key") else handler(self)

    @property
    def identity(self) -> str:
        """The checksum, or the URL without one."""
        whole = f"sha256:{self.sha256}" if self.sha256 else f"sha1:{self.sha1}" if self.sha1 else self.url
        return f"{whole}#{self.member}" if self.member else whole

    @property
    def is_local(self) -> bool:
        """True if it is a path."""
        return not urlsplit(self.url).scheme

    @property
    def is_sample(self) -> bool:
        """True if it is generated."""
        return self.url.startswith("sample:")

    @property
    def name(self) -> str:
        """Name in messages."""
        if self.is_local or self.is_sample:
            return self.url.rstrip("/").rpartition("/")[2]
        parts = urlsplit(self.url)
        return unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc

    def by_name(self) -> "Source":
        """The source without this machine's folder, only with name and checksum."""
        return self.model_copy(update={"url": self.name}) if self.is_local else self

    def pinned(self) -> "Source":
        """The source with its sha256, for those that can be read without a download.

        Raises:
            UserError: a path that doesn't exist, or an unknown sample.
        """
        if self.sha256 or not (self.is_local or self.is_sample):
            return self
        with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
            digest = digests.known if self.is_local else digests.read
            return self.model_copy(update={"sha256": digest(self._local(Path(directory)), "sha256")})

    def look(self, directory: Path) -> Path:
        """The local file or the sample, checked with cached checksums.

        Raises:
            UserError: it doesn't exist or has another checksum.
        """
        path = self._local(directory)
        self._compare(path, digests.known if self.is_local else digests.read)
        return self._member(path, directory) if self.member else path

    def ranged(self, store: ObjectStore) -> "RangedFile | None":
        """The remote file, if parts of it can be read; else None, also for a local file.

        Args:
            store: If it has a copy of the file, the copy is used.

        Raises:
            UserError: the file doesn't exist or access is denied.
            TransientError: the server failed repeatedly.
        """
        from bertline.sources import ranges  # the HTTP library takes 0.1 s to import

        if self.is_sample or self.member or (self.is_local and Path(self.url).is_file()):
            return None
        if self.sha256 and (copy := mirrors.find(store, self.sha256)):
            return None if store.local_path(copy.name) else ranges.look(f"{store.uri}/{copy.name}")
        return None if self.is_local else ranges.look(self.url)

    def fetch(self, directory: Path, store: ObjectStore | None = None) -> Path:
        """The path from `obtain`."""
        return self.obtain(directory, store).path

    def obtain(self, directory: Path, store: ObjectStore | None = None, *, archives: Path | None = None) -> Obtained:
        """The file on local disk, every byte checked; a local one is used where it is.

        Args:
            directory: Where a file that isn't local goes.
            store: Asked for the copy that `upload` made, unless the file is on this machine.
            archives: Where an archive goes of which other members will be asked for, so that it comes once; `directory`
                by default.

        Raises:
            UserError: it isn't there, or isn't the file that the checksum names.
            DamagedError: the store's copy isn't that file.
            TransientError: the download failed several times.
        """
        if self.member:
            archive = _archive(self.model_copy(update={"member": None}), archives or directory, store)
            return Obtained(self._member(archive.path, directory), archive.sha256)
        is_here = self.is_local and Path(self.url).is_file()
        if store and self.sha256 and not is_here:
            if found := mirrors.fetch(store, self.sha256, directory, self.name):
                return Obtained(found, None)
            if self.is_local:
                raise UserError(
                    f"there is no file {self.url} on this machine, and no copy of it in the store, "
                    f"{store.uri}/{mirrors.ROOT}{self.sha256}; run `bertline submit` on the machine that "
                    "has the file"
                )
        if not (self.is_local or self.is_sample):
            return self._download(directory)
        path = self._local(directory)
        self._compare(path, digests.read)
        return Obtained(path, None)

    def _member(self, archive: Path, directory: Path) -> Path:
        """The file out of its archive."""
        from bertline.sources import archives

        assert self.member is not None
        path = directory / f"member-{_file_name(self.member)}"
        archives.extract(archive, self.member, path)
        return path

    @property
    def _checksums(self) -> dict[str, str]:
        given = {"sha256": self.sha256, "sha1": self.sha1}
        return {algorithm: digest for algorithm, digest in given.items() if digest}

    def _compare(self, path: Path, digest: Callable[[Path, str], str]) -> None:
        for algorithm, expected in self._checksums.items():
            if (found := digest(path, algorithm)) != expected:
                raise UserError(
                    f"{self.url} isn't the expected file: {algorithm} should be {expected}, is {found}; "
                    + (
                        "another version of Python generates other samples: use the version of the plan, or "
                        "`bertline submit`, which copies its sample into the store"
                        if self.is_sample
                        else "correct the checksum in the experiment or the file"
                    )
                )

    def _local(self, directory: Path) -> Path:
        if self.is_sample:
            from bertline import samples

            with disks.explained("write", directory):
                return samples.write(self.url.removeprefix("sample:"), directory)
        path = Path(self.url)
        try:
            is_there = path.is_file()
        except OSError as error:  # a name that is too long, a folder that can't be entered
            raise UserError(f"can't read {str(path)!r:.200}: {error.strerror}") from error
        if not is_there:
            found = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
            raise UserError(f"{found}; give the path of an existing file, or a URL")
        return path

    def _download(self, directory: Path) -> Obtained:
        from bertline.sources import downloads

        path = directory / _file_name(self.name)
        if self.url.startswith(("http://", "https://")):
            sha256 = downloads.fetch(self.url, path, self.name, self._checksums)
        else:
            sha256 = self._copy_object(path)
        if self._checksums:
            return Obtained(path, None)
        progress.say(
            f"{self.url} has no checksum: to notice if its bytes change, write "
            f"{{url: {self.url}, sha256: {sha256}}} in the experiment"
        )
        return Obtained(path, sha256)

    def _copy_object(self, path: Path) -> str:
        """Copy an object from a bucket; return the sha256 of its bytes."""
        from bertline.sources import ranges

        store, name = ranges.place(self.url)
        found = store.stat(name)
        if found is None:
            raise UserError(f"there is no object {self.url}; correct the URL")
        with progress.bar(f"downloading {self.name}", found.size, "B") as advance:
            store.download(name, path, advance)
        self._compare(path, digests.read)
        return digests.read(path, "sha256")


def _file_name(name: str) -> str:
    """A name that any disk takes, for what is called so elsewhere."""
    return re.sub(r"[^\w.-]", "_", name)[-100:].lstrip(".") or "file"


_archives: dict[tuple[Source, Path], Obtained] = {}
"""Those that were unpacked, by source and folder."""


def _archive(whole: Source, directory: Path, store: ObjectStore | None) -> Obtained:
    """An archive, once for several of its members."""
    found = _archives.get((whole, directory))
    if found is None or not found.path.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        _archives[whole, directory] = found = whole.obtain(directory, store)
    return found


def measurements(*obtained: tuple[Source, Obtained]) -> dict[str, Any]:
    """The sha256 of downloads of URLs without checksum, for manifests."""
    came = {source.url: each.sha256 for source, each in obtained if each.sha256}
    return {"downloads": came} if came else {}


def upload(sources: Iterable[Source], store: ObjectStore) -> list[Source]:
    """Copy local files into a store, for pods; return the copied sources.

    This copies pinned paths and samples (see `Source.pinned`) that the store doesn't have. Pods download URLs
    themselves. Write the experiment's reference first (`bertline.store.references`); otherwise the copies are garbage.

    Raises:
        UserError: a path doesn't exist, neither here nor in the store, or the file changed after it was pinned.
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
