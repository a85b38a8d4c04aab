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
from collections.abc import Sequence
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
        """Begin one.

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
        """Add an event with the time of now. Raises nothing: see above what becomes of it in an outage."""
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
        """Save what it has printed so far.

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
    """How an attempt ended that didn't finish and could say so."""

    exit_code: int
    """From the one table; a newer bertline may have others."""
    message: str
    """What it said; of a bug the last line of its traceback."""
    is_preempted: bool = False
    """True if it was told to stop."""

    @property
    def sentence(self) -> str:
        """The first line of the message."""
        return self.message.splitlines()[0]

    @property
    def family(self) -> str:
        """Family and exit code, for people: `your input (2)`."""
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
    """An attempt as its events tell of it. Times are seconds since 1970 by the clock of its machine."""

    number: int
    events: tuple[dict[str, Any], ...]
    """One at least; each has `event`, its kind, and `time`."""

    @property
    def host(self) -> str:
        """Where it ran."""
        return str(self.events[0].get("host", "an unknown host"))

    @property
    def workflow(self) -> str | None:
        """Argo's, of whose pods it was one; None outside of pods."""
        name = self.events[0].get("workflow")
        return None if name is None else str(name)

    @property
    def begun(self) -> float:
        """When it began."""
        return float(self.events[0]["time"])

    @property
    def heard(self) -> float:
        """When it said something for the last time."""
        return float(self.events[-1]["time"])

    @property
    def has_finished(self) -> bool:
        """True if its work was done; then only the manifest was left to write."""
        return bool(self.events[-1]["event"] == "finished")

    @property
    def failure(self) -> Failure | None:
        """How it failed or was preempted; None if it did neither, or was killed before it could say so."""
        end = self.events[-1]
        if end["event"] not in ("failed", "preempted"):
            return None
        code = int(end.get("exit_code", ExitCode.BUG))
        lines = str(end.get("message", "")).strip().splitlines() or ["it said nothing"]
        return Failure(code, lines[-1] if code == ExitCode.BUG else "\n".join(lines), end["event"] == "preempted")

    @property
    def saved_at(self) -> tuple[float, ...]:
        """When it saved its checkpoints."""
        return tuple(float(each["time"]) for each in self.events if each["event"] == "checkpoint")

    @property
    def saved_step(self) -> int | None:
        """The last step that is in a checkpoint, of its own or of an earlier attempt; None if it told of none."""
        step = self.highest("step", "checkpoint", "resume")
        return None if step is None else int(step)

    @property
    def step(self) -> int | None:
        """The step it told of last."""
        return next((int(each["step"]) for each in reversed(self.events) if "step" in each), None)

    @property
    def steps_per_s(self) -> float | None:
        """Between the last two events that tell a step; None if these don't tell a pace."""
        told = [(each["time"], each["step"]) for each in self.events if "step" in each][-2:]
        if len(told) < 2:
            return None
        (begun, first), (now, reached) = told
        return float((reached - first) / (now - begun)) if reached > first and now > begun else None

    @property
    def epochs(self) -> frozenset[int]:
        """Epochs of pre-training that it ended."""
        return frozenset(int(each["epoch"]) for each in self.events if "epoch" in each)

    def highest(self, field: str, *kinds: str) -> float | None:
        """The highest value of a field in its events, or in those of these kinds; None if no event has the field."""
        values = (each[field] for each in self.events if field in each and (not kinds or each["event"] in kinds))
        return max(map(float, values), default=None)


def workflow() -> str | None:
    """Argo's name of the workflow that this pod belongs to; None outside of Kubeflow's pods."""
    match = POD_NAME.fullmatch(os.environ.get(POD, ""))
    return match["workflow"] if match else None


def for_good(attempts: Sequence[RecordedAttempt]) -> Failure | None:
    """How the last of these attempts failed, if trying again in its run can't help.

    It can't after a user's mistake or damage, nor after a bug that has ended two attempts of one workflow with the same
    words and without a checkpoint in between.
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
    """Why this pod needn't try, if it is Kubeflow's retry of an attempt that failed for good.

    Kubeflow starts a failed task again whatever its exit code was. Only attempts of this workflow count, and only for
    its retries: whatever is submitted anew is tried anew.

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
    """Of all attempts, in their order.

    Raises:
        OutageError: the store can't be reached.
    """
    matches = (EVENTS.fullmatch(found.name) for found in store.list(f"{prefix}attempts/"))
    return sorted(int(match["number"]) for match in matches if match)


def read(store: ObjectStore, prefix: str) -> tuple[RecordedAttempt, ...]:
    """All attempts, in their order; raises as `read_one` does."""
    return tuple(read_one(store, prefix, number) for number in numbers(store, prefix))


def read_one(store: ObjectStore, prefix: str, number: int) -> RecordedAttempt:
    """One attempt.

    Raises:
        NotFoundError: there is no attempt of that number.
        DamagedError: that isn't a log; names the object.
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
    """What an attempt printed, as far as it was kept; None if nothing was.

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
