"""Progress reports of long work.

A component calls `bar` and `say`. They write JSON lines to the file in `BERTLINE_PROGRESS`, if it is set; `bertline
run` draws its display from it. For logs they also print a line at the start, at most one every `EVERY_S`, and one at
the end. A program that calls parts of a component can use `listening` instead; then nothing is printed.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

ENVIRONMENT = "BERTLINE_PROGRESS"
EVERY_S = 30.0  # between two lines in a log
REDRAW_S = 0.5  # between two updates of a display


Listener = Callable[[dict[str, Any]], None]

_listener: Listener | None = None


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Pass all documents, from all threads, to `listener` instead of writing or printing them."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def say(sentence: str) -> None:
    """Report a sentence for people: why the work waits, what it skips."""
    _tell({"say": sentence})
    _print(sentence)


def fail(exit_code: int, message: str) -> None:
    """Report the failure of a component."""
    _tell({"exit_code": exit_code, "message": message})


@contextlib.contextmanager
def bar(
    label: str | None, total: int | None, unit: str, done: int = 0, note: Callable[[], str] | None = None
) -> Iterator[Callable[[int], None]]:
    """A unit of work. Yields `advance(n)`, safe to call from threads; without a label it shows nothing.

    Args:
        label: The work, for example "reading the dump".
        total: Units in total; None means not known.
        unit: Name of the unit, for example "steps"; "B" is shown as MB.
        done: Units that earlier attempts have done.
        note: Returns a text to add to a line of the log, for example "loss 6.912".
    """
    meter = _Meter(label, total, unit, done, note)
    meter.show(force=True)
    yield meter.advance
    meter.show(force=True)


class _Meter:
    def __init__(
        self, label: str | None, total: int | None, unit: str, done: int, note: Callable[[], str] | None
    ) -> None:
        self.label, self.total, self.unit, self.note = label, total, unit, note
        self.done = self.start = done
        self.began = time.monotonic()
        self.told = self.printed = 0.0
        self.recent = self.began, done
        """Time of the last line, and units done at that time."""
        self.lock = threading.Lock()

    def advance(self, amount: int) -> None:
        with self.lock:
            self.done += amount
        self.show()

    def show(self, *, force: bool = False) -> None:
        if self.label is None:
            return
        now = time.monotonic()
        if _watched() and (force or now - self.told > REDRAW_S):
            self.told = now
            rate = (self.done - self.start) / max(now - self.began, 1e-9)
            _tell({"label": self.label, "done": self.done, "total": self.total, "unit": self.unit, "rate": rate})
        if force or now - self.printed > EVERY_S:
            self.printed = now
            _print(self._line(now))

    def _line(self, now: float) -> str:
        scale, unit = (1e-6, "MB") if self.unit == "B" else (1, self.unit)
        total = "" if self.total is None else f" of {self.total * scale:,.0f}"
        line = f"{self.label}: {self.done * scale:,.0f}{total} {unit}"
        left = None if self.total is None else self.total - self.done
        since, before = self.recent
        if self.done == before or (left is not None and left <= 0):
            since, before = self.began, self.start  # the last line is about all units, the others are about new ones
        rate = (self.done - before) / max(now - since, 1e-9)
        self.recent = now, self.done
        if rate > 0:
            line += f", {rate * scale:,.1f} {unit}/s"
            if left:
                line += f", {_duration(left / rate)} left"
        return f"{line}; {note}" if self.note and (note := self.note()) else line


def _duration(seconds: float) -> str:
    """A duration with about two digits: 40 s, 12 min, 3.2 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _watched() -> bool:
    return _listener is not None or ENVIRONMENT in os.environ


def _tell(document: dict[str, Any]) -> None:
    """Pass a document to the listener or the file."""
    if _listener is not None:
        _listener(document)
    elif ENVIRONMENT in os.environ:
        # A full disk mustn't end the work.
        with contextlib.suppress(OSError), open(os.environ[ENVIRONMENT], "a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")


def _print(line: str) -> None:
    """Print into the log."""
    if _listener is None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
