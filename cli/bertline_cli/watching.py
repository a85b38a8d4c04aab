"""Following a run: a line for each change, and on a terminal a live table of all tasks.

Following ends when the run has ended, when all its results are in the store, when its workflow or the server's record
of it is gone, or when the store or the server can't be reached for `PATIENCE_S`. Then a message says that the run
itself continues. During shorter outages it waits, with a note.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from bertline.plurals import counted
from bertline.process.progress import duration
from bertline_cli import displays

if TYPE_CHECKING:
    from bertline.errors import ExitCode
    from bertline.store.objects import ObjectStore
    from bertline_pipelines.kubeflow.api import Kubeflow
    from bertline_pipelines.submitting.launching import Prepared, Submitted
    from bertline_pipelines.submitting.statuses import Observer, Status, TaskStatus

T = TypeVar("T")

POLL_S = 5.0
PATIENCE_S = 1800.0

MARKS = {
    "done": "✓",
    "running": "▶",
    "pending": "◌",
    "failed": "✗",
    "cancelled": "✗",
    "waiting": "·",
    "skipped": "·",
    "later": "·",
}


def lines(status: "Status", remarks: Sequence[str] = ()) -> Iterator[str]:
    """The whole status, for reading once."""
    submission = status.submission
    yield f"{submission.display_name}: {status.state}{f'  {status.url}' if status.url else ''}"
    for remark in (*remarks, *status.remarks):
        yield f"  note: {remark}"
    for task in status.tasks:
        yield line(task)
    yield _summary(status)


def line(task: "TaskStatus") -> str:
    """A task in one line: mark, name, state, time, and a reason or progress."""
    place = f"on {task.node}" if task.node and task.state in ("running", "failed") else ""
    again = counted(task.restarts, "restart") if task.restarts else ""
    took = duration(task.seconds) if task.seconds is not None and task.state not in ("waiting", "skipped") else ""
    reason = f"{task.reason} ({task.amounts})" if task.amounts else task.reason
    details = "; ".join(filter(None, [task.progress if task.state != "done" else "", place, again, reason]))
    return f"{MARKS[task.state]} {task.name:28} {task.state:9} {took:>12}  {details}".rstrip()


def follow(
    observer: "Observer",
    stream: TextIO | None,
    remarks: Sequence[str] = (),
    *,
    poll_s: float = POLL_S,
    patience_s: float = PATIENCE_S,
) -> "Status":
    """Show a run until it ends, and return its last status.

    Args:
        observer: Reads the run's status.
        stream: Where to print; None prints nothing.
        remarks: Printed once, at the beginning.
        poll_s: Seconds between two reads.
        patience_s: Give up after so many seconds without an answer.

    Raises:
        TransientError: Kubeflow or the store couldn't be reached for `patience_s`.
    """
    from bertline.errors import TransientError

    answered = time.monotonic()
    with _display(stream) as display:
        for remark in remarks:
            display.say(f"note: {remark}")
        while True:
            status = observer.look()
            display.show(status)
            if status.is_over:
                return status
            if status.is_known:
                answered = time.monotonic()
            elif time.monotonic() - answered >= patience_s:
                raise TransientError(
                    f"no status for {duration(patience_s)}: {'; '.join(status.remarks)}. Run "
                    f"{status.submission.display_name} itself continues; run the same command again to follow it"
                )
            time.sleep(poll_s)


def to_the_end(
    prepared: "Prepared",
    submitted: "Submitted",
    store: "ObjectStore",
    kubeflow: "Kubeflow",
    stream: TextIO | None,
    *,
    resumes: int,
    poll_s: float = POLL_S,
) -> "ExitCode":
    """Follow a run, then submit and follow what is left, until the experiment has ended; return how it ended.

    A failed run is submitted again at most `resumes` times, and never after a permanent failure.
    """
    from bertline.errors import ExitCode
    from bertline_pipelines.places import access
    from bertline_pipelines.submitting import launching, statuses

    remarks: list[str] = []
    cluster = access.try_to(lambda: access.cluster(prepared.profile), remarks, "pods can't be read")
    while True:
        observer = statuses.Observer(store, submitted.submission, kubeflow, cluster)
        status = follow(observer, stream, remarks, poll_s=poll_s)
        remarks = []
        graph, place = prepared.graph, prepared.profile
        prepared = patiently(lambda: launching.prepare(graph, place, store.hasty()), stream, poll_s)  # noqa: B023
        if prepared.document is None:
            return ExitCode.OK
        if status.state != "succeeded":
            code = _ended(status)
            if not resumes or code in (ExitCode.USER_ERROR, ExitCode.DAMAGED, ExitCode.INTERRUPTED):
                _explain(status, stream)
                return code
            resumes -= 1
            _say(stream, f"the run {status.state}; submitting what is left, at most {counted(resumes, 'more time')}")
        with displays.transfers():
            submitted = patiently(lambda: launching.submit(prepared, store, kubeflow), stream, poll_s)  # noqa: B023
        _say(stream, f"{submitted.submission.display_name}: {counted(len(prepared.parts[0]), 'task')}")


def patiently(action: Callable[[], T], stream: TextIO | None, poll_s: float, patience_s: float = PATIENCE_S) -> T:
    """Call the action, again after each temporary error, with a note; return its result.

    Raises:
        TransientError: the error lasted for `patience_s`.
    """
    from bertline.errors import TransientError

    until, said = time.monotonic() + patience_s, False
    while True:
        try:
            return action()
        except TransientError as error:
            if time.monotonic() >= until:
                raise
            if not said:
                _say(stream, f"note: {getattr(error, 'said', error)}; trying again")
                said = True
        time.sleep(poll_s)


def _ended(status: "Status") -> "ExitCode":
    from bertline.errors import ExitCode
    from bertline_pipelines.submitting import statuses

    if status.state == "canceled":
        return ExitCode.INTERRUPTED
    return statuses.worst(status.tasks)


def _explain(status: "Status", stream: TextIO | None) -> None:
    failed = [task for task in status.tasks if task.state == "failed"]
    for task in failed:
        _say(stream, f"\n{task.name} failed: {task.reason or 'Kubeflow gives no reason'}")
    held = status.count("skipped")
    if held:
        _say(stream, f"not run because of this: {counted(held, 'task')}")
    _say(stream, f"the run is {status.state}. Finished tasks are kept; the same command continues from there")


def _say(stream: TextIO | None, sentence: str) -> None:
    if stream:
        stream.write(f"{sentence}\n")
        stream.flush()


def _summary(status: "Status") -> str:
    states = ("done", "running", "pending", "waiting", "failed", "cancelled", "skipped", "later")
    counts = [f"{count} {state}" for state in states if (count := status.count(state))]
    return f"{counted(len(status.tasks), 'task')}: {', '.join(counts)}"


@contextmanager
def _display(stream: TextIO | None) -> Iterator["Changes"]:
    if stream is None or not stream.isatty():
        yield Changes(stream)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(file=stream), refresh_per_second=2, transient=True) as live:
        yield Table(live)


class Changes:
    """Prints a line for each change of a task's or the run's state, and for each new remark."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._seen: dict[str, tuple[str, set[str]]] = {}
        self._said: set[str] = set()
        self._state = ""

    def show(self, status: "Status") -> None:
        """Print what is new."""
        remarks = {
            remark.partition(":")[0]: remark for remark in status.remarks
        }  # the part after the colon differs each time
        for what, remark in remarks.items():
            if what not in self._said:
                self.say(f"note: {remark}")
        self._said = set(remarks)
        if status.state != self._state:
            self._state = status.state
            self.say(f"{status.submission.display_name} is {status.state}; {_summary(status)}")
        for task in status.tasks:
            reason = task.reason if task.state in ("pending", "failed") else ""
            state, told = self._seen.get(task.name, ("", set()))
            # The first time only active tasks: a waiting task gets a line when it starts.
            is_new = task.state != state or reason not in told
            if is_new and (state or task.state in ("running", "pending", "failed")):
                self.say(line(task))
            # A reason is printed once, even if two reasons alternate.
            self._seen[task.name] = task.state, {reason} | (told if task.state == state else set())

    def say(self, sentence: str) -> None:
        """Print one line."""
        _say(self._stream, sentence)


class Table(Changes):
    """Prints the same lines above a live table of unfinished tasks."""

    def __init__(self, live: Any) -> None:
        super().__init__(None)
        self._live = live

    def show(self, status: "Status") -> None:
        """Print what is new, and draw the table."""
        from rich.table import Table as Grid
        from rich.text import Text

        super().show(status)
        grid = Grid.grid(padding=(0, 1))
        going = [task for task in status.tasks if task.state in ("running", "pending", "failed")]
        for task in going:
            grid.add_row(Text(line(task), no_wrap=False))
        grid.add_row(Text(f"{status.state}; {_summary(status)}"))
        self._live.update(grid)

    def say(self, sentence: str) -> None:
        """Print one line above the table."""
        self._live.console.print(sentence, highlight=False, markup=False)
