"""Queries to a Prometheus over its HTTP API."""

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bertline.errors import TransientError, UserError

TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Series:
    """Samples under one set of labels."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]
    """(seconds since 1970, value) in order of time, without NaN."""

    @property
    def value(self) -> float:
        """The last value."""
        return self.points[-1][1]


class Prometheus:
    """A Prometheus, or another server with its API, such as Thanos or the front end of Google's managed one."""

    def __init__(self, url: str) -> None:
        """`url` without `/api/v1`."""
        self.url = url.rstrip("/")

    def at(self, expr: str, time: float) -> list[Series]:
        """The value of a query at one time, without series whose value is NaN."""
        data = self._ask("query", query=expr, time=time)
        return _series((each["metric"], [each["value"]]) for each in data["result"])

    def samples(self, selector: str, time: float) -> list[Series]:
        """The raw samples of a range selector such as `up[10m]`."""
        data = self._ask("query", query=selector, time=time)
        return _series((each["metric"], each["values"]) for each in data["result"])

    def over(self, expr: str, start: float, end: float, step: float) -> list[Series]:
        """The values of a query between two times, every `step` seconds."""
        data = self._ask("query_range", query=expr, start=start, end=end, step=step)
        return _series((each["metric"], each["values"]) for each in data["result"])

    def values(self, label: str, metric: str, start: float, end: float) -> list[str]:
        """The values that a label of a metric had, sorted."""
        query = {"match[]": metric, "start": start, "end": end}
        values: list[str] = self._ask(f"label/{urllib.parse.quote(label)}/values", **query)
        return values

    def _ask(self, path: str, **query: Any) -> Any:
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            raise _refusal(self.url, error, query.get("query", path)) from error
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise TransientError(
                f"the Prometheus at {self.url} doesn't answer: {reason}; check the address, and whether it runs"
            ) from error
        except ValueError as error:  # also an invalid URL
            raise UserError(
                f"what is at {self.url} isn't a Prometheus: {error}; give the address of its start page, such as "
                "http://localhost:9090"
            ) from error
        return document["data"]


def _series(found: Any) -> list[Series]:
    series = []
    for labels, values in found:
        points = [(float(time), float(value)) for time, value in values if math.isfinite(float(value))]
        if points:
            series.append(Series({name: value for name, value in labels.items() if name != "__name__"}, points))
    return sorted(series, key=lambda each: sorted(each.labels.items()))


def _refusal(url: str, error: urllib.error.HTTPError, query: str) -> Exception:
    try:
        said = json.load(error)["error"]
    except (ValueError, KeyError, TypeError):
        said = error.reason
    message = f"the Prometheus at {url} refused {query!r}: {said} (HTTP {error.code})"
    return TransientError(message) if error.code >= 500 else UserError(message)
