"""What the store knows of a task: whether it is done, how far the last attempt is, and how it failed."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import Any

from bertline.errors import ExitCode
from bertline.plurals import counted
from bertline.store import attempts, derivations, realizations
from bertline.store.objects import ObjectStore
from bertline_pipelines.records.submissions import SubmittedTask

THREADS = 16  # manifests and logs are small; a bucket's latency is what counts
RATE_WINDOW = 2  # events: the last two that tell a step

FAMILIES = {
    ExitCode.BUG: "a bug",
    ExitCode.USER_ERROR: "your input",
    ExitCode.DAMAGED: "damaged objects",
    ExitCode.TRANSIENT: "transient",
    ExitCode.PREEMPTED: "preempted",
    ExitCode.INTERRUPTED: "interrupted",
}

Events = list[dict[str, Any]]


@dataclass(frozen=True)
class Failure:
    """How a task's last attempt ended."""

    exit_code: int
    sentence: str
    """With the family."""
    workflow: str | None
    """Argo's, of whose pods it was one; None outside of pods."""

    @property
    def is_final(self) -> bool:
        """True if trying again can't help."""
        return self.exit_code in (ExitCode.USER_ERROR, ExitCode.DAMAGED)


@dataclass(frozen=True)
class History:
    """Of one task."""

    done: int = 0
    """How many of its results are."""
    finished: float | None = None
    """When the last of those was, by its pod's clock."""
    attempts: int = 0
    """At the first result that is missing."""
    began: float | None = None
    """When the last one of these did."""
    failure: Failure | None = None
    """None while it is at work, or if it was killed."""
    step: int | None = None
    steps_per_s: float | None = None

    def is_done(self, task: SubmittedTask) -> bool:
        """Whether all results are there."""
        return self.done == len(task.keys)

    def progress(self, task: SubmittedTask) -> str:
        """`step 23,400 of 100,000, 41.2 steps/s`."""
        if self.step is not None:
            of = f" of {task.end_step:,}" if task.end_step else ""
            return f"step {self.step:,}{of}" + (f", {self.steps_per_s:,.1f} steps/s" if self.steps_per_s else "")
        if self.attempts and len(task.keys) > 1:
            return f"{self.done} of {counted(len(task.keys), 'seed')}"
        return ""


def read(store: ObjectStore, tasks: Iterable[SubmittedTask], known: Mapping[str, History] = {}) -> dict[str, History]:
    """Of all tasks, by name; those that are known to be done aren't asked for again."""
    asked = [task for task in tasks if task.name not in known or not known[task.name].is_done(task)]
    # Threads of this kind don't keep a command from ending that is stopped while the store hangs.
    with ThreadPool(THREADS) as pool:
        found = pool.map(lambda task: _read(store, task), asked, chunksize=1)
    return {**known, **{task.name: history for task, history in zip(asked, found, strict=True)}}


def _read(store: ObjectStore, task: SubmittedTask) -> History:
    made = {key: realizations.find(store, task.stage, key) for key in task.keys}
    missing = [key for key in task.keys if made[key] is None]
    ends = [_moment(each.manifest.provenance.get("finished")) for each in made.values() if each]
    done, finished = len(task.keys) - len(missing), max(filter(None, ends), default=None)
    if not missing or not task.included:
        return History(done, finished)
    logs = list(attempts.read(store, derivations.prefix(task.stage, missing[0])))
    if not logs:
        return History(done, finished)
    step, rate = _pace(logs)
    return History(done, finished, len(logs), logs[-1][0]["time"], _failure(logs[-1]), step, rate)


def _pace(logs: Sequence[Events]) -> tuple[int | None, float | None]:
    """The step that is reached, and steps a second."""
    last = logs[-1]
    steps = [(event["time"], event["step"]) for event in last if "step" in event]
    if not steps:  # this attempt hasn't begun to train; what an earlier one saved isn't lost
        saved = [event["step"] for events in logs for event in events if event["event"] == "checkpoint"]
        return max(saved, default=None), None
    (begun, first), (now, reached) = steps[max(0, len(steps) - RATE_WINDOW)], steps[-1]
    return reached, (reached - first) / (now - begun) if reached > first and now > begun else None


def _failure(events: Events) -> Failure | None:
    end = events[-1]
    if end["event"] not in ("failed", "preempted"):
        return None
    code = int(end.get("exit_code", ExitCode.BUG))
    message = str(end.get("message", "")).strip().splitlines() or ["no message"]
    sentence = message[-1] if code == ExitCode.BUG else message[0]
    family = FAMILIES[ExitCode(code)] if code in set(ExitCode) else "unknown"
    return Failure(code, f"{family} ({code}): {sentence}", events[0].get("workflow"))


def _moment(text: str | None) -> float | None:
    return datetime.datetime.fromisoformat(text).timestamp() if text else None
