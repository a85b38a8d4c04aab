"""What the store knows of tasks: which results are done, how far the last attempt is, and how it failed."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from bertline.plurals import counted
from bertline.process import parallel
from bertline.store import histories, realizations
from bertline.store.histories import History, State
from bertline.store.objects import ObjectStore
from bertline_pipelines.records.submissions import AnyTask


@dataclass(frozen=True)
class TaskHistory:
    """Of one task."""

    results: tuple[History, ...] = ()
    """In the order in which the task makes them."""

    @property
    def done(self) -> int:
        """How many results are."""
        return sum(result.state == State.DONE for result in self.results)

    @property
    def is_done(self) -> bool:
        """True if all results are."""
        return bool(self.results) and self.done == len(self.results)

    @property
    def current(self) -> History:
        """The first result that isn't done; the last one, if all are."""
        missing = (result for result in self.results if result.state != State.DONE)
        return next(missing, self.results[-1] if self.results else History())

    @property
    def state(self) -> State:
        """How the task stands, as far as the store tells."""
        return self.current.state

    @property
    def attempts(self) -> int:
        """At the result that was tried most often."""
        return max((result.count for result in self.results), default=0)

    @property
    def finished(self) -> float | None:
        """When the last result that is done was, in seconds since 1970 by its pod's clock."""
        return max((result.finished for result in self.results if result.finished), default=None)

    def progress(self, end_step: int) -> str:
        """`step 23,400 of 100,000, 41.2 steps/s`, or `2 of 3 seeds`; empty if nothing tells."""
        now = self.current
        if now.step is not None:
            pace = f", {now.steps_per_s:,.1f} steps/s" if now.steps_per_s else ""
            return f"step {now.step:,}{f' of {end_step:,}' if end_step else ''}{pace}"
        if now.attempts and len(self.results) > 1:
            return f"{self.done} of {counted(len(self.results), 'seed')}"
        return ""


def read(
    store: ObjectStore,
    tasks: Iterable[AnyTask],
    known: Mapping[str, TaskHistory] = {},
    *,
    later: Collection[str] = (),
) -> dict[str, TaskHistory]:
    """Of all tasks, by name.

    Args:
        store: Where.
        tasks: Of an experiment.
        known: From an earlier look; what is done isn't asked for again.
        later: Names of tasks of which it only matters whether they are done.

    Raises:
        DamagedError: a manifest or the log of an attempt can't be read; names the object.
        OutageError: the store can't be reached.
    """
    asked = [task for task in tasks if task.name not in known or not known[task.name].is_done]
    found = parallel.each(lambda task: _read(store, task, task.name not in later), asked)
    return {**known, **{task.name: history for task, history in zip(asked, found, strict=True)}}


def _read(store: ObjectStore, task: AnyTask, is_current: bool) -> TaskHistory:
    """Its results are made one after the other, so only the first that is missing can have begun."""
    results: list[History] = []
    for key in task.keys:
        found = realizations.find(store, task.stage, key)
        is_next = is_current and found is None and all(result.realization for result in results)
        results.append(histories.unfinished(store, task.stage, key) if is_next else History(found))
    return TaskHistory(tuple(results))
