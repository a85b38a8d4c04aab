"""Numbers in readable form."""

import math
from dataclasses import dataclass

MISSING = "–"
"""The text for a missing measurement."""


@dataclass(frozen=True)
class TimeUnit:
    """One unit for all durations of a report, so that they are easy to compare."""

    name: str
    long: str
    seconds: float
    digits: int

    def of(self, seconds: float) -> float:
        """A duration in this unit."""
        return seconds / self.seconds

    def text(self, seconds: float | None) -> str:
        """A duration without the unit; the column's heading has it."""
        return MISSING if seconds is None else f"{self.of(seconds):,.{self.digits}f}"

    def spoken(self, seconds: float) -> str:
        """A duration with the unit."""
        return f"{self.text(seconds)} {self.name}"


SECOND = TimeUnit("s", "seconds", 1, 1)
MINUTE = TimeUnit("min", "minutes", 60, 1)
HOUR = TimeUnit("h", "hours", 3600, 2)
DAY = TimeUnit("d", "days", 86400, 2)


def time_unit(longest_s: float) -> TimeUnit:
    """The unit in which the longest duration has few digits."""
    if longest_s < 600:
        return SECOND
    if longest_s < 3 * 3600:
        return MINUTE
    return HOUR if longest_s < 5 * 86400 else DAY


def integer(number: int | None) -> str:
    """All digits."""
    return MISSING if number is None else f"{number:,}"


def count(number: int | None) -> str:
    """All digits, or three digits with M or Bn."""
    if number is None or number < 10**6:
        return integer(number)
    # Rounded first: 999,999,999 is 1.00 Bn and not 1000 M.
    rounded = _three_digits(number)
    scale, unit = (10**9, "Bn") if rounded >= 10**9 else (10**6, "M")
    digits = max(0, 2 - int(math.log10(rounded / scale)))
    return f"{rounded / scale:,.{digits}f} {unit}"


def memory(size: int | None) -> str:
    """Bytes as MiB or GiB."""
    if size is None:
        return MISSING
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"


def percent(share: float | None) -> str:
    """A share (0 to 1) in percent with one decimal."""
    return MISSING if share is None else f"{100 * share:.1f} %"


def points(share: float | None) -> str:
    """A difference or spread of shares, in percentage points, without the unit."""
    return MISSING if share is None else f"{100 * share:.1f}"


def decimal(number: float | None, digits: int = 3) -> str:
    """A number with so many digits after the point."""
    return MISSING if number is None else f"{number:,.{digits}f}"


def rate(number: float | None) -> str:
    """A rate per second, with decimals only for small values."""
    return MISSING if number is None else f"{number:,.{0 if number >= 100 else 1}f}"


def short(key: str) -> str:
    """The beginning of a key, enough to find it."""
    return key[:10]


def _three_digits(number: int) -> int:
    scale: int = 10 ** max(0, int(math.log10(number)) - 2)
    rounded: int = round(number / scale) * scale
    return rounded
