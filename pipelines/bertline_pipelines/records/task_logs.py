"""The saved output of an experiment's tasks, on any machine, also of deleted pods."""

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
    """The output of one attempt."""

    title: str
    """Number, machine and end of the attempt."""
    lines: tuple[str, ...]


def find(store: ObjectStore, experiment: str) -> tuple[tuple[AnyTask, ...], Submission | None]:
    """The tasks of an experiment's last run, and its submission if it ran on a cluster.

    Args:
        store: The store.
        experiment: Name of the experiment, or id of a run.

    Raises:
        UserError: there is no such experiment; names the existing ones.
    """
    try:
        submission = submissions.find(store, experiment)
    except UserError:
        reference = references.current(store, experiment)
        return graphs.read(store, reference).tasks(), None
    reference = references.current(store, submission.experiment)
    record = store.stat(submission.object_name)
    # Both times are from the store's clock, because machines' clocks may differ.
    is_older = reference.submitted[0] > (record.modified if record else 0.0) and reference.digest != submission.graph
    if experiment == submission.experiment and is_older:  # `bertline run` ran another version later
        return graphs.read(store, reference).tasks(), None
    return submission.tasks, submission


def read(store: ObjectStore, task: AnyTask, attempt: int | None = None) -> Iterator[Transcript]:
    """The output for each of a task's results, from the last attempt or attempt `attempt`.

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
            f"task {task.name} has no attempt {attempt}: " + (f"the last is {last}" if last else "it has none yet")
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
            title += "; its output wasn't saved, these are its events"
        yield Transcript(title, tuple(_events(chosen) if output is None else output.splitlines()))


@dataclass
class Tail:
    """Follows a task's saved output; each read continues after the last one."""

    store: ObjectStore
    task: AnyTask
    _shown: dict[Key, tuple[int, str]] = field(default_factory=dict)
    _watched: dict[Key, tuple[Version, float]] = field(default_factory=dict)

    def new(self) -> Iterator[Transcript]:
        """The output since the last read; its title is empty if it belongs to the same attempt.

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
        """Restart watching leases after an outage, in which holders couldn't renew them."""
        self._watched = {}

    def is_dead(self) -> bool:
        """True if no process can be at work: all leases have expired.

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
