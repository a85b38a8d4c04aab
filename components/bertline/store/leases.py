"""One writer per realization: a lease object, created create-only, renewed by a thread, taken over if it expires.

A lease expires by observation, not by comparing clocks. The holder rewrites it every `RENEW_S`. A process that sees the
same version for `EXPIRE_S` of its own monotonic time may replace it, if it is still that version. So wrong clocks do no
harm. If the holder was a process of the same machine that doesn't exist any more, the lease is replaced at once, for
example after a killed `bertline run`.

Only time in which the store answers counts. During an outage the holder can't renew, and others can't see whether it is
alive. So both begin again after the outage, and the holder, who tries every few seconds, is first.

A process loses its lease only if it was frozen, or cut off from a store that others reached, for longer than
`EXPIRE_S`. Its own clock shows when that may have happened; then it doesn't write before it has renewed its last
version (`confirm`, before every write), but may go on computing (`check`). One risk is left: a frozen process may
finish an upload over its successor's file. If the stage isn't deterministic, readers then find a wrong checksum.
"""

import contextlib
import json
import math
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bertline.errors import BertlineError, TransientError
from bertline.store import outages
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore, OutageError, Version

NAME = "lease.json"
RENEW_S = 4.0
EXPIRE_S = 17.0
"""Four missed renewals, or one that hangs and the next two. The successor of a killed pod waits this long, with its GPU
reserved."""
POLL_S = 1.0


class Lease:
    """Context manager: waits for the lease, holds it, releases it."""

    def __init__(
        self,
        store: ObjectStore,
        prefix: str,
        *,
        renew_s: float = RENEW_S,
        expire_s: float = EXPIRE_S,
        give_up: Callable[[], bool] = lambda: False,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Prepare; `with` does the first write.

        Args:
            store: The store.
            prefix: The realization's prefix; the lease is `<prefix>lease.json`.
            renew_s: Seconds between two renewals.
            expire_s: Seconds without a renewal after which another process may take it.
            give_up: Called while waiting; True ends the wait (the other process has finished the work).
            notify: Called with a sentence at the begin of a wait, and when a lease is taken over.
        """
        self._store, self._name = store.hasty(), f"{prefix}{NAME}"
        self._renew_s, self._expire_s = renew_s, expire_s
        self._give_up, self._notify = give_up, notify
        self._owner = _process() | {"owner": uuid.uuid4().hex}
        self._renewals = 0
        self._renewed = 0.0
        """Begin of the last successful renewal, by our monotonic clock."""
        self._version: Version | None = None
        self._lost: str | None = None
        self._problem = "it doesn't answer"
        """Why the last renewal failed, if it did."""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_stop, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._version = self._acquire()
        if self._version is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._version is None:
            return
        if not self._is_fresh():  # an outage, or the lease isn't ours any more
            return
        self._thread.join()
        # A failure here must not hide the work's result or error; the lease then expires.
        with contextlib.suppress(BertlineError):
            if self._lost is None and self._is_ours(self._store.get(self._name)[0]):
                self._store.delete(self._name)

    @property
    def held(self) -> bool:
        """False if `give_up` ended the wait."""
        return self._version is not None

    def check(self) -> None:
        """Raise TransientError if we know that another process took the lease; sends no request.

        The renewing thread finds this out within `renew_s`. Call `confirm` before a write.
        """
        if self._lost is not None:
            raise TransientError(self._lost)

    def confirm(self) -> None:
        """Make sure that the lease stays ours for some seconds; renews it if the last renewal is too old.

        Raises:
            TransientError: another process took it.
            OutageError: the store can't be reached, so we don't know.
        """
        if not self._is_fresh():
            with self._lock:
                if not self._is_fresh():  # another thread may have renewed it while we waited
                    self._renew()
        self.check()
        if not self._is_fresh():
            away_s = time.monotonic() - self._renewed
            raise OutageError(f"{self._problem} (for {away_s:.0f} s; nothing is written before the lease is renewed)")

    def _is_fresh(self) -> bool:
        """True if no other process can have taken it, now and for some seconds."""
        return time.monotonic() - self._renewed < self._expire_s / 2

    def _acquire(self) -> Version | None:
        watched = _Watched()
        away_since = math.inf
        told = False
        while True:
            begun = time.monotonic()
            try:
                content, version = self._look()
                if content is not None and self._is_ours(content):
                    return version  # only the answer to our own write was lost
                holder = _holder(content or b"")
                watched.see(version)
                if content is None or _is_dead(holder) or watched.seconds > self._expire_s:
                    if (taken := self._take(content, version)) is not None:
                        if content is not None:
                            self._notify(f"the attempt of {_name(holder)} is gone; taking over")
                        return taken
                    continue
                if not told:
                    told = True
                    self._notify(f"another attempt is at work ({_name(holder)}); waiting for it")
                away_since = math.inf
            except OutageError as error:
                away_since = min(away_since, begun)
                if time.monotonic() - away_since > outages.START_S:
                    raise
                outages.say("waiting for the store", error.said)
                watched = _Watched()  # the holder couldn't renew it either
            if self._give_up():
                return None
            with watched.passing():
                time.sleep(min(POLL_S, self._expire_s / 4))

    def _look(self) -> tuple[bytes | None, Version]:
        """Content and version of the lease; None if there is none."""
        try:
            return self._store.get(self._name)
        except NotFoundError:
            return None, ""

    def _take(self, content: bytes | None, version: Version) -> Version | None:
        """Write our first version of the lease; None if another process was faster."""
        self._renewed = time.monotonic()
        try:
            if content is None:
                return self._store.create(self._name, self._content())
            return self._store.replace(self._name, self._content(), version)
        except ConflictError:
            return None

    def _renew_until_stop(self) -> None:
        while self._lost is None and not self._stop.wait(self._renew_s):
            with self._lock:
                self._renew()

    def _renew(self) -> None:
        """Renew the lease; the caller holds the lock."""
        assert self._version is not None
        self._renewals += 1
        try:
            for _ in range(2):  # an earlier write may have succeeded although its answer was lost
                begun = time.monotonic()
                try:
                    self._version = self._store.replace(self._name, self._content(), self._version)
                except ConflictError:
                    content, version = self._look()
                    if content is None or not self._is_ours(content):
                        self._lost = (
                            f"the lease {self._store.uri}/{self._name} was taken over by another attempt "
                            f"({_name(_holder(content or b''))}), because this one didn't renew it; the work continues "
                            "there"
                        )
                        return
                    self._version = version
                else:
                    away_s, self._renewed = begun - self._renewed, begun
                    if away_s > self._expire_s / 2:
                        outages.over(away_s)
                    return
        except Exception as error:  # noqa: BLE001 - the network may be back at the next renewal
            self._problem = error.said if isinstance(error, OutageError) else str(error) or type(error).__name__
            if not self._is_fresh():
                outages.say("the store can't be reached; the work continues without writing", self._problem)

    def _is_ours(self, content: bytes) -> bool:
        return bool(_holder(content).get("owner") == self._owner["owner"])

    def _content(self) -> bytes:
        return json.dumps(self._owner | {"renewals": self._renewals}).encode()


class _Watched:
    """Measures how long a lease didn't change, counting only time in which the store answered."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._version: Version | None = None

    def see(self, version: Version) -> None:
        if version != self._version:
            self._version, self.seconds = version, 0.0

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds += time.monotonic() - begun


SILENT_S = 300.0
"""After so many seconds without a renewal, by this machine's clock, the holder may have been killed."""


@dataclass(frozen=True)
class Holder:
    """The holder of a lease."""

    name: str
    """`process 4711 on this machine`."""
    version: Version
    """Version of the lease; it changes every few seconds while the holder is alive."""
    silent_s: float
    """Seconds since its renewal, by this machine's clock and the store's."""

    def __str__(self) -> str:
        is_silent = self.silent_s > SILENT_S
        doubt = f" (or killed: no sign of life for {self.silent_s / 60:,.0f} min)" if is_silent else ""
        return f"{self.name}{doubt}"


def find(store: ObjectStore, prefix: str) -> Holder | None:
    """The holder of a realization's lease; None if there is none, or its process has ended on this machine.

    Raises:
        OutageError: the store can't be reached.
    """
    name = f"{prefix}{NAME}"
    try:
        content, version = store.get(name)
    except NotFoundError:
        return None
    stat, holder = store.stat(name), _holder(content)
    if stat is None or _is_dead(holder):
        return None
    here = _process()
    is_here = all(holder.get(field) == here[field] for field in ("host", "boot"))
    who = f"process {holder.get('pid', 'unknown')} on {'this machine' if is_here else holder.get('host', '?')}"
    return Holder(who, version, time.time() - stat.modified)


def _process() -> dict[str, Any]:
    """A description of this process, by which another process of this machine can check whether it is alive."""
    return {
        "host": platform.node(),
        "boot": _first_line("/proc/sys/kernel/random/boot_id"),
        "namespace": os.readlink("/proc/self/ns/pid") if Path("/proc/self/ns/pid").exists() else "",
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _holder(content: bytes) -> dict[str, Any]:
    """The holder in a lease; {} if it can't be read, so that a damaged lease expires too."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _name(holder: dict[str, Any]) -> str:
    return f"{holder.get('host', 'an unknown host')}, process {holder.get('pid', 'unknown')}"


def _is_dead(holder: dict[str, Any]) -> bool:
    """True if the holder was a process of this machine, in this process namespace, that doesn't exist any more."""
    here = _process()
    if any(holder.get(name) != here[name] for name in ("host", "boot", "namespace")):
        return False
    try:
        process = psutil.Process(holder["pid"])
        # The start time shows whether the pid is reused; it may differ slightly after a change of the clock.
        recycled = abs(process.create_time() - holder["started"]) > 5
        return recycled or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False  # the process exists, but belongs to another user


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
