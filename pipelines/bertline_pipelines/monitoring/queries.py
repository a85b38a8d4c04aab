"""Queries to a Prometheus over its HTTP API."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from bertline import retries
from bertline.addresses import is_here
from bertline.errors import BertlineError, TransientError, UserError

TIMEOUT_S = (5.0, 30.0)  # to connect, and between two bytes
ATTEMPTS = 3


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
        self._session = requests.Session()
        self._session.trust_env = not is_here(self.url)

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
        values: list[str] = self._ask(f"label/{quote(label)}/values", **query)
        return values

    def _ask(self, path: str, **query: Any) -> Any:
        return retries.repeated(lambda: self._send(path, query), ATTEMPTS)

    def _send(self, path: str, query: Mapping[str, Any]) -> Any:
        try:
            answer = self._session.get(f"{self.url}/api/v1/{path}", params=query, timeout=TIMEOUT_S)
            document = answer.json()
        except requests.JSONDecodeError as error:
            if retries.may_pass(answer.status_code):
                raise self._refusal(answer, answer.reason, query.get("query", path)) from error
            raise self._not_one(error) from error
        except requests.RequestException as error:
            if isinstance(error, ValueError):  # also an invalid URL
                raise self._not_one(error) from error
            raise TransientError(
                f"the Prometheus at {self.url} doesn't answer: {error}; check the address, and whether it runs"
            ) from error
        if not isinstance(document, dict) or not ("data" in document or "error" in document):
            raise self._not_one("its answer has no data")
        if answer.status_code != 200 or "data" not in document:
            raise self._refusal(answer, document.get("error", answer.reason), query.get("query", path))
        return document["data"]

    def _refusal(self, answer: requests.Response, said: str, query: str) -> BertlineError:
        message = f"the Prometheus at {self.url} refused {query!r}: {said} (HTTP {answer.status_code})"
        if retries.may_pass(answer.status_code):
            return TransientError(message, asked_s=retries.asked_s(answer.headers))
        return UserError(message)

    def _not_one(self, why: object) -> UserError:
        return UserError(
            f"what is at {self.url} isn't a Prometheus: {why}; give the address of its start page, such as "
            "http://localhost:9090"
        )


def _series(found: Any) -> list[Series]:
    series = []
    for labels, values in found:
        points = [(float(time), float(value)) for time, value in values if math.isfinite(float(value))]
        if points:
            series.append(Series({name: value for name, value in labels.items() if name != "__name__"}, points))
    return sorted(series, key=lambda each: sorted(each.labels.items()))
