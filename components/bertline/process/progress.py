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
            _tell(self._document(rate))
        if force or now - self.printed > EVERY_S:
            self.printed = now
            _print(self._line(now))

    def _line(self, now: float) -> str:
        since, before = self.recent
        if self.done == before or (self.total is not None and self.done >= self.total):
            since, before = self.began, self.start  # the last line is about all units, the others are about new ones
        self.recent = now, self.done
        text = line(self._document((self.done - before) / max(now - since, 1e-9)))
        return f"{text}; {note}" if self.note and (note := self.note()) else text

    def _document(self, rate: float) -> dict[str, Any]:
        return {"label": self.label, "done": self.done, "total": self.total, "unit": self.unit, "rate": rate}


def line(told: dict[str, Any]) -> str:
    """A document with a label as text: what is done, the speed, and the time that is left."""
    scale, unit = (1e-6, "MB") if told["unit"] == "B" else (1, told["unit"])
    done, total, rate = told["done"], told["total"], told["rate"]
    text = f"{told['label']}: {done * scale:,.0f}{'' if total is None else f' of {total * scale:,.0f}'} {unit}"
    if rate > 0:
        text += f", {rate * scale:,.1f} {unit}/s"
        if total is not None and done < total:
            text += f", {duration((total - done) / rate)} left"
    return text


def duration(seconds: float) -> str:
    """Seconds for people: 42 s, 3 min 20 s, 5 h 12 min."""
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {left:02d} s"


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
