"""Downloads files. A file is complete only if a length, the end of chunks, or a checksum proves it.

An interrupted download continues if the server proves that the file hasn't changed (`If-Range`, with the strong ETag or
the date of its last change), else from the beginning. Temporary errors (no connection,
`retries.may_pass`, an answer that isn't HTTP) is tried again with growing pauses, or when the server says, as long as
`Patience` lasts; then it is a TransientError. The rest is a UserError that says what to do.
"""

import contextlib
import hashlib
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

import bertline
from bertline.errors import TransientError, UserError
from bertline.process import progress, signals
from bertline.retries import PAUSES, Pauses
from bertline.sources import connections
from bertline.sources.connections import PassingError
from bertline.store import disks

CHUNK = 1 << 20


@dataclass(frozen=True)
class Patience:
    """How long to try a download, in seconds; each new byte restarts the time."""

    lasts_s: float = 60.0
    """Seconds from the first failure to the last try."""
    pauses: Pauses = PAUSES
    asked_s: float = 300.0
    """Additional seconds for all pauses that the server asks for (`Retry-After`)."""
    connect_s: float = 10.0
    silence_s: float = 60.0
    """Seconds between two bytes."""


PATIENCE = Patience()


def fetch(url: str, path: Path, label: str, checksums: Mapping[str, str], patience: Patience | None = None) -> str:
    """Download a file; return the sha256 of its bytes.

    Args:
        url: A URL from `addresses.web`.
        path: The file to write.
        label: Name in messages.
        checksums: Algorithm of hashlib → expected hexadecimal digest; may be empty.
        patience: `PATIENCE` by default.

    Raises:
        UserError: it isn't there or not for us, isn't what a checksum says, or nothing can tell whether it is whole.
        TransientError: it was tried for as long as the patience lasts.
    """
    patience = patience or PATIENCE
    download = _Download(url, path, label, checksums)
    tries = Tries(url, patience)
    with connections.session() as session:
        while True:
            before = download.farthest
            try:
                download.attempt(session, (patience.connect_s, patience.silence_s))
                return download.digests["sha256"].hexdigest()
            except PassingError as problem:
                tries.wait(problem, moved=download.farthest > before)


class Tries:
    """Pauses between tries, and gives up at last."""

    def __init__(self, url: str, patience: Patience) -> None:
        self._url, self._patience = url, patience
        self._failures, self._asked_s, self._began = 0, 0.0, 0.0

    def wait(self, problem: PassingError, *, moved: bool) -> None:
        """Pause; or raise a TransientError, with the problem as its cause."""
        now = time.monotonic()
        if moved or not self._failures:
            self._failures, self._asked_s, self._began = 0, 0.0, now
        elapsed = now - self._began - self._asked_s
        self._asked_s += problem.asked_s
        if elapsed >= self._patience.lasts_s or self._asked_s > self._patience.asked_s:
            asks = f", which asks for a pause of {problem.asked_s:,.0f} s" if problem.asked_s else ""
            raise TransientError(
                f"can't download {self._url} now: {problem}{asks}; tried for {now - self._began:,.0f} s; run the same "
                "command again later"
            ) from problem
        self._failures += 1
        pause = max(problem.asked_s, min(self._patience.pauses.after(self._failures), self._patience.lasts_s - elapsed))
        if pause >= 1:
            progress.say(
                f"the download from {urlsplit(self._url).hostname} continues in {pause:,.0f} s, because {problem}"
            )
        time.sleep(pause)
        signals.check()


class _Download:
    """The download of one file, and the state of the file on the server."""

    def __init__(self, url: str, path: Path, label: str, checksums: Mapping[str, str]) -> None:
        self._url, self._path, self._label, self._checksums = url, path, label, checksums
        self.farthest = 0
        """The largest number of bytes of any try."""
        self._doubted = ""
        self._restart()

    def _restart(self) -> None:
        self.digests = {name: hashlib.new(name) for name in {"sha256", *self._checksums}}
        self._received = 0
        self._total: int | None = None
        self._validator: tuple[str, str] | None = None
        self._is_proven = True  # that the file is complete, and of one state

    def attempt(self, session: requests.Session, timeout_s: tuple[float, float]) -> None:
        """Request the missing bytes, and check the whole file."""
        with self._answer(session, timeout_s) as answer:
            self._begin(answer)
            with (
                self._opened() as file,
                progress.bar(f"downloading {self._label}", self._total, "B", self._received) as advance,
            ):
                for piece in self._pieces(answer):
                    with disks.explained("write", self._path):
                        file.write(piece)
                    for digest in self.digests.values():
                        digest.update(piece)
                    self._received += len(piece)
                    self.farthest = max(self.farthest, self._received)
                    advance(len(piece))
                    signals.check()
            self._check(answer)

    @contextlib.contextmanager
    def _answer(self, session: requests.Session, timeout_s: tuple[float, float]) -> Iterator[requests.Response]:
        headers = {"Accept-Encoding": "identity", "User-Agent": f"bertline/{bertline.__version__}"}
        # Without a validator only a checksum can prove that the rest belongs to the first bytes.
        if self._received and (self._validator or self._checksums):
            headers["Range"] = f"bytes={self._received}-"
            if self._validator:
                headers["If-Range"] = self._validator[1]
        elif self._received:
            self._restart()
        try:
            answer = session.get(self._url, headers=headers, stream=True, timeout=timeout_s)
        except (*connections.BROKEN, ValueError) as error:  # ValueError: an address, also that of a redirect
            connections.explain(self._url, error)
        with answer:
            yield answer

    def _begin(self, answer: requests.Response) -> None:
        """Decide from the headers whether the answer is the rest, the whole file, or neither."""
        asked = "Range" in answer.request.headers
        if answer.status_code == 416 and asked:
            self._restart()
            raise PassingError("the server has no more bytes, but the file isn't complete")
        if answer.status_code == 206 and not asked:
            raise PassingError("the server sent only a part of the file")
        if answer.status_code not in (200, 206):
            connections.refuse(self._url, answer)
        length = answer.headers.get("Content-Length", "").strip()
        if answer.raw.chunked:
            length = ""
        elif not re.fullmatch("[0-9]*", length):
            raise PassingError(f"the length of the answer isn't a number but {length[:40]!r}")
        if answer.status_code == 206:
            self._go_on(answer)
            return
        self._restart()
        self._total = int(length) if length else None
        self._validator = validator(answer)
        self._is_proven = bool(length) or answer.raw.chunked

    def _go_on(self, answer: requests.Response) -> None:
        """Accept the rest if it is of the same state of the file."""
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        total = int(match[2]) if match and match[2] != "*" else None
        changed = match is None or int(match[1]) != self._received or len({total, self._total} - {None}) > 1
        if self._validator:
            name, value = self._validator
            # A server that sends an ETag with the whole file must send it with a part too; the date is optional.
            changed = changed or answer.headers.get(name, "" if name == "ETag" else value) != value
        if changed:
            self._restart()
            raise PassingError("the file changed on the server during the download")
        self._total = self._total or total
        self._is_proven = self._validator is not None and self._total is not None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        with disks.explained("write", self._path), self._path.open("ab" if self._received else "wb") as file:
            yield file

    def _pieces(self, answer: requests.Response) -> Iterator[bytes]:
        """The bytes as sent, without decoding Content-Encoding."""
        try:
            yield from answer.raw.stream(CHUNK, decode_content=False)
        except connections.BROKEN as error:
            connections.explain(self._url, error)

    def _check(self, answer: requests.Response) -> None:
        if self._total not in (None, self._received):
            raise PassingError(f"only {self._received:,} of {self._total:,} bytes came")
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        packed = "" if encoding == "identity" else f"it was sent with Content-Encoding: {encoding}, unasked"
        torn = "" if self._is_proven else "it came without a length, so it may be incomplete"
        found = self.digests["sha256"].hexdigest()
        for name, expected in self._checksums.items():
            if (digest := self.digests[name].hexdigest()) != expected:
                if not self._is_proven and found != self._doubted:
                    self._doubted = found  # if the same bytes come again, they are the file
                    self._restart()
                    raise PassingError(f"the file has the wrong checksum, {name} {digest}")
                raise UserError(
                    f"{self._url} isn't the expected file: {name} should be {expected}, is {digest}; "
                    + "".join(f"{doubt}; " for doubt in (torn, packed) if doubt)
                    + "correct the checksum in the experiment or the file"
                )
        if self._checksums:
            return
        advice = (
            f"{self._received:,} bytes came; if the file is right, write its checksum, "
            f"{{url: {self._url}, sha256: {found}}}; or download it and give its path"
        )
        if packed and encoding.endswith("bzip2") and urlsplit(self._url).path.endswith(".bz2"):
            packed = ""  # what the name says
        if torn or packed:
            raise UserError(f"{self._url} can't be trusted: {torn or packed}. {advice}")


def validator(answer: requests.Response) -> tuple[str, str] | None:
    """Header and value by which the server can prove that a file hasn't changed."""
    etag = answer.headers.get("ETag", "")
    if etag.startswith('"'):  # several states may share a weak one, W/"…"
        return "ETag", etag
    changed = answer.headers.get("Last-Modified", "")
    try:
        age = parsedate_to_datetime(answer.headers.get("Date", "")) - parsedate_to_datetime(changed)
    except (ValueError, TypeError):
        return None
    # The date can't distinguish two changes within one second.
    return ("Last-Modified", changed) if age.total_seconds() >= 1 else None
