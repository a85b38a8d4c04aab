"""Progress bars on a terminal, for all commands: live rows of name, bar and text, and messages above them."""

from collections.abc import Iterable
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from bertline.process import progress

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

WIDTH = 30


class Bars:
    """A context manager; rows disappear at its end, and the first one appears with the first `show`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if "_drawn" in self.__dict__:
            self._drawn.stop()

    def say(self, sentence: str) -> None:
        """Print a message above the bars."""
        self._drawn.console.print(sentence, highlight=False, markup=False)

    def show(self, name: str, told: dict[str, Any] | None, more: str = "") -> None:
        """Draw a row, or change it.

        Args:
            name: Of the row.
            told: A document of `bertline.process.progress` with a label; None if nothing is known yet.
            more: Another text at the row's end.
        """
        if name not in self._rows:
            self._rows[name] = self._drawn.add_task(name, total=None, text="starting", more=more)
        done, total, text = (
            (told["done"], told["total"], progress.line(told).removeprefix(f"{name}: "))
            if told
            else (0, None, "starting")
        )
        self._drawn.update(self._rows[name], completed=done, total=total, text=text, more=more)

    def drop(self, name: str) -> None:
        """Remove a row, if there is one."""
        if name in self._rows:
            self._drawn.remove_task(self._rows.pop(name))

    def note(self, text: str) -> None:
        """Replace the line below the rows."""
        self._drawn.note = text  # type: ignore[attr-defined]

    @cached_property
    def _drawn(self) -> "Progress":
        """Importing rich takes longer than most commands."""
        from rich.console import Console, RenderableType
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        class Rows(Progress):
            note = ""

            def get_renderables(self) -> Iterable[RenderableType]:
                yield from super().get_renderables()
                if self.note:
                    yield Text(self.note)

        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(WIDTH),
            TextColumn("{task.fields[text]}", markup=False),
            TextColumn("{task.fields[more]}", markup=False),
        )
        drawn = Rows(*columns, console=Console(file=self._stream), refresh_per_second=4, transient=True)
        drawn.start()
        return drawn
