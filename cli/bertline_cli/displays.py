"""What `bertline run` shows: a line for each task that has ended, and on a terminal live bars of running tasks.

Other commands show bars of their uploads and downloads on a terminal, and nothing elsewhere.
"""

import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from bertline.process import progress
from bertline.process.progress import duration
from bertline_cli.bars import Bars

if TYPE_CHECKING:
    from bertline_pipelines.running.local import State, Watcher

MARKS = {"done": "✓", "failed": "✗", "stopped": "■"}


@contextmanager
def choose(stream: TextIO) -> Iterator["Watcher"]:
    """Bars on a terminal, lines elsewhere."""
    if not stream.isatty():
        yield Lines(stream)
        return
    with Bars(stream) as bars:
        yield LiveLines(bars)


@contextmanager
def stoppable() -> Iterator[None]:
    """Work that the same command can continue, after any kind of end."""
    import typer

    from bertline.process import signals

    with signals.handled(), signals.postponable():
        try:
            yield
        except signals.Stopped as stopped:
            typer.echo("stopped; what is done is kept: run the same command again to go on", err=True)
            raise typer.Exit(stopped.exit_code) from None


LINES_S = 30.0


@contextmanager
def transfers(*, lines: bool = False) -> Iterator[None]:
    """Show `bertline.process.progress` on stderr: bars only on a terminal, messages always.

    Args:
        lines: Where there is no terminal, print a line for each bar, at its end and every 30 seconds.
    """
    if not sys.stderr.isatty():
        printed: dict[str, tuple[float, int]] = {}

        def repeat(told: dict[str, Any]) -> None:
            if "say" in told:
                sys.stderr.write(f"{told['say']}\n")
            elif lines and "label" in told:
                now = time.monotonic()
                last, done = printed.setdefault(told["label"], (now, -1))
                if told["done"] != done and (told["done"] == told["total"] or now - last > LINES_S):
                    printed[told["label"]] = now, told["done"]
                    sys.stderr.write(f"{progress.line(told)}\n")
                    sys.stderr.flush()

        with progress.listening(repeat):
            yield
        return
    with Bars(sys.stderr) as drawn:

        def tell(told: dict[str, Any]) -> None:
            if "say" in told:
                drawn.say(told["say"])
            elif "label" in told:
                drawn.show(told["label"], told)

        with progress.listening(tell):
            yield


class Lines:
    """One line for each task that has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def changed(self, state: "State") -> None:
        """Print a task that has ended."""
        if state.phase in MARKS:
            self._stream.write(line(state) + "\n")
            self._stream.flush()

    def tick(self, states: Sequence["State"]) -> None:
        """Show nothing between the lines."""

    def say(self, sentence: str) -> None:
        """Print a message."""
        self._stream.write(sentence + "\n")
        self._stream.flush()


class LiveLines:
    """Prints the same lines as `Lines`, above a bar for each running task."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    def changed(self, state: "State") -> None:
        """Print a task that has ended above the bars."""
        if state.phase in MARKS:
            self._bars.drop(state.task.name)
            self._bars.say(line(state))

    def say(self, sentence: str) -> None:
        """Print a message above the bars."""
        self._bars.say(sentence)

    def tick(self, states: Sequence["State"]) -> None:
        """Draw the bars."""
        for state in states:
            if state.phase == "running":
                self._bars.show(state.task.name, state.bar, duration(state.seconds))
        waiting = sum(state.phase == "waiting" for state in states)
        self._bars.note(f"  {waiting} more wait" if waiting else "")


def line(state: "State") -> str:
    """A task that has ended: mark, name, state, time, last message."""
    said = next((sentence for sentence in reversed(state.said) if ":" in sentence), "")
    what = (
        state.message.partition("\n")[0].removeprefix("told to stop; ")
        if state.phase in ("failed", "stopped")
        else said
    )
    return f"{MARKS[state.phase]} {state.task.name:28} {state.phase:8} {duration(state.seconds):>8}  {what}".rstrip()


def width() -> int:
    """Columns of the terminal, or COLUMNS from the environment."""
    return shutil.get_terminal_size().columns


def table(rows: Sequence[Sequence[str]], width: int, right: Collection[int] = ()) -> list[str]:
    """Rows as lines of a table; a last column that is too long continues on the next line.

    Args:
        rows: All have the same number of cells.
        width: Characters of a line at most; a longer word isn't broken and makes its line longer.
        right: Indices of columns that are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    indent = sum(widths[:-1]) + 2 * len(widths[:-1])
    lines = []
    for *cells, last in rows:
        aligned = [
            cell.rjust(widths[number]) if number in right else cell.ljust(widths[number])
            for number, cell in enumerate(cells)
        ]
        first, *more = textwrap.wrap(last, max(20, width - indent), break_long_words=False, break_on_hyphens=False) or [
            ""
        ]
        lines += ["  ".join([*aligned, first]).rstrip(), *(f"{' ' * indent}{line}" for line in more)]
    return lines


def fitted(lines: Iterable[str]) -> str:
    """Lines as one text; on a terminal a line that is too long continues on the next one, indented further."""
    if not sys.stdout.isatty():
        return "\n".join(lines)
    return "\n".join(
        textwrap.fill(line, width(), subsequent_indent=" " * (len(line) - len(line.lstrip()) + 4)) for line in lines
    )
