"""The histories of tasks in the store: finished results, progress and failure of the last attempt."""

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
    """The history of one task."""

    results: tuple[History, ...] = ()
    """Histories of its results, in the order in which it makes them."""

    @property
    def done(self) -> int:
        """Number of finished results."""
        return sum(result.state == State.DONE for result in self.results)

    @property
    def is_done(self) -> bool:
        """True if all results are done."""
        return bool(self.results) and self.done == len(self.results)

    @property
    def current(self) -> History:
        """The first unfinished result; the last one if all are done."""
        missing = (result for result in self.results if result.state != State.DONE)
        return next(missing, self.results[-1] if self.results else History())

    @property
    def state(self) -> State:
        """The task's state in the store."""
        return self.current.state

    @property
    def attempts(self) -> int:
        """Number of attempts at the result with the most attempts."""
        return max((result.count for result in self.results), default=0)

    @property
    def finished(self) -> float | None:
        """When the last finished result was done, in seconds since 1970 by its pod's clock."""
        return max((result.finished for result in self.results if result.finished), default=None)

    def progress(self, end_step: int) -> str:
        """`step 23,400 of 100,000, 41.2 steps/s`, or `2 of 3 seeds`; empty if not known."""
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
    """Name of each task → its history.

    Args:
        store: The store.
        tasks: Tasks of an experiment.
        known: Histories of an earlier read; finished results aren't read again.
        later: Names of tasks for which only `is_done` is needed.

    Raises:
        DamagedError: a manifest or the log of an attempt can't be read; names the object.
        OutageError: the store can't be reached.
    """
    asked = [task for task in tasks if task.name not in known or not known[task.name].is_done]
    found = parallel.each(lambda task: _read(store, task, task.name not in later), asked)
    return {**known, **{task.name: history for task, history in zip(asked, found, strict=True)}}


def _read(store: ObjectStore, task: AnyTask, is_current: bool) -> TaskHistory:
    """Read a task. Its results are made one after the other, so only the first missing one can have begun."""
    results: list[History] = []
    for key in task.keys:
        found = realizations.find(store, task.stage, key)
        is_next = is_current and found is None and all(result.realization for result in results)
        results.append(histories.unfinished(store, task.stage, key) if is_next else History(found))
    return TaskHistory(tuple(results))
