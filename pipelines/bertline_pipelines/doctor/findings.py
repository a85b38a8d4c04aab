"""Findings: what `bertline doctor` says of one thing, in a sentence, with what to do about it."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from bertline.errors import BertlineError, ExitCode
from bertline_pipelines.cluster.connections import ForbiddenError


class State(enum.StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    """A run can work in spite of it."""
    FAILED = "failed"
    """A run can't."""
    UNKNOWN = "unknown"
    """It couldn't be looked at."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's."""

    name: str
    """Of what was looked at; several findings may have the same."""
    state: State
    sentence: str
    remedy: str = ""
    """What to do; empty where there is nothing to do, or the sentence says it."""
    exit_code: ExitCode = ExitCode.OK
    """The family of a failure."""

    @property
    def text(self) -> str:
        """Sentence and remedy."""
        return f"{self.sentence}: {self.remedy}" if self.remedy else self.sentence

    def document(self) -> dict[str, str]:
        """For programs."""
        return {"name": self.name, "state": self.state.value, "sentence": self.sentence, "remedy": self.remedy}


class UnclearError(BertlineError):
    """Something couldn't be looked at; the message says why."""


def ok(name: str, sentence: str) -> Finding:
    """It is as it should be."""
    return Finding(name, State.OK, sentence)


def warning(name: str, sentence: str, remedy: str = "") -> Finding:
    """A run may work nevertheless."""
    return Finding(name, State.WARNING, sentence, remedy)


def failed(name: str, sentence: str, remedy: str = "", exit_code: ExitCode = ExitCode.USER_ERROR) -> Finding:
    """No run can work."""
    return Finding(name, State.FAILED, sentence, remedy, exit_code)


def unknown(name: str, sentence: str, remedy: str = "") -> Finding:
    """It couldn't be looked at, so it may be good or bad."""
    return Finding(name, State.UNKNOWN, sentence, remedy)


def from_error(name: str, error: BertlineError, before: str = "") -> Finding:
    """What an error means. Who isn't allowed to look hasn't seen anything bad.

    Args:
        name: Of what was looked at.
        error: Its message says what to do.
        before: To begin the sentence with.
    """
    if isinstance(error, UnclearError):
        return unknown(name, f"{before}{error}")
    if isinstance(error, ForbiddenError):
        return unknown(name, f"{before}can't be looked at, {error}")
    return failed(name, f"{before}{error}", exit_code=error.exit_code)


def exit_code(found: Iterable[Finding]) -> ExitCode:
    """Of all of them: the user's mistakes first, for waiting doesn't help against those."""
    codes = {each.exit_code for each in found if each.state == State.FAILED}
    for code in (ExitCode.USER_ERROR, ExitCode.DAMAGED, ExitCode.BUG, ExitCode.TRANSIENT):
        if code in codes:
            return code
    return ExitCode.OK
