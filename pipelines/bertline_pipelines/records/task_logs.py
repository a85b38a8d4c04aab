"""What the tasks of an experiment have printed, as the store keeps it: wherever they ran, also when pods are gone."""

import datetime
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from bertline.errors import UserError
from bertline.experiment import graphs
from bertline.experiment.graphs import Node, Task
from bertline.store import attempts, derivations, leases, realizations, references
from bertline.store.derivations import Key
from bertline.store.objects import NotFoundError, ObjectStore, Version
from bertline_pipelines.records import submissions
from bertline_pipelines.records.submissions import Submission, SubmittedTask

THREADS = 16  # manifests and logs are small; a bucket's latency is what counts

Events = list[dict[str, Any]]


@dataclass(frozen=True)
class State:
    """How a task stands, as far as the store tells."""

    phase: str
    """done, running, failed (or preempted, or killed) or waiting (it hasn't begun)."""
    reason: str = ""
    attempts: int = 0


@dataclass(frozen=True)
class Transcript:
    """One attempt at one of a task's results."""

    title: str
    """Which attempt it is, where it ran and how it ended."""
    lines: tuple[str, ...]


def find(store: ObjectStore, experiment: str) -> tuple[tuple[Task, ...], Submission | None]:
    """The tasks of an experiment's last run, and what was submitted if that ran on a cluster.

    Args:
        store: Where.
        experiment: Its name, or the id of a run.

    Raises:
        UserError: there is no such experiment; names those there are.
    """
    try:
        submission = submissions.find(store, experiment)
    except UserError:
        reference = references.current(store, experiment)
        return graphs.read(store, reference).tasks(), None
    reference = references.current(store, submission.experiment)
    record = store.stat(submission.object_name)
    # Both times are the store's: the two may have been written by machines whose clocks differ.
    is_older = reference.submitted[0] > (record.modified if record else 0.0) and reference.digest != submission.graph
    if experiment == submission.experiment and is_older:  # another version went through `bertline run` since
        return graphs.read(store, reference).tasks(), None
    return tuple(map(_task, submission.tasks)), submission


def states(store: ObjectStore, tasks: tuple[Task, ...]) -> dict[str, State]:
    """How each of them stands, by name."""
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip([task.name for task in tasks], pool.map(lambda task: state(store, task), tasks), strict=True))


def state(store: ObjectStore, task: Task) -> State:
    """How one stands."""
    counts = {key: len(attempts.numbers(store, _place(task, key))) for key in task.keys}
    total = sum(counts.values())
    missing = [key for key in task.keys if realizations.find(store, task.stage, key) is None]
    if not missing:
        return State("done", attempts=total)
    begun = [key for key in missing if counts[key]]
    if not begun:
        return State("waiting", "it hasn't begun", total)
    place = _place(task, begun[0])
    end = attempts.events(store, place, max(attempts.numbers(store, place)))[-1]
    if end["event"] in ("failed", "preempted"):
        return State("failed", ending(end), total)
    if _lease(store, task, begun[0]) is None:
        return State("failed", "killed: its attempt has no end, and nobody is at work", total)
    return State("running", "", total)


def read(store: ObjectStore, task: Task, attempt: int | None = None) -> Iterator[Transcript]:
    """What was printed for each of a task's results, by the last attempt or the one of that number.

    Raises:
        UserError: there is no attempt of that number.
    """
    known = {key: attempts.numbers(store, _place(task, key)) for key in task.keys}
    if attempt is not None and not any(attempt in numbers for numbers in known.values()):
        last = max((number for numbers in known.values() for number in numbers), default=None)
        raise UserError(
            f"task {task.name} has no attempt {attempt}: " + (f"the last is {last}" if last else "there is none yet")
        )
    for number, (key, numbers) in enumerate(known.items(), start=1):
        if not numbers or attempt not in (None, *numbers):
            continue
        chosen = attempt or numbers[-1]
        events = attempts.events(store, _place(task, key), chosen)
        output = attempts.output(store, _place(task, key), chosen)
        which = f"result {number} of {len(known)}, " if len(known) > 1 else ""
        title = f"{task.name}, {which}attempt {chosen} of {numbers[-1]} on {events[0].get('host', 'an unknown host')}"
        title += f", {_time(events[0]['time'])}: {ending(events[-1])}"
        if output is None:
            title += "; what it printed wasn't kept, these are its events"
        yield Transcript(title, tuple(_events(events) if output is None else output.splitlines()))


def ending(event: dict[str, Any]) -> str:
    """How an attempt ended, from its last event."""
    kind = event["event"]
    if kind not in ("finished", "failed", "preempted"):
        return "still at work, or killed"
    code = f" (exit code {event['exit_code']})" if "exit_code" in event else ""
    message = str(event.get("message", "")).strip().splitlines()
    said = (message[-1] if message[0].startswith("Traceback") else message[0]) if message else ""
    return f"{kind}{code}{f': {said}' if said else ''}"


@dataclass
class Tail:
    """Reads on where it left off, for following a task by what the store keeps of it."""

    store: ObjectStore
    task: Task
    _shown: dict[Key, tuple[int, str]] = field(default_factory=dict)
    _watched: dict[Key, tuple[Version, float]] = field(default_factory=dict)

    def new(self) -> Iterator[Transcript]:
        """What was printed since the last time; its title is empty if that belongs to the attempt shown last."""
        for key in self.task.keys:
            numbers = attempts.numbers(self.store, _place(self.task, key))
            if not numbers:
                continue
            number, shown = self._shown.get(key, (0, ""))
            output = attempts.output(self.store, _place(self.task, key), numbers[-1])
            if output is None or (number, shown) == (numbers[-1], output):
                continue
            if number == numbers[-1]:
                new = output[len(shown) :] if output.startswith(shown) else output
                yield Transcript("", tuple(new.splitlines()))
            else:
                host = attempts.events(self.store, _place(self.task, key), numbers[-1])[0].get("host", "?")
                yield Transcript(f"{self.task.name}, attempt {numbers[-1]} on {host}", tuple(output.splitlines()))
            self._shown[key] = numbers[-1], output

    def interrupted(self) -> None:
        """The store couldn't be asked: who is at work couldn't renew a lease either, so watching begins anew."""
        self._watched = {}

    def is_dead(self) -> bool:
        """True if nobody can be at work: every lease there is hasn't changed for longer than it may."""
        held = {key: _lease(self.store, self.task, key) for key in self.task.keys}
        now = time.monotonic()
        self._watched = {
            key: seen if (seen := self._watched.get(key, (version, now)))[0] == version else (version, now)
            for key, version in held.items()
            if version is not None
        }
        return all(now - since > leases.EXPIRE_S for _, since in self._watched.values())


def _lease(store: ObjectStore, task: Task, key: Key) -> Version | None:
    """The state of the lease, None if nobody holds one."""
    try:
        content, version = store.get(f"{_place(task, key)}{leases.NAME}")
    except NotFoundError:
        return None
    return None if leases.is_left(content) else version


def _task(submitted: SubmittedTask) -> Task:
    """A record has also the tasks that the graph lacks: parts of the corpus."""
    shared = {"stage": submitted.stage, "task": submitted.name, "needs": submitted.after}
    return Task(
        tuple(Node(key=key, run=submitted.run, epoch=submitted.epoch, **shared) for key in submitted.keys),
    )


def _events(events: Events) -> Iterator[str]:
    for event in events:
        details = {name: value for name, value in event.items() if name not in ("event", "time", "message")}
        told = "  ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in details.items())
        yield f"{_time(event['time'])}  {event['event']:10}  {told}".rstrip()
        for line in str(event.get("message", "")).splitlines():
            yield f"    {line}"


def _place(task: Task, key: Key) -> str:
    return derivations.prefix(task.stage, key)


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
