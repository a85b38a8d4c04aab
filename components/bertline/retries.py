"""When a request is sent again, and after which pause: one rule for all that is asked over HTTP.

The buckets' own clients repeat requests by themselves; Google's takes these pauses, botocore has the same kind of them.
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
    """Doubled from failure to failure."""
    longest_s: float = 10.0

    def after(self, failures: int) -> float:
        """The pause after so many failures in a row.

        Up to half of it is left out at random: those who lost a server at one moment mustn't come back at one moment.
        """
        whole = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return whole * random.uniform(0.5, 1.0)


PAUSES = Pauses()


def may_pass(status: int) -> bool:
    """Whether an HTTP status tells of something that may be better the next time."""
    return status in (408, 425, 429) or (status >= 500 and status not in (501, 505))  # these two: never better


def asked_s(headers: Mapping[str, str]) -> float:
    """Seconds until the next try, as the server asks by `Retry-After`; 0 if it doesn't, or not in a way that counts."""
    try:
        return max(0.0, urllib3.Retry(retry_after_max=10**9).parse_retry_after(headers.get("Retry-After", "")))
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return 0.0


def repeated(send: Callable[[], T], attempts: int) -> T:
    """What `send` returns. It is called again after a TransientError, `attempts` times at most.

    Raises:
        TransientError: the last one.
    """
    for failures in range(1, attempts):
        try:
            return send()
        except TransientError as error:
            time.sleep(max(PAUSES.after(failures), min(PAUSES.longest_s, error.asked_s)))
    return send()
