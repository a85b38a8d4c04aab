"""Output streams that never fail."""

import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


class Lasting:
    """A stream that never fails, so that a lost output doesn't end the work. Text that can't be written goes to stderr.

    Ctrl-C on `bertline run … | tee log` also ends tee; a terminal may be closed; the disk of a log may be full.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if possible."""
        self._try(lambda: self._stream.write(text), text)
        return len(text)

    def flush(self) -> None:
        """Flush, if possible."""
        self._try(self._stream.flush, "")

    def _try(self, act: Callable[[], object], text: str) -> None:
        try:
            act()
        except OSError:
            # Otherwise Python's buffer would fail again at the end of the process.
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if self is not sys.stderr:
                self._stream = sys.stderr
                self._stream.write(text)


def lasting(stream: TextIO) -> TextIO:
    """Wrap a stream so that it never fails."""
    made: Any = Lasting(stream)
    return made  # type: ignore[no-any-return]
