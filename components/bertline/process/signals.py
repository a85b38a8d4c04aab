"""SIGTERM and Ctrl-C: how a task learns that it shall end.

A signal is noted, and then `Stopped` is raised from wherever the main thread is. `Stopped` isn't an `Exception`, so no
library takes it for a failure of its own and tries again. Python drops an exception that is raised in a destructor or
a callback, so a task that works for long also calls `check` now and then, which raises it again.

Work that would be lost that way postpones it: inside of `postponable`, after `postpone`, a signal is only noted. The
work then asks `told_to_stop` and saves what there is.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

from bertline.errors import ExitCode

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_received: int | None = None
_postponed = False
_kept = ALL = "what is done is kept"


class Stopped(BaseException):
    """The task was told to stop; not an `Exception`, see above."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.exit_code = ExitCode.INTERRUPTED if _received == signal.SIGINT else ExitCode.PREEMPTED


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handle the signals as above, in the main thread; elsewhere Python doesn't allow it, and nothing changes."""
    global _received
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # A signal that is ignored stays ignored: a shell starts background jobs without Ctrl-C.
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _receive)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _received = None


@contextlib.contextmanager
def postponable() -> Iterator[None]:
    """The part of a task in which `postpone` and `keeps` count."""
    global _postponed, _kept
    before = _postponed, _kept
    try:
        yield
    finally:
        _postponed, _kept = before


def postpone() -> None:
    """From now on a signal is only noted, up to the end of the `postponable` part."""
    global _postponed
    _postponed = True


def keeps(what: str) -> None:
    """Say what is kept of the work if a signal comes now, for `Stopped`'s message."""
    global _kept
    _kept = what


def told_to_stop() -> bool:
    """True if a signal came."""
    return _received is not None


def check(*, waiting: bool = False) -> None:
    """Raise `Stopped` if a signal came and isn't postponed, or if all that goes on is a wait that may last."""
    if _received is not None and (waiting or not _postponed):
        raise Stopped(f"told to stop; {_kept}; the same command goes on")


def _receive(number: int, _: object) -> None:
    global _received
    first, _received = _received is None, number if _received is None else _received
    if first:  # a second one must not disturb what ends the task properly
        check()
