"""Output that may break off while the work goes on."""

import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


class Lasting:
    """A stream that never fails: work mustn't end because nobody sees it. What it can't take goes to standard error.

    Ctrl-C on `bertline run … | tee log` ends tee as well; a terminal may be closed; the disk of a log may be full.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write it, if that can be done."""
        self._try(lambda: self._stream.write(text), text)
        return len(text)

    def flush(self) -> None:
        """Flush, if that can be done."""
        self._try(self._stream.flush, "")

    def _try(self, act: Callable[[], object], text: str) -> None:
        try:
            act()
        except OSError:
            # What Python still holds for it would fail again when the process ends.
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())
            if self is not sys.stderr:
                self._stream = sys.stderr
                self._stream.write(text)


def lasting(stream: TextIO) -> TextIO:
    """The same stream, as one that never fails."""
    made: Any = Lasting(stream)
    return made  # type: ignore[no-any-return]
