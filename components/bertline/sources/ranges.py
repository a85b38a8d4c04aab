"""Reads parts of remote files, so that a slice of a dump needs only its own bytes.

    https://…, http://…        ranges, if the server supports them
    gs://…, s3://…             ranges of an object

All parts must come from the same state of the file. So the first process (`look`) records the file's size and an
identifier of its state, and every part must come from this state:

    ETag, if it is a strong one    `If-Match` and `If-Range` with each range, and compared with the answer's
    Last-Modified                  `If-Unmodified-Since`, and compared; only if it was changed more than a second ago
    generation, of gs://           part of each request
    ETag, of s3://                 `If-Match`

If a server has none of these, or no ranges, the whole file is downloaded, see `bertline.sources.files`. If the state
has changed, the user has to decide which one is right.
"""

import contextlib
import fcntl
import functools
import hashlib
import io
import os
import random
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

import requests

import bertline
from bertline.errors import UserError
from bertline.process import signals
from bertline.sources import connections, downloads
from bertline.sources.connections import PassingError
from bertline.sources.downloads import Patience
from bertline.store import backends
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore

HEAD = 1 << 16
"""Bytes of a file that `look` reads."""
STEP = 4 << 20
"""Bytes of one request while a slice is read."""
CONNECTIONS = 2
"""Requests at a time from one machine to one host; Wikimedia accepts no more from one address."""
KEPT = 4 << 20
"""Bytes kept before the current position: bz2 blocks are first searched and then read again."""


class Fetcher(Protocol):
    """Reads bytes of one state of a file."""

    def fetch(self, begin: int, end: int) -> bytes:
        """Bytes [begin, end), which exist.

        Raises:
            UserError: the file's state has changed, or access is denied.
            TransientError: the server failed repeatedly.
        """

    def close(self) -> None:
        """Close connections."""


@dataclass(frozen=True)
class RangedFile:
    """A remote file in one state; can be sent to other processes."""

    url: str
    size: int
    state: str
    """Identifier of the state: `ETag "5f3-62a"`, `generation 1712`."""
    head: bytes = field(repr=False)
    """Its first bytes, `HEAD` at most."""

    def __str__(self) -> str:
        return self.url

    def open(self, begin: int = 0, end: int = 0) -> "Reader":
        """Open the file; mainly for reading bytes [begin, end) in order."""
        return Reader(self, _Web(self) if _is_web(self.url) else _Object(self), begin, end)

    def changed(self, found: str) -> UserError:
        """The error for a changed state.

        Args:
            found: The current state.
        """
        return UserError(
            f"{self.url} has changed while it was read in parts: they have to be of {self.size:,} bytes with "
            f"{self.state}, and now there is {found}. Parts of two states can't be mixed. Take one that stays, as a "
            "dump by its date; or give the checksum of the file as it is now, {url: …, sha256: …}: that is another "
            "source, and what is made of it is made anew"
        )


def look(url: str) -> RangedFile | None:
    """The current state of a file; None if it can't be read in parts.

    Args:
        url: http(s)://, gs:// or s3://.

    Raises:
        UserError: the file doesn't exist or access is denied.
        TransientError: the server failed repeatedly.
    """
    return _look_at_web(url) if _is_web(url) else _look_at_object(url)


class Reader:
    """A file for `bertline.wikipedia.blocks`; within its slice it reads ahead."""

    def __init__(self, file: RangedFile, fetcher: Fetcher, begin: int, end: int) -> None:
        self._file, self._fetcher = file, fetcher
        self._slice = begin, end
        self._position = 0
        self._buffer, self._begin = b"", 0
        """The last fetched bytes, and their position."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._fetcher.close()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Like `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Like `io.RawIOBase.read`."""
        begin = self._position
        end = min(self._file.size, begin + size) if size >= 0 else self._file.size
        self._position = max(begin, end)
        if end <= len(self._file.head):
            return self._file.head[begin:end]
        if begin >= end:
            return b""
        if not self._begin <= begin <= self._begin + len(self._buffer):
            self._buffer, self._begin = b"", begin
        known = self._begin + len(self._buffer)
        if end > known:
            first, last = self._slice
            ahead = min(last, known + STEP) if first <= known < last else 0
            keep = max(0, begin - KEPT - self._begin)
            more = self._fetcher.fetch(known, max(end, ahead))
            self._buffer, self._begin = self._buffer[keep:] + more, self._begin + keep
        return self._buffer[begin - self._begin : end - self._begin]


# The web


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _look_at_web(url: str) -> RangedFile | None:
    tries = downloads.Tries(url, downloads.PATIENCE)
    with connections.session() as session:
        while True:
            try:
                with _turn(url):
                    return _first_part(session, url)
            except PassingError as problem:
                tries.wait(problem, moved=False)


def _first_part(session: requests.Session, url: str) -> RangedFile | None:
    with _asked(session, url, {"Range": f"bytes=0-{HEAD - 1}"}) as answer:
        if answer.status_code in (200, 416):  # it has no ranges; or nothing is in the file
            return None
        if answer.status_code != 206:
            connections.refuse(url, answer)
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        known = downloads.validator(answer)
        if not match or match[1] != "0" or not known or _is_packed(answer):
            return None
        size, length = int(match[3]), int(match[2]) + 1
        head = b"".join(_pieces(url, answer, length))
        if len(head) < length:
            raise PassingError(f"only {len(head):,} of {length:,} bytes came")
        return RangedFile(url, size, " ".join(known), head) if length == min(size, HEAD) else None


_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


def _asked(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    patience = downloads.PATIENCE
    always = {"Accept-Encoding": "identity", "User-Agent": f"bertline/{bertline.__version__}"}
    try:
        return session.get(url, headers=always | headers, stream=True, timeout=(patience.connect_s, patience.silence_s))
    except (*connections.BROKEN, ValueError) as error:  # ValueError: an address, also that of a redirect
        connections.explain(url, error)


def _pieces(url: str, answer: requests.Response, length: int) -> Iterator[bytes]:
    """At most so many bytes, as they are sent."""
    try:
        for piece in answer.raw.stream(downloads.CHUNK, decode_content=False):
            signals.check()
            yield piece[:length]
            length -= len(piece)
            if length <= 0:
                return
    except connections.BROKEN as error:
        connections.explain(url, error)


def _is_packed(answer: requests.Response) -> bool:
    """True if the answer is encoded. Some servers wrongly declare each .bz2 file as encoded."""
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    return encoding != "identity" and not encoding.endswith("bzip2")


def _patience() -> Patience:
    """For a file that was there: pods that read side by side are sent away for a while, and each has work to lose."""
    patience = downloads.PATIENCE
    return replace(patience, lasts_s=10 * patience.lasts_s, asked_s=10 * patience.asked_s)


@contextlib.contextmanager
def _turn(url: str) -> Iterator[None]:
    """Wait until this machine has fewer than `CONNECTIONS` requests under way to a host, of whichever processes.

    The lock of a process that ends, however it ends, is gone.
    """
    name = hashlib.sha256(urlsplit(url).netloc.encode()).hexdigest()[:16]
    with contextlib.ExitStack() as stack:
        places = [
            Path(tempfile.gettempdir(), f"bertline-{os.getuid()}-{name}-{number}.lock") for number in range(CONNECTIONS)
        ]
        files = [stack.enter_context(place.open("ab")) for place in random.sample(places, CONNECTIONS)]
        for file in files:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        else:
            fcntl.flock(files[0], fcntl.LOCK_EX)
        yield


class _Web:
    """Ranges of a file on the web."""

    def __init__(self, file: RangedFile) -> None:
        self._file = file
        self._validator, _, self._value = file.state.partition(" ")
        self._opened = connections.session()
        self._session = self._opened.__enter__()

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def fetch(self, begin: int, end: int) -> bytes:
        content = bytearray()
        tries = downloads.Tries(self._file.url, _patience())
        while len(content) < end - begin:
            before = len(content)
            try:
                for piece in self._part(begin + before, end):
                    content += piece
                if len(content) == before:
                    raise PassingError("nothing came")
            except PassingError as problem:
                tries.wait(problem, moved=len(content) > before)
        return bytes(content)

    def _part(self, begin: int, end: int) -> Iterator[bytes]:
        """The bytes of [begin, end) that the server sends."""
        # With If-Range a server may omit the date, by which we check that it didn't ignore the condition.
        etag = {"If-Match": self._value, "If-Range": self._value}
        condition = etag if self._validator == "ETag" else {"If-Unmodified-Since": self._value}
        headers = {"Range": f"bytes={begin}-{end - 1}"} | condition
        with _turn(self._file.url), _asked(self._session, self._file.url, headers) as answer:
            self._check(answer, begin)
            yield from _pieces(self._file.url, answer, end - begin)

    def _check(self, answer: requests.Response, begin: int) -> None:
        found = answer.headers.get(self._validator, "")
        if answer.status_code in (412, 416):
            raise self._file.changed(f"another one (the server says {answer.status_code})")
        if answer.status_code not in (200, 206):
            connections.refuse(self._file.url, answer)
        if not found:  # the file's server sends it; this answer is from another server or wrong
            raise PassingError(f"the server doesn't tell {self._validator} any more")
        if found != self._value:
            raise self._file.changed(f"one with {self._validator} {found}")
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "").strip())
        if answer.status_code == 200 or not match or int(match[1]) != begin:
            raise PassingError("the server sent another part than the requested one")
        if int(match[3]) != self._file.size:
            raise self._file.changed(f"one of {int(match[3]):,} bytes")


# Buckets


def _look_at_object(url: str) -> RangedFile | None:
    store, name = place(url)
    found = store.stat(name)
    if found is None:
        raise UserError(f"there is no object {url}; correct the URL")
    return RangedFile(url, found.size, found.state, store.read(name, 0, min(HEAD, found.size), found.state))


def place(url: str) -> tuple[ObjectStore, str]:
    """The bucket of a gs:// or s3:// URL, and the object's name in it."""
    scheme, _, rest = url.partition("://")
    bucket, _, name = rest.partition("/")
    return _bucket(f"{scheme}://{bucket}"), name


@functools.lru_cache(maxsize=4)
def _bucket(uri: str) -> ObjectStore:
    """The store of a bucket, one per process."""
    return backends.connect(uri)


class _Object:
    """Ranges of an object in a bucket; the store's client repeats requests after temporary errors."""

    def __init__(self, file: RangedFile) -> None:
        self._file = file
        self._store, self._name = place(file.url)

    def close(self) -> None:
        """Do nothing, because others use the connection."""

    def fetch(self, begin: int, end: int) -> bytes:
        try:
            content = self._store.read(self._name, begin, end, self._file.state)
        except ConflictError as error:
            raise self._file.changed("another one") from error
        except NotFoundError as error:
            raise self._file.changed("none") from error
        if len(content) < end - begin:
            raise self._file.changed("a shorter one")
        return content
