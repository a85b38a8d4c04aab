"""How long work tells that it goes on.

A component doesn't know who watches it. It calls `bar` and `say`, and these write one JSON line to the file named by
`BERTLINE_PROGRESS`, from which `bertline run` draws its display; where nobody set it, they print: a line at the start,
at most one every `EVERY_S`, and one at the end, which is what pod logs want. A program that calls a component's parts
by itself may listen instead (`told_to`).
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
EVERY_S = 15.0  # a line in a log
REDRAW_S = 0.5  # an update for a display


Listener = Callable[[dict[str, Any]], None]

_listener: Listener | None = None


@contextlib.contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Within it, in all threads, `listener` gets the documents that would be written, and nothing is printed."""
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def say(sentence: str) -> None:
    """A sentence for people: why it waits, what it skips."""
    _emit({"say": sentence}, sentence)


def fail(exit_code: int, message: str) -> None:
    """The last word of a component that fails."""
    _emit({"exit_code": exit_code, "message": message}, None)


@contextlib.contextmanager
def bar(label: str | None, total: int, unit: str, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A unit of work of known size. Yields `advance(n)`, safe to call from threads; without a label it shows nothing.

    Args:
        label: What goes on, as "reading the dump".
        total: How much there is.
        unit: Of what, as "steps"; "B" is shown as MB.
        done: How much was there already (a resumed attempt).
    """
    meter = _Meter(label, total, unit, done)
    meter.show(force=True)
    yield meter.advance
    meter.show(force=True)


class _Meter:
    def __init__(self, label: str | None, total: int, unit: str, done: int) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self.start = done
        self.began = time.monotonic()
        self.shown = 0.0
        self.lock = threading.Lock()

    def advance(self, amount: int) -> None:
        with self.lock:
            self.done += amount
        self.show()

    def show(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self.label is None or not (force or now - self.shown > (REDRAW_S if _watched() else EVERY_S)):
            return
        self.shown = now
        rate = (self.done - self.start) / max(now - self.began, 1e-9)
        document = {"label": self.label, "done": self.done, "total": self.total, "unit": self.unit, "rate": rate}
        scale, unit = (1e-6, "MB") if self.unit == "B" else (1, self.unit)
        line = f"{self.label}: {self.done * scale:,.0f} of {self.total * scale:,.0f} {unit}"
        _emit(document, line + (f", {rate * scale:,.1f} {unit}/s" if self.done > self.start else ""))


def _watched() -> bool:
    return _listener is not None or ENVIRONMENT in os.environ


def _emit(document: dict[str, Any], line: str | None) -> None:
    if _listener is not None:
        _listener(document)
        return
    if _watched():
        # A full disk must not end the work because nobody can be told of it.
        with contextlib.suppress(OSError), open(os.environ[ENVIRONMENT], "a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")
    if line and (not _watched() or "say" in document):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
