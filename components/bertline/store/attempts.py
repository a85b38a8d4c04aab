"""The attempts at a realization: events in `attempts/<n>.jsonl`, output in `attempts/<n>.log`.

Object stores have no append, so the whole log is written again at each event. Events are rare (start, resume,
checkpoint, epoch, preempted, failed, finished), so a log has only kilobytes. A thread writes them and tries again if
the store can't be reached; it never delays or fails the work. The last events of an attempt that was killed, or that
ended during an outage, may be missing.

Lost work is computed from the logs: the steps after the last checkpoint of an attempt that didn't finish. The output
(see `bertline.store.logs`) is only for people: its size is limited, and the end is missing if the attempt was killed.

The last event of a permanent failure also tells the pods that Kubeflow starts afterwards to give up, see `given_up`.
"""

import json
import os
import platform
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bertline.errors import DamagedError, ExitCode
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore

EVENTS = re.compile(r".*/attempts/(?P<number>\d+)\.jsonl")

POD, RETRY = "KFP_POD_NAME", "KFP_RETRY_INDEX"
"""Set by Kubeflow: WORKFLOW-TEMPLATE-NUMBER, and the number of earlier tries in this workflow."""
POD_NAME = re.compile(r"(?P<workflow>.+?)(-metadata-\d+-\d+)?(-retry)?(-system-container-impl)?-\d+")


AGAIN_S = 5.0
"""Seconds from a failed write to the next try; a new event is written at once."""
CLOSE_S = 15.0
"""Seconds that the end of an attempt waits until its last events are written."""


class Attempt:
    """One attempt's log. Its number is taken create-only, so two attempts never share one. Must be closed."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        """Begin an attempt.

        Raises:
            OutageError: the store can't be reached.
        """
        self._store = store.hasty()
        self._changed = threading.Condition()
        self._unwritten, self._failed, self._closing = False, False, False
        begun = {"host": platform.node(), "pid": os.getpid()} | ({"workflow": of} if (of := workflow()) else {})
        self._events: list[dict[str, Any]] = [_event("start", begun)]
        self._prefix = prefix
        self.number = 1 + len(numbers(store, prefix))
        while True:
            self._name = _name(prefix, self.number)
            try:
                store.create(self._name, self._content())
            except ConflictError:
                self.number += 1
            else:
                break
        self._thread = threading.Thread(target=self._write, name="events", daemon=True)
        self._thread.start()

    def record(self, event: str, **details: Any) -> None:
        """Add an event with the current time. It never raises; in an outage the event is written later."""
        self._add(_event(event, details))

    def alive(self, **details: Any) -> None:
        """Write the current step as the log's last line, which the next call replaces, so that lost work is known."""
        self._add(_event("alive", details))

    def flush(self) -> None:
        """Wait until all events are written or a write has failed, `CLOSE_S` at most."""
        with self._changed:
            self._failed = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._unwritten or self._failed, CLOSE_S)

    def close(self) -> None:
        """`flush`, and end the thread."""
        self.flush()
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def keep_output(self, content: bytes) -> None:
        """Save the output so far.

        Raises:
            OutageError: the store can't be reached.
        """
        self._store.put(_output(self._prefix, self.number), content)

    def _add(self, event: dict[str, Any]) -> None:
        with self._changed:
            if self._events[-1]["event"] == "alive":
                self._events.pop()
            self._events.append(event)
            self._unwritten = True
            self._changed.notify_all()

    def _write(self) -> None:
        """Write each new state of the log; runs in a thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unwritten or self._closing)
                if self._closing:
                    return
                content = self._content()
            try:
                self._store.put(self._name, content)
            except BaseException:  # noqa: BLE001 - no error of the log may end the work
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


FAMILIES = {
    ExitCode.BUG: "a bug",
    ExitCode.USER_ERROR: "your input",
    ExitCode.DAMAGED: "damaged objects",
    ExitCode.TRANSIENT: "transient",
    ExitCode.PREEMPTED: "preempted",
    ExitCode.INTERRUPTED: "interrupted",
}


@dataclass(frozen=True)
class Failure:
    """How an attempt failed or was preempted."""

    exit_code: int
    """See `ExitCode`; a newer version of bertline may have other codes."""
    message: str
    """The error message; for a bug the last line of the traceback."""
    is_preempted: bool = False
    """True if it was stopped by a signal."""

    @property
    def sentence(self) -> str:
        """The first line of the message."""
        return self.message.splitlines()[0]

    @property
    def family(self) -> str:
        """Kind of failure and exit code: `your input (2)`."""
        known = self.exit_code in set(ExitCode)
        return f"{FAMILIES[ExitCode(self.exit_code)] if known else 'unknown'} ({self.exit_code})"

    @property
    def is_final(self) -> bool:
        """True if trying again can't help."""
        return self.exit_code in (ExitCode.USER_ERROR, ExitCode.DAMAGED)

    def __str__(self) -> str:
        return f"{'preempted' if self.is_preempted else 'failed'} (exit code {self.exit_code}): {self.sentence}"


@dataclass(frozen=True)
class RecordedAttempt:
    """An attempt, read from its events. Times are seconds since 1970 by its machine's clock."""

    number: int
    events: tuple[dict[str, Any], ...]
    """At least one; each has `event` (its kind) and `time`."""

    @property
    def host(self) -> str:
        """The machine that it ran on."""
        return str(self.events[0].get("host", "an unknown host"))

    @property
    def workflow(self) -> str | None:
        """Argo's name of the workflow of its pod; None outside of pods."""
        name = self.events[0].get("workflow")
        return None if name is None else str(name)

    @property
    def begun(self) -> float:
        """When it began."""
        return float(self.events[0]["time"])

    @property
    def heard(self) -> float:
        """Time of its last event."""
        return float(self.events[-1]["time"])

    @property
    def has_finished(self) -> bool:
        """True if its work was done; only the manifest may be missing."""
        return bool(self.events[-1]["event"] == "finished")

    @property
    def failure(self) -> Failure | None:
        """How it failed or was preempted; None if it did neither or was killed."""
        end = self.events[-1]
        if end["event"] not in ("failed", "preempted"):
            return None
        code = int(end.get("exit_code", ExitCode.BUG))
        lines = str(end.get("message", "")).strip().splitlines() or ["it gave no reason"]
        return Failure(code, lines[-1] if code == ExitCode.BUG else "\n".join(lines), end["event"] == "preempted")

    @property
    def saved_at(self) -> tuple[float, ...]:
        """Times of its checkpoints."""
        return tuple(float(each["time"]) for each in self.events if each["event"] == "checkpoint")

    @property
    def saved_step(self) -> int | None:
        """The last step in a checkpoint, its own or an earlier attempt's; None means not known."""
        step = self.highest("step", "checkpoint", "resume")
        return None if step is None else int(step)

    @property
    def step(self) -> int | None:
        """The step of its last event; None means not known."""
        return next((int(each["step"]) for each in reversed(self.events) if "step" in each), None)

    @property
    def steps_per_s(self) -> float | None:
        """Steps a second between the last two events with a step; None means not known."""
        told = [(each["time"], each["step"]) for each in self.events if "step" in each][-2:]
        if len(told) < 2:
            return None
        (begun, first), (now, reached) = told
        return float((reached - first) / (now - begun)) if reached > first and now > begun else None

    @property
    def epochs(self) -> frozenset[int]:
        """Epochs of pre-training that it completed."""
        return frozenset(int(each["epoch"]) for each in self.events if "epoch" in each)

    def highest(self, field: str, *kinds: str) -> float | None:
        """The highest value of a field in its events, or in events of these kinds; None if no event has the field."""
        values = (each[field] for each in self.events if field in each and (not kinds or each["event"] in kinds))
        return max(map(float, values), default=None)


def workflow() -> str | None:
    """Argo's name of the workflow that this pod belongs to; None outside of Kubeflow's pods."""
    match = POD_NAME.fullmatch(os.environ.get(POD, ""))
    return match["workflow"] if match else None


def for_good(attempts: Sequence[RecordedAttempt]) -> Failure | None:
    """How the last attempt failed, if the failure is permanent; else None.

    Permanent are a user's mistake, damage, and a bug that ended two attempts of a workflow with the same message and
    without a checkpoint between them.
    """
    failure = attempts[-1].failure if attempts else None
    if failure is None or failure.is_preempted:
        return None
    if failure.is_final:
        return failure
    if failure.exit_code != ExitCode.BUG or len(attempts) < 2:
        return None
    before, last = attempts[-2:]
    is_same = before.failure == failure and before.workflow == last.workflow is not None
    return failure if is_same and not last.saved_at else None


def given_up(store: ObjectStore, prefix: str) -> Failure | None:
    """The permanent failure of an earlier attempt, if this pod is a retry by Kubeflow; else None.

    Kubeflow retries a failed task after every exit code. Only attempts of the same workflow count: a new submission
    tries again.

    Raises:
        OutageError: the store can't be reached.
    """
    here = workflow()
    if here is None or os.environ.get(RETRY, "0") in ("", "0"):
        return None
    try:
        last = [read_one(store, prefix, number) for number in numbers(store, prefix)[-2:]]
    except DamagedError:
        return None
    return for_good(last) if last and last[-1].workflow == here else None


def numbers(store: ObjectStore, prefix: str) -> list[int]:
    """The numbers of all attempts, in order.

    Raises:
        OutageError: the store can't be reached.
    """
    matches = (EVENTS.fullmatch(found.name) for found in store.list(f"{prefix}attempts/"))
    return sorted(int(match["number"]) for match in matches if match)


def read(store: ObjectStore, prefix: str) -> tuple[RecordedAttempt, ...]:
    """All attempts, in order; raises the errors of `read_one`."""
    return tuple(read_one(store, prefix, number) for number in numbers(store, prefix))


def read_one(store: ObjectStore, prefix: str, number: int) -> RecordedAttempt:
    """One attempt.

    Raises:
        NotFoundError: there is no attempt of that number.
        DamagedError: the log can't be read; names the object.
        OutageError: the store can't be reached.
    """
    name = _name(prefix, number)
    content, _ = store.get(name)
    try:
        events = tuple(json.loads(line) for line in content.splitlines())
    except ValueError as error:
        raise DamagedError(f"{store.uri}/{name} is damaged: {error}; delete it, no result needs it") from error
    if not events or not all(_is_event(each) for each in events):
        raise DamagedError(
            f"{store.uri}/{name} is damaged: each of its lines should be an event with a time; delete it, no result "
            "needs it"
        )
    return RecordedAttempt(number, events)


def _is_event(told: Any) -> bool:
    return isinstance(told, dict) and "event" in told and isinstance(told.get("time"), int | float)


def output(store: ObjectStore, prefix: str, number: int) -> str | None:
    """The saved output of an attempt; None if there is none.

    Raises:
        OutageError: the store can't be reached.
    """
    try:
        return store.get(_output(prefix, number))[0].decode("utf-8", "replace")
    except NotFoundError:
        return None


def _name(prefix: str, number: int) -> str:
    return f"{prefix}attempts/{number:04d}.jsonl"


def _output(prefix: str, number: int) -> str:
    return f"{prefix}attempts/{number:04d}.log"


def _event(event: str, details: dict[str, Any]) -> dict[str, Any]:
    return {"event": event, "time": time.time(), **details}
