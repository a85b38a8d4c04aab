"""One writer a realization: a lease object, made create-only, renewed by a thread, taken over when it stops changing.

Whether a lease is alive is judged by *watching it*, never by comparing clocks: a holder rewrites it every `RENEW_S`;
whoever wants it and sees the same version for `EXPIRE_S` of its own monotonic time may replace it, on the condition
that it still is that version. So a clock that is wrong by hours does no harm. A holder on the same machine whose
process is gone is replaced at once: that is the common case of a killed `bertline run`.

Only time in which the store answers counts. While it can't be reached, the holder can't renew and nobody can see
whether it would; so when it is back, both begin anew, and the holder, who tries every few seconds, is first.

A lease can be lost only by a process that was frozen, or cut off from a store that others reached, for longer than
`EXPIRE_S`. The holder knows from its own clock when that may have happened, and then doesn't write before it has
renewed the version that it wrote last (`confirm`, before every write); computing may go on meanwhile (`check`). What it
could still do is to finish an upload it was frozen in, over a file of its successor; where a stage isn't deterministic,
readers then find a checksum that isn't the manifest's.
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
"""Four missed renewals, or one that hangs until it is given up and the next two. A killed pod's successor waits so
long, and not much longer: nobody would like to see a minute of a GPU go by at every retry."""
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
        """Prepare; nothing is written before `with`.

        Args:
            store: Where.
            prefix: The realization's place; the lease is `<prefix>lease.json`.
            renew_s: Seconds between two renewals.
            expire_s: Seconds without a renewal after which another may take it.
            give_up: Asked while waiting; True ends the wait (the other finished the work).
            notify: Called once with a sentence if there is a wait, and once if a lease is taken over.
        """
        self._store, self._name = store.hasty(), f"{prefix}{NAME}"
        self._renew_s, self._expire_s = renew_s, expire_s
        self._give_up, self._notify = give_up, notify
        self._owner = _process() | {"owner": uuid.uuid4().hex}
        self._renewals = 0
        self._renewed = 0.0
        """When the last renewal that succeeded was begun, by our monotonic clock."""
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
        if not self._is_fresh():  # the store can't be reached, or it isn't ours any more
            return
        self._thread.join()
        # A failure here must hide neither the work's success nor its error: a lease that stays is taken over in time.
        with contextlib.suppress(BertlineError):
            if self._lost is None and self._is_ours(self._store.get(self._name)[0]):
                self._store.delete(self._name)

    @property
    def held(self) -> bool:
        """False if `give_up` ended the wait."""
        return self._version is not None

    def check(self) -> None:
        """Raise TransientError if it is known that somebody else took the lease. Asks nobody: may be called often.

        The thread that renews it learns of that within `renew_s`. Before something is written, call `confirm`.
        """
        if self._lost is not None:
            raise TransientError(self._lost)

    def confirm(self) -> None:
        """Return if the lease is ours for a while yet; asks the store if the last renewal is too long ago.

        Raises:
            TransientError: somebody else took it.
            OutageError: the store can't be reached, so it isn't known; try again later.
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
        """True if nobody can have taken it, and nobody can for some seconds."""
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
                    return version  # the answer to our own write was lost
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
                watched = _Watched()  # the holder couldn't renew either
            if self._give_up():
                return None
            with watched.passing():
                time.sleep(min(POLL_S, self._expire_s / 4))

    def _look(self) -> tuple[bytes | None, Version]:
        """The lease as it is now; None if there is none."""
        try:
            return self._store.get(self._name)
        except NotFoundError:
            return None, ""

    def _take(self, content: bytes | None, version: Version) -> Version | None:
        """Our first version, in the place of somebody else's or of nothing; None if somebody was faster."""
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
        """Try it. The lock is held."""
        assert self._version is not None
        self._renewals += 1
        try:
            for _ in range(2):  # an earlier one may have arrived without our learning of it
                begun = time.monotonic()
                try:
                    self._version = self._store.replace(self._name, self._content(), self._version)
                except ConflictError:
                    content, version = self._look()
                    if content is None or not self._is_ours(content):
                        self._lost = (
                            f"the lease {self._store.uri}/{self._name} was taken over by another attempt "
                            f"({_name(_holder(content or b''))}), because this one showed no sign of life; it goes on "
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
                outages.say("the store can't be reached, the work goes on and nothing is written", self._problem)

    def _is_ours(self, content: bytes) -> bool:
        return bool(_holder(content).get("owner") == self._owner["owner"])

    def _content(self) -> bytes:
        return json.dumps(self._owner | {"renewals": self._renewals}).encode()


class _Watched:
    """How long a lease was seen unchanged: time between answers of the store, not the time that it took for them."""

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
"""A lease that was renewed longer ago, by this machine's clock, may be that of an attempt that was killed."""


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, as far as can be seen from here."""

    name: str
    """`process 4711 on this machine`."""
    version: Version
    """Of the lease: while the holder lives, it changes every few seconds."""
    silent_s: float
    """Since it was renewed, by this machine's clock and the store's."""

    def __str__(self) -> str:
        is_silent = self.silent_s > SILENT_S
        doubt = f" (or killed: no sign of life for {self.silent_s / 60:,.0f} min)" if is_silent else ""
        return f"{self.name}{doubt}"


def find(store: ObjectStore, prefix: str) -> Holder | None:
    """Who holds the lease of a place; None if nobody does, or if it was a process of this machine that is gone.

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
    """This process, so that another on the same machine can see whether it still lives."""
    return {
        "host": platform.node(),
        "boot": _first_line("/proc/sys/kernel/random/boot_id"),
        "namespace": os.readlink("/proc/self/ns/pid") if Path("/proc/self/ns/pid").exists() else "",
        "pid": os.getpid(),
        "started": psutil.Process().create_time(),
    }


def _holder(content: bytes) -> dict[str, Any]:
    """Who wrote a lease; {} if it can't be read, so that a damaged one expires like any other."""
    try:
        holder = json.loads(content)
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _name(holder: dict[str, Any]) -> str:
    return f"{holder.get('host', 'an unknown host')}, process {holder.get('pid', 'unknown')}"


def _is_dead(holder: dict[str, Any]) -> bool:
    """True if the holder was a process of this machine, in this process namespace, that is gone."""
    here = _process()
    if any(holder.get(name) != here[name] for name in ("host", "boot", "namespace")):
        return False
    try:
        process = psutil.Process(holder["pid"])
        # The start time tells a recycled pid; it is derived from the wall clock, which may be adjusted by a little.
        recycled = abs(process.create_time() - holder["started"]) > 5
        return recycled or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False  # there is a process; whose, we can't see


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
