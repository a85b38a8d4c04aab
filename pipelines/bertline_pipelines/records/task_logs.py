"""What the tasks of an experiment have printed, as the store keeps it: wherever they ran, also when pods are gone."""

import datetime
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bertline.errors import UserError
from bertline.experiment import graphs
from bertline.store import attempts, derivations, histories, leases, references
from bertline.store.attempts import RecordedAttempt
from bertline.store.derivations import Key
from bertline.store.objects import ObjectStore, Version
from bertline_pipelines.records import submissions
from bertline_pipelines.records.submissions import AnyTask, Submission


@dataclass(frozen=True)
class Transcript:
    """One attempt at one of a task's results."""

    title: str
    """Which attempt it is, where it ran and how it ended."""
    lines: tuple[str, ...]


def find(store: ObjectStore, experiment: str) -> tuple[tuple[AnyTask, ...], Submission | None]:
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
    return submission.tasks, submission


def read(store: ObjectStore, task: AnyTask, attempt: int | None = None) -> Iterator[Transcript]:
    """What was printed for each of a task's results, by the last attempt or the one of that number.

    Raises:
        UserError: there is no attempt of that number.
        DamagedError: the log of an attempt can't be read; names the object.
        OutageError: the store can't be reached.
    """
    known = [histories.read(store, task.stage, key, with_attempts=True) for key in task.keys]
    numbers = [each.number for history in known for each in history.attempts]
    if attempt not in (None, *numbers):
        last = max(numbers, default=None)
        raise UserError(
            f"task {task.name} has no attempt {attempt}: " + (f"the last is {last}" if last else "there is none yet")
        )
    for index, (key, history) in enumerate(zip(task.keys, known, strict=True), start=1):
        chosen = next((each for each in reversed(history.attempts) if attempt in (None, each.number)), None)
        if chosen is None:
            continue
        output = attempts.output(store, _place(task, key), chosen.number)
        which = f"result {index} of {len(known)}, " if len(known) > 1 else ""
        title = f"{task.name}, {which}attempt {chosen.number} of {history.attempts[-1].number} on {chosen.host}"
        title += f", {_time(chosen.begun)}: {history.ending(chosen)}"
        if output is None:
            title += "; what it printed wasn't kept, these are its events"
        yield Transcript(title, tuple(_events(chosen) if output is None else output.splitlines()))


@dataclass
class Tail:
    """Reads on where it left off, for following a task by what the store keeps of it."""

    store: ObjectStore
    task: AnyTask
    _shown: dict[Key, tuple[int, str]] = field(default_factory=dict)
    _watched: dict[Key, tuple[Version, float]] = field(default_factory=dict)

    def new(self) -> Iterator[Transcript]:
        """What was printed since the last time; its title is empty if that belongs to the attempt shown last.

        Raises:
            OutageError: the store can't be reached.
        """
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
                host = attempts.read_one(self.store, _place(self.task, key), numbers[-1]).host
                yield Transcript(f"{self.task.name}, attempt {numbers[-1]} on {host}", tuple(output.splitlines()))
            self._shown[key] = numbers[-1], output

    def interrupted(self) -> None:
        """The store couldn't be asked: who is at work couldn't renew a lease either, so watching begins anew."""
        self._watched = {}

    def is_dead(self) -> bool:
        """True if nobody can be at work: every lease there is hasn't changed for longer than it may.

        Raises:
            OutageError: the store can't be reached.
        """
        held = {key: leases.find(self.store, _place(self.task, key)) for key in self.task.keys}
        now = time.monotonic()
        versions = {key: holder.version for key, holder in held.items() if holder}
        self._watched = {
            key: seen if (seen := self._watched.get(key, (version, now)))[0] == version else (version, now)
            for key, version in versions.items()
        }
        return all(now - since > leases.EXPIRE_S for _, since in self._watched.values())


def _events(attempt: RecordedAttempt) -> Iterator[str]:
    for event in attempt.events:
        details = {name: value for name, value in event.items() if name not in ("event", "time", "message")}
        told = "  ".join(f"{name} {json.dumps(value, ensure_ascii=False)}" for name, value in details.items())
        yield f"{_time(event['time'])}  {event['event']:10}  {told}".rstrip()
        for line in str(event.get("message", "")).splitlines():
            yield f"    {line}"


def _place(task: AnyTask, key: Key) -> str:
    return derivations.prefix(task.stage, key)


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
