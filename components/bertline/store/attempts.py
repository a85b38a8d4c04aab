"""Every attempt at a realization: its events in `attempts/<n>.jsonl`, and what it printed in `attempts/<n>.log`.

Object stores have no append, so the whole log is written again at each event. Events are rare (start, resume,
checkpoint, epoch, preempted, failed, finished), a log stays within kilobytes. They are only told: a thread writes them,
tries again when the store can't be reached, and never holds up or fails the work. So of an attempt that was killed the
last ones may be missing, as of one that ended in an outage.

From the logs the lost work is computed: steps that were done after the last checkpoint of an attempt that didn't
finish. What was printed (see `bertline.store.logs`) is for people only: it is capped, and the end is missing of an
attempt that was killed.

The last event of an attempt that failed for good is also a mark for the pods that Kubeflow starts after it, see
`given_up`.
"""

import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bertline.errors import DamagedError, ExitCode
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore

EVENTS = re.compile(r".*/attempts/(?P<number>\d+)\.jsonl")

POD, RETRY = "KFP_POD_NAME", "KFP_RETRY_INDEX"
"""Set by Kubeflow: WORKFLOW-TEMPLATE-NUMBER, and how often the task was tried before in this workflow."""
POD_NAME = re.compile(r"(?P<workflow>.+?)(-metadata-\d+-\d+)?(-retry)?(-system-container-impl)?-\d+")


AGAIN_S = 5.0
"""Seconds from a write that failed to the next try; a new event doesn't wait for it."""
CLOSE_S = 15.0
"""Seconds that an attempt's end waits for its last events: one try of a hasty store and what is under way."""


class Attempt:
    """One attempt's log. The number is taken create-only, so no two attempts share a log. To be closed."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store = store.hasty()
        self._changed = threading.Condition()
        self._unwritten, self._failed, self._closing = False, False, False
        begun = {"host": platform.node(), "pid": os.getpid()} | ({"workflow": of} if (of := workflow()) else {})
        self._events: list[dict[str, Any]] = [_event("start", begun)]
        self._prefix = prefix
        self.number = 1 + len(numbers(store, prefix))
        while True:
            self._name = f"{prefix}attempts/{self.number:04d}.jsonl"
            try:
                store.create(self._name, self._content())
            except ConflictError:
                self.number += 1
            else:
                break
        self._thread = threading.Thread(target=self._write, name="events", daemon=True)
        self._thread.start()

    def record(self, event: str, **details: Any) -> None:
        """Add an event with the time of now."""
        self._add(_event(event, details))

    def alive(self, **details: Any) -> None:
        """Say how far it is, as the log's last line, which the next one replaces: a killed attempt's loss is known."""
        self._add(_event("alive", details))

    def flush(self) -> None:
        """Return when all events are written, or the store didn't take them, or after `CLOSE_S`."""
        with self._changed:
            self._failed = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._unwritten or self._failed, CLOSE_S)

    def close(self) -> None:
        """The last `flush`; ends the thread."""
        self.flush()
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def keep_output(self, content: bytes) -> None:
        """Save what it has printed so far."""
        self._store.put(_output(self._prefix, self.number), content)

    def _add(self, event: dict[str, Any]) -> None:
        with self._changed:
            if self._events[-1]["event"] == "alive":
                self._events.pop()
            self._events.append(event)
            self._unwritten = True
            self._changed.notify_all()

    def _write(self) -> None:
        """The newest state of the log, whenever there is one; in a thread of its own."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unwritten or self._closing)
                if self._closing:
                    return
                content = self._content()
            try:
                self._store.put(self._name, content)
            except BaseException:  # noqa: BLE001 - whatever it is: work doesn't end because nobody can be told of it
                with self._changed:
                    self._failed = True
                    self._changed.notify_all()
                    self._changed.wait(AGAIN_S)
            else:
                with self._changed:
                    self._unwritten = self._content() != content
                    self._changed.notify_all()

    def _content(self) -> bytes:
        return "".join(json.dumps(event) + "\n" for event in self._events).encode()


@dataclass(frozen=True)
class Failure:
    """How an attempt ended that neither finished nor was told to stop."""

    exit_code: ExitCode
    sentence: str
    """What it said; of a bug the last line of its traceback."""

    @property
    def is_final(self) -> bool:
        """True if trying again can't help."""
        return self.exit_code in (ExitCode.USER_ERROR, ExitCode.DAMAGED)


def failure(events: Sequence[dict[str, Any]]) -> Failure | None:
    """How an attempt failed, from its events; None if it didn't, or was killed before it could say so."""
    end = events[-1]
    if end["event"] != "failed":
        return None
    code = ExitCode(end.get("exit_code", ExitCode.BUG))
    lines = str(end.get("message", "")).strip().splitlines() or ["it said nothing"]
    return Failure(code, lines[-1] if code == ExitCode.BUG else "\n".join(lines))


def workflow() -> str | None:
    """Argo's name of the workflow that this pod belongs to; None outside of Kubeflow's pods."""
    match = POD_NAME.fullmatch(os.environ.get(POD, ""))
    return match["workflow"] if match else None


def given_up(store: ObjectStore, prefix: str) -> Failure | None:
    """Why this pod needn't try, if it is Kubeflow's retry of an attempt that failed for good.

    Kubeflow starts a failed task again whatever its exit code was. It needn't after a user's mistake or damage, nor
    after a bug that has ended two attempts with the same words and without a checkpoint in between. Only attempts of
    this workflow count, and only for its retries: whatever is submitted anew is tried anew.
    """
    here = workflow()
    if here is None or os.environ.get(RETRY, "0") in ("", "0"):
        return None
    try:
        last = [events(store, prefix, number) for number in numbers(store, prefix)[-2:]]
    except DamagedError:
        return None
    ends = [failure(each) if each[0].get("workflow") == here else None for each in last]
    if not ends or ends[-1] is None:
        return None
    again = len(ends) > 1 and ends[0] == ends[1] and not any(each["event"] == "checkpoint" for each in last[-1])
    return ends[-1] if ends[-1].is_final or (again and ends[-1].exit_code == ExitCode.BUG) else None


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
