"""Every attempt at a realization: its events in `attempts/<n>.jsonl`, and what it printed in `attempts/<n>.log`.

Object stores have no append, so the whole log is written again at each event. Events are rare (start, resume,
checkpoint, epoch, preempted, failed, finished), a log stays within kilobytes. From the logs the lost work is computed:
steps that were done after the last checkpoint of an attempt that didn't finish. What was printed (see
`bertline.outputs`) is for people only: it is capped, and of a killed attempt its end is missing.
"""

import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from bertline.errors import DamagedError
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore

EVENTS = re.compile(r".*/attempts/(?P<number>\d+)\.jsonl")


class Attempt:
    """One attempt's log. The number is taken create-only, so no two attempts share a log."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = [_event("start", {"host": platform.node(), "pid": os.getpid()})]
        self._prefix = prefix
        self.number = 1 + len(numbers(store, prefix))
        while True:
            self._name = f"{prefix}attempts/{self.number:04d}.jsonl"
            try:
                store.create(self._name, self._content())
            except ConflictError:
                self.number += 1
            else:
                return

    def record(self, event: str, **details: Any) -> None:
        """Add an event with the time of now."""
        with self._lock:
            self._drop_alive()
            self._events.append(_event(event, details))
            self._store.put(self._name, self._content())

    def alive(self, **details: Any) -> None:
        """Say how far it is, as the log's last line, which the next one replaces: a killed attempt's loss is known."""
        with self._lock:
            self._drop_alive()
            self._events.append(_event("alive", details))
            self._store.put(self._name, self._content())

    def keep_output(self, content: bytes) -> None:
        """Save what it has printed so far."""
        self._store.put(_output(self._prefix, self.number), content)

    def _drop_alive(self) -> None:
        if self._events[-1]["event"] == "alive":
            self._events.pop()

    def _content(self) -> bytes:
        return "".join(json.dumps(event) + "\n" for event in self._events).encode()


def numbers(store: ObjectStore, prefix: str) -> list[int]:
    """Of all attempts, in their order."""
    matches = (EVENTS.fullmatch(found.name) for found in store.list(f"{prefix}attempts/"))
    return sorted(int(match["number"]) for match in matches if match)


def read(store: ObjectStore, prefix: str) -> Iterator[list[dict[str, Any]]]:
    """The events of each attempt, in the order of attempts."""
    for number in numbers(store, prefix):
        yield events(store, prefix, number)


def events(store: ObjectStore, prefix: str, number: int) -> list[dict[str, Any]]:
    """The events of one attempt."""
    name = f"{prefix}attempts/{number:04d}.jsonl"
    try:
        return [json.loads(line) for line in store.get(name)[0].splitlines()]
    except ValueError as error:
        raise DamagedError(f"{store.uri}/{name} is damaged: {error}") from error


def output(store: ObjectStore, prefix: str, number: int) -> str | None:
    """What an attempt printed, as far as it was kept; None if nothing was."""
    try:
        return store.get(_output(prefix, number))[0].decode("utf-8", "replace")
    except NotFoundError:
        return None


def _output(prefix: str, number: int) -> str:
    return f"{prefix}attempts/{number:04d}.log"


def _event(event: str, details: dict[str, Any]) -> dict[str, Any]:
    return {"event": event, "time": time.time(), **details}
