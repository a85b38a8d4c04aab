"""Waiting for a store that can't be reached, by those who have something to lose.

A store's own patience is half a minute or so; then it raises an OutageError. Work that has taken hours mustn't end for
that: it waits as long as it takes, says so every minute, and ends when it is told to stop or when another attempt has
taken its lease. What nothing depends on, as events and logs, doesn't wait and doesn't fail either: see `attempts`.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from bertline.process import progress, signals
from bertline.retries import Pauses
from bertline.store.objects import ObjectStore, OutageError, Progress, Stat, Version, no_progress

T = TypeVar("T")

START_S = 300.0
"""Seconds that are waited before the work has begun: nothing is lost then, and the address may just be wrong."""
PAUSES = Pauses(longest_s=5.0)
SAY_S = 60.0

_lock = threading.Lock()
_said_at: dict[str, float] = {}


def nothing() -> None:
    """A check that finds nothing."""


def wait_out(operation: Callable[[], T], *, check: Callable[[], None] = nothing, limit_s: float = math.inf) -> T:
    """What `operation` returns; it is tried until the store can be reached.

    Args:
        operation: Something that may be tried again.
        check: Called at least every half second of waiting; what it raises ends the wait, and so does a signal to stop.
        limit_s: Seconds to wait at most.

    Raises:
        OutageError: the store couldn't be reached for so long.
    """
    since, tries = time.monotonic(), 0
    while True:
        try:
            result = operation()
        except OutageError as error:
            if time.monotonic() - since >= limit_s:
                raise
            say("waiting for the store", error.said)
        else:
            if tries:
                over(time.monotonic() - since)
            return result
        end = time.monotonic() + PAUSES.after(tries + 1)
        while (left := end - time.monotonic()) > 0:
            signals.check(waiting=True)
            check()
            time.sleep(min(0.5, left))
        check()
        tries += 1


def say(what: str, why: str) -> None:
    """Tell what an outage does, each thing once a minute at most, however many threads find it out."""
    with _lock:
        if time.monotonic() - _said_at.get(what, -math.inf) < SAY_S:
            return
        _said_at[what] = time.monotonic()
    progress.say(f"{what}: {why}")


def over(seconds: float) -> None:
    """Tell that it is over, if it was told of."""
    with _lock:
        told = bool(_said_at)
        _said_at.clear()
    if told:
        progress.say(f"the store answers again, after {seconds:.0f} s")


class HeldStore:
    """An `ObjectStore` for work under a lease: writes while that is known to be held, and waits for an outage's end.

    That goes for each try: an outage may be long enough for another attempt to take over in the middle of it.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        check: Callable[[], None],
        confirm: Callable[[], None],
        limit_s: float = math.inf,
    ) -> None:
        """Prepare.

        Args:
            store: The store itself.
            check: Raises if the work has to end; called while waiting.
            confirm: Raises if the lease is lost, and OutageError if that can't be known now; called before writing.
            limit_s: Seconds that an outage is waited out; 0 to be told of it at once.
        """
        self.uri = store.uri
        self._store, self._check, self._confirm, self._limit_s = store, check, confirm, limit_s

    def get(self, name: str) -> tuple[bytes, Version]:  # noqa: D102 - the protocol says it
        return self._read(lambda: self._store.get(name))

    def read(self, name: str, begin: int, end: int, state: str = "") -> bytes:  # noqa: D102
        return self._read(lambda: self._store.read(name, begin, end, state))

    def stat(self, name: str) -> Stat | None:  # noqa: D102
        return self._read(lambda: self._store.stat(name))

    def list(self, prefix: str) -> Iterator[Stat]:  # noqa: D102
        return self._read(lambda: iter(list(self._store.list(prefix))))

    def leftovers(self) -> Iterator[Stat]:  # noqa: D102
        return self._read(lambda: iter(list(self._store.leftovers())))

    def download(self, name: str, path: Path, progress: Progress = no_progress) -> None:  # noqa: D102
        self._read(lambda: self._store.download(name, path, progress))

    def local_path(self, name: str) -> Path | None:  # noqa: D102
        return self._store.local_path(name)

    def put(self, name: str, content: bytes) -> Version:  # noqa: D102
        return self._write(lambda: self._store.put(name, content))

    def create(self, name: str, content: bytes) -> Version:  # noqa: D102
        return self._write(lambda: self._store.create(name, content))

    def replace(self, name: str, content: bytes, version: Version) -> Version:  # noqa: D102
        return self._write(lambda: self._store.replace(name, content, version))

    def delete(self, name: str) -> None:  # noqa: D102
        self._write(lambda: self._store.delete(name))

    def upload(self, path: Path, name: str, progress: Progress = no_progress) -> None:  # noqa: D102
        self._write(lambda: self._store.upload(path, name, progress))

    def hasty(self) -> ObjectStore:
        """The store itself, for what is only told."""
        return self._store.hasty()

    def impatient(self) -> "HeldStore":
        """The same, but an outage is raised: for who has something better to do than to wait."""
        return HeldStore(self._store, check=self._check, confirm=self._confirm, limit_s=0)

    def _read(self, operation: Callable[[], T]) -> T:
        return wait_out(operation, check=self._check, limit_s=self._limit_s)

    def _write(self, operation: Callable[[], T]) -> T:
        def confirmed() -> T:
            self._confirm()
            return operation()

        return self._read(confirmed)
