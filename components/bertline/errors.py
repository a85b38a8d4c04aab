"""What can go wrong, and the one table of exit codes.

The kind of a failure decides what happens next: a user's mistake is never retried and should be found before expensive
work; a transient failure is retried; a preempted attempt is retried and resumes. Messages say what was expected, what
was found, where, and what to do next.
"""

import enum
from collections.abc import Mapping, Sequence


class ExitCode(enum.IntEnum):
    """Exit codes of the CLI and of every component. This is the only place where they are defined."""

    OK = 0
    BUG = 1
    """An unexpected exception; the traceback is in the log."""
    USER_ERROR = 2
    """Bad input or configuration. Retrying can't help."""
    DAMAGED = 65
    """Stored bytes aren't those that were written. Retrying can't help; see `bertline store verify`."""
    TRANSIENT = 75
    """The network, a full disk, another active run: the same command may succeed later."""
    PREEMPTED = 76
    """Stopped by a signal (SIGTERM, spot node). The next attempt continues from the last checkpoint."""
    INTERRUPTED = 130
    """Ctrl-C. Like preempted, but by the user."""


class BertlineError(Exception):
    """Base of all failures that have a message for people. Printed without a traceback."""

    exit_code: ExitCode = ExitCode.BUG


class UserError(BertlineError):
    """Bad input: names the field or file, the value found and what is accepted."""

    exit_code = ExitCode.USER_ERROR

    problems: Sequence[Mapping[str, str | int | None]] = ()
    """For programs: `file`, `line` (None means not known) and `message` of each thing that is wrong in a file."""


class DamagedError(BertlineError):
    """An object's size or checksum differs from its manifest. Names the object."""

    exit_code = ExitCode.DAMAGED


class TransientError(BertlineError):
    """A temporary failure outside of this program."""

    exit_code = ExitCode.TRANSIENT

    def __init__(self, message: str, *, asked_s: float = 0.0) -> None:
        super().__init__(message)
        self.asked_s = asked_s
        """Seconds until the next try, if the server asks for a pause."""


class GivenUpError(BertlineError):
    """An earlier attempt failed permanently, so this one didn't begin. It has the same exit code."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
