"""Waits for a store that can't be reached, so that no work is lost.

A store raises an OutageError after about half a minute. Work of hours mustn't end then: it waits without limit, says so
every minute, and ends if it is told to stop or another attempt has taken its lease. Events and logs don't wait and
don't fail either: see `attempts`.
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
"""Seconds to wait before the work has begun: no work can be lost, and the address may be wrong."""
PAUSES = Pauses(longest_s=5.0)
SAY_S = 60.0

_lock = threading.Lock()
_said_at: dict[str, float] = {}


def nothing() -> None:
    """A check that does nothing."""


def wait_out(operation: Callable[[], T], *, check: Callable[[], None] = nothing, limit_s: float = math.inf) -> T:
    """Call `operation`, again after each outage, and return its result.

    Args:
        operation: May be called several times.
        check: Called at least every half second while waiting; an exception or a signal to stop ends the wait.
        limit_s: Seconds to wait at most.

    Raises:
        OutageError: the outage lasted longer than `limit_s`.
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
    """Report an effect of an outage, each once a minute at most, for all threads together."""
    with _lock:
        if time.monotonic() - _said_at.get(what, -math.inf) < SAY_S:
            return
        _said_at[what] = time.monotonic()
    progress.say(f"{what}: {why}")


def over(seconds: float) -> None:
    """Report the end of an outage that was reported."""
    with _lock:
        told = bool(_said_at)
        _said_at.clear()
    if told:
        progress.say(f"the store answers again, after {seconds:.0f} s")


class HeldStore:
    """An `ObjectStore` for work under a lease: writes only while the lease is held, and waits for the end of an outage.

    It checks the lease before each try, because another attempt may take over during a long outage.
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
            confirm: Raises if the lease is lost, or OutageError if that isn't known; called before writing.
            limit_s: Seconds to wait for the end of an outage; 0 raises it at once.
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
        """The hasty store itself, for events and logs."""
        return self._store.hasty()

    def impatient(self) -> "HeldStore":
        """The same store, but it raises an outage at once."""
        return HeldStore(self._store, check=self._check, confirm=self._confirm, limit_s=0)

    def _read(self, operation: Callable[[], T]) -> T:
        return wait_out(operation, check=self._check, limit_s=self._limit_s)

    def _write(self, operation: Callable[[], T]) -> T:
        def confirmed() -> T:
            self._confirm()
            return operation()

        return self._read(confirmed)
