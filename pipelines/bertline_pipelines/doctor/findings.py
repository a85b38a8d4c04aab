"""Findings of `bertline doctor`: a sentence each, with a remedy."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from bertline.errors import BertlineError, ExitCode
from bertline_pipelines.cluster.connections import ForbiddenError


class State(enum.StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    """A run can still work."""
    FAILED = "failed"
    """No run can work."""
    UNKNOWN = "unknown"
    """It couldn't be checked."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's output."""

    name: str
    """Name of the check; several findings may have the same name."""
    state: State
    sentence: str
    remedy: str = ""
    """What to do; empty if there is nothing to do or the sentence says it."""
    exit_code: ExitCode = ExitCode.OK
    """The exit code of a failure."""

    @property
    def text(self) -> str:
        """Sentence and remedy."""
        return f"{self.sentence}: {self.remedy}" if self.remedy else self.sentence

    def document(self) -> dict[str, str]:
        """The finding as JSON."""
        return {"name": self.name, "state": self.state.value, "sentence": self.sentence, "remedy": self.remedy}


class UnclearError(BertlineError):
    """Something couldn't be checked; the message says why."""


def ok(name: str, sentence: str) -> Finding:
    """A finding that is as it should be."""
    return Finding(name, State.OK, sentence)


def warning(name: str, sentence: str, remedy: str = "") -> Finding:
    """A finding with which a run can still work."""
    return Finding(name, State.WARNING, sentence, remedy)


def failed(name: str, sentence: str, remedy: str = "", exit_code: ExitCode = ExitCode.USER_ERROR) -> Finding:
    """No run can work."""
    return Finding(name, State.FAILED, sentence, remedy, exit_code)


def unknown(name: str, sentence: str, remedy: str = "") -> Finding:
    """A finding about something that couldn't be checked."""
    return Finding(name, State.UNKNOWN, sentence, remedy)


def from_error(name: str, error: BertlineError, before: str = "") -> Finding:
    """The finding for an error; a missing permission is `unknown`, not a failure.

    Args:
        name: Name of the check.
        error: The error; its message says what to do.
        before: Beginning of the sentence.
    """
    if isinstance(error, UnclearError):
        return unknown(name, f"{before}{error}")
    if isinstance(error, ForbiddenError):
        return unknown(name, f"{before}can't be checked: {error}")
    return failed(name, f"{before}{error}", exit_code=error.exit_code)


def exit_code(found: Iterable[Finding]) -> ExitCode:
    """The exit code of all findings; a user's mistake comes before a temporary error."""
    codes = {each.exit_code for each in found if each.state == State.FAILED}
    for code in (ExitCode.USER_ERROR, ExitCode.DAMAGED, ExitCode.BUG, ExitCode.TRANSIENT):
        if code in codes:
            return code
    return ExitCode.OK
