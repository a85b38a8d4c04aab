"""One writer a realization: a lease object, made create-only, renewed by a thread, taken over when it stops changing.

Whether a lease is alive is judged by *watching it*, never by comparing clocks: a holder rewrites it every `RENEW_S`;
whoever wants it and sees the same version for `EXPIRE_S` of its own monotonic time may replace it, on the condition
that it still is that version. So a clock that is wrong by hours does no harm. A holder on the same machine whose
process is gone is replaced at once: that is the common case of a killed `bertline run`.

A lease can be lost only by a process that was frozen or cut off for longer than `EXPIRE_S`. It is told at its next
`check`, which precedes every upload and commit. What it could still do is to finish an upload it was frozen in, over a
file of its successor; where a stage isn't deterministic, readers then find a checksum that isn't the manifest's.
"""

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bertline.errors import BertlineError, TransientError
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore, Version

NAME = "lease.json"
RENEW_S = 15.0
EXPIRE_S = 60.0  # four missed renewals
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
        self._store, self._name = store, f"{prefix}{NAME}"
        self._renew_s, self._expire_s = renew_s, expire_s
        self._give_up, self._notify = give_up, notify
        self._owner = _process() | {"owner": uuid.uuid4().hex}
        self._renewals = 0
        self._renewed = 0.0
        self._version: Version | None = None
        self._lost: str | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_stop, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._version = self._acquire()
        if self._version is not None:
            self._renewed = time.monotonic()
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._version is None:
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
        """Raise TransientError if somebody else took the lease (this process was frozen for long)."""
        if self._lost is None and time.monotonic() - self._renewed > self._expire_s:
            self._renew()  # another may have it by now: don't wait for the thread's next turn
        if self._lost is not None:
            raise TransientError(self._lost)

    def _acquire(self) -> Version | None:
        seen: Version | None = None
        since = time.monotonic()
        while True:
            try:
                content, version = self._store.get(self._name)
            except NotFoundError:
                try:
                    return self._store.create(self._name, self._content())
                except ConflictError:
                    continue  # somebody was faster
            if self._is_ours(content):
                return version  # the answer to our own write was lost
            holder = _holder(content)
            if version != seen:
                if seen is None and not _is_dead(holder):
                    self._notify(f"another attempt is at work ({_name(holder)}); waiting for it")
                seen, since = version, time.monotonic()
            if _is_dead(holder) or time.monotonic() - since > self._expire_s:
                try:
                    taken = self._store.replace(self._name, self._content(), version)
                except ConflictError:
                    continue
                self._notify(f"the attempt of {_name(holder)} is gone; taking over")
                return taken
            if self._give_up():
                return None
            time.sleep(min(POLL_S, self._expire_s / 4))

    def _renew_until_stop(self) -> None:
        while self._lost is None and not self._stop.wait(self._renew_s):
            self._renew()

    def _renew(self) -> None:
        with self._lock:
            assert self._version is not None
            self._renewals += 1
            # Any failure but a rival is passed over: the network may be back at the next renewal.
            with contextlib.suppress(Exception):
                try:
                    self._version = self._store.replace(self._name, self._content(), self._version)
                    self._renewed = time.monotonic()
                except ConflictError:
                    self._look_again()

    def _look_again(self) -> None:
        """After a refused renewal: an earlier one may have arrived without our learning of it."""
        try:
            content, version = self._store.get(self._name)
        except NotFoundError:
            content, version = b"{}", ""
        if self._is_ours(content):
            self._version, self._renewed = version, time.monotonic()
        else:
            self._lost = (
                f"the lease {self._store.uri}/{self._name} was taken over by another attempt "
                f"({_name(_holder(content))}), because this one showed no sign of life; it goes on there"
            )

    def _is_ours(self, content: bytes) -> bool:
        return bool(_holder(content).get("owner") == self._owner["owner"])

    def _content(self) -> bytes:
        return json.dumps(self._owner | {"renewals": self._renewals}).encode()


def is_left(content: bytes) -> bool:
    """True if a lease's holder is known to be gone: it was a process of this machine, and there is no such process."""
    return _is_dead(_holder(content))


def whose(content: bytes) -> str:
    """A lease's holder, for people: `process 4711 on this machine`."""
    holder, here = _holder(content), _process()
    is_here = all(holder.get(name) == here[name] for name in ("host", "boot"))
    return f"process {holder.get('pid', 'unknown')} on {'this machine' if is_here else holder.get('host', '?')}"


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
