"""SIGTERM and Ctrl-C stop a task.

A signal raises `Stopped` in the main thread, wherever that is. `Stopped` isn't an `Exception`, so no library catches it
and tries again. Python drops an exception that is raised in a destructor or a callback, so long work also calls `check`
from time to time, which raises it again.

Work that would be lost this way postpones the signal: inside of `postponable`, after `postpone`, a signal is only
recorded. The work then calls `told_to_stop` and saves a checkpoint.
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
    """The task has to stop; not an `Exception`, see above."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.exit_code = ExitCode.INTERRUPTED if _received == signal.SIGINT else ExitCode.PREEMPTED


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Handle signals as described above; does nothing outside of the main thread, where Python can't handle signals."""
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
    """The part of a task in which `postpone` and `keeps` have an effect."""
    global _postponed, _kept
    before = _postponed, _kept
    try:
        yield
    finally:
        _postponed, _kept = before


def postpone() -> None:
    """Only record signals from now on, until the end of the `postponable` part."""
    global _postponed
    _postponed = True


def keeps(what: str) -> None:
    """Set what `Stopped`'s message says about saved work."""
    global _kept
    _kept = what


def told_to_stop() -> bool:
    """True if a signal came."""
    return _received is not None


def check(*, waiting: bool = False) -> None:
    """Raise `Stopped` if a signal came and isn't postponed; with `waiting`, also if it is postponed."""
    if _received is not None and (waiting or not _postponed):
        raise Stopped(f"told to stop; {_kept}; the same command continues")


def _receive(number: int, _: object) -> None:
    global _received
    first, _received = _received is None, number if _received is None else _received
    if first:  # a second signal must not interrupt the first one's clean-up
        check()
