"""What `bertline run` shows: a line for each task that has ended, and on a terminal live bars of running tasks.

Other commands show bars of their uploads and downloads on a terminal, and nothing elsewhere.
"""

import shutil
import sys
import textwrap
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress

    from bertline_pipelines.running.local import State, Watcher

MARKS = {"done": "✓", "failed": "✗", "stopped": "■"}


@contextmanager
def choose(stream: TextIO) -> Iterator["Watcher"]:
    """Bars on a terminal, lines elsewhere."""
    if not stream.isatty():
        yield Lines(stream)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(file=stream)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield Bars(live)


@contextmanager
def stoppable() -> Iterator[None]:
    """Work that goes on from where it was when the same command is run again, whatever ended it."""
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
    from bertline.process import progress

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
                    sys.stderr.write(f"{amount(told)}\n")
                    sys.stderr.flush()

        with progress.listening(repeat):
            yield
        return
    bars: dict[str, Any] = {}
    with ExitStack() as stack:

        @cache
        def display() -> "Progress":
            """Create the bars when there is something to show: importing rich takes longer than most commands."""
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = TextColumn("{task.description}"), BarColumn(30), TextColumn("{task.fields[amount]}")
            return stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))

        def tell(told: dict[str, Any]) -> None:
            if "say" in told:
                display().console.print(told["say"], highlight=False, markup=False)
            elif "label" in told:
                label = told["label"]
                if label not in bars:
                    bars[label] = display().add_task(label, amount="")
                display().update(bars[label], total=told["total"], completed=told["done"], amount=amount(told))

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


class Bars:
    """The same lines above live bars."""

    def __init__(self, live: Any) -> None:
        self._live = live

    def changed(self, state: "State") -> None:
        """Print a task that has ended above the bars."""
        if state.phase in MARKS:
            self._live.console.print(line(state), highlight=False, markup=False)

    def say(self, sentence: str) -> None:
        """Print a message above the bars."""
        self._live.console.print(sentence, highlight=False, markup=False)

    def tick(self, states: Sequence["State"]) -> None:
        """Draw a row for each running task."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        for state in states:
            if state.phase != "running":
                continue
            bar = state.bar or {"done": 0, "total": 0}
            table.add_row(
                f"  {state.task.name}",
                ProgressBar(total=bar["total"] or None, completed=bar["done"], width=30, pulse=not bar["total"]),
                amount(bar) if state.bar else "starting",
                duration(state.seconds),
            )
        waiting = sum(state.phase == "waiting" for state in states)
        if waiting:
            table.add_row(f"  {waiting} more wait", "", "", "")
        self._live.update(table)


def line(state: "State") -> str:
    """A task that has ended: mark, name, state, time, last message."""
    said = next((sentence for sentence in reversed(state.said) if ":" in sentence), "")
    what = (
        state.message.partition("\n")[0].removeprefix("told to stop; ")
        if state.phase in ("failed", "stopped")
        else said
    )
    return f"{MARKS[state.phase]} {state.task.name:28} {state.phase:8} {duration(state.seconds):>8}  {what}".rstrip()


def amount(bar: dict[str, Any]) -> str:
    """What is done, the speed, and the time that is left."""
    scale, unit = (1e-6, "MB") if bar["unit"] == "B" else (1, bar["unit"])
    if bar["total"] is None:
        return f"{bar['label']}: {bar['done'] * scale:,.0f} {unit}" + (
            f", {bar['rate'] * scale:,.1f}/s" if bar["rate"] > 0 else ""
        )
    text = f"{bar['label']}: {bar['done'] * scale:,.0f}/{bar['total'] * scale:,.0f} {unit}"
    if bar["rate"] > 0 and bar["done"] < bar["total"]:
        text += f", {bar['rate'] * scale:,.1f}/s, {duration((bar['total'] - bar['done']) / bar['rate'])} left"
    return text


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


def duration(seconds: float) -> str:
    """Seconds in readable units: 42 s, 3 min 20 s, 5 h 12 min."""
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"
