"""Repeats HTTP requests: when, and after which pause.

The buckets' clients repeat requests themselves; Google's uses these pauses, botocore has similar ones.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import urllib3

from bertline.errors import TransientError

T = TypeVar("T")


@dataclass(frozen=True)
class Pauses:
    """Seconds between the tries of one request."""

    first_s: float = 0.5
    """Seconds of the first pause; each later pause is twice as long."""
    longest_s: float = 10.0

    def after(self, failures: int) -> float:
        """The pause after so many failures in a row.

        It is shortened randomly by up to a half, so that clients don't all return at the same time.
        """
        whole = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return whole * random.uniform(0.5, 1.0)


PAUSES = Pauses()


def may_pass(status: int) -> bool:
    """Whether an HTTP status is a temporary error."""
    return status in (408, 425, 429) or (status >= 500 and status not in (501, 505))  # these two are permanent


def asked_s(headers: Mapping[str, str]) -> float:
    """Seconds until the next try from the server's `Retry-After`; 0 if it is missing or invalid."""
    try:
        return max(0.0, urllib3.Retry(retry_after_max=10**9).parse_retry_after(headers.get("Retry-After", "")))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return 0.0


def repeated(send: Callable[[], T], attempts: int) -> T:
    """Call `send`, again after a TransientError, at most `attempts` times; return its result.

    Raises:
        TransientError: the last error.
    """
    for failures in range(1, attempts):
        try:
            return send()
        except TransientError as error:
            time.sleep(max(PAUSES.after(failures), min(PAUSES.longest_s, error.asked_s)))
    return send()
