"""Panels and their queries: PromQL, unit, and the reason if there is no data."""

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["stat", "lines", "table", "rounds", "states"]
"""`stat`: current values, large. `lines`: over time. `table`: a row for every round, a column for every query.
`rounds`: one value for every round. `states`: phases over time."""

Style = Literal["line", "dashed", "points", "limit"]
Level = Literal["good", "warning", "bad"]
Unit = Literal["", "bytes", "seconds", "share", "flops", "count", "per second", "loss", "rate", "phase"]
"""`share`: 0 to 1. `rate`: a learning rate, written with an exponent. `phase`: a number of `expressions.PHASES`."""

Need = Literal["", "gpu", "gpu peak", "dcgm", "memory limit", "checkpoint", "epoch", "evaluation", "work", "two"]

NEEDS: dict[Need, str] = {
    "gpu": "no GPU",
    "gpu peak": "no GPU whose peak FLOP/s are known",
    "dcgm": "no DCGM exporter, or no GPU",
    "memory limit": "no memory limit",
    "checkpoint": "no checkpoint yet",
    "epoch": "no epoch has ended yet",
    "evaluation": "no evaluation is done yet",
    "work": "nothing is running",
    "two": "not enough samples yet",
}
"""What a query needs, and what is shown if that is missing. A query without a need has data as soon as a pod has been
scraped. Without a GPU its metrics are absent, never zero."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query to Prometheus."""

    expr: str
    name: str = ""
    """Name of the query in a panel with several; a table's column."""
    by: tuple[str, ...] = ("run",)
    """Labels that tell series from each other, in the order in which they are shown."""
    style: Style = "line"
    needs: Need = ""
    """Key of `NEEDS`: the reason if there is no data."""
    instant: bool = False
    """Ask only for the value at the end."""
    unit: Unit | None = None
    """None means the panel's unit."""

    @property
    def legend(self) -> str:
        """A series' name, in Grafana's notation."""
        first, *others = (f"{{{{{label}}}}}" for label in self.by) if self.by else ("",)
        labels = f"{first} · {' '.join(others)}" if others else first
        return f"{labels}, {self.name}" if labels and self.name else labels or self.name


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One frame of the dashboard."""

    title: str
    description: str
    kind: Kind
    queries: tuple[Query, ...]
    unit: Unit = ""
    width: int
    """Columns, of 24."""
    minimum: float | None = None
    maximum: float | None = None
    thresholds: tuple[tuple[float, Level], ...] = ()
    """A level and the value from which on it applies; below the first one everything is good."""
    height: int = 8
    columns: dict[str, str] = field(default_factory=dict)
    """A table's first columns: label → heading."""

    @property
    def missing(self) -> str:
        """The text that is shown if there is no data."""
        needs = {query.needs for query in self.queries}
        return NEEDS[needs.pop()] if len(needs) == 1 and "" not in needs else "no data"


@dataclass(frozen=True)
class Section:
    """Panels under one heading; the first section has no heading."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


EACH_ROUND = ("run", "round", "task")
"""Labels that tell rounds from each other."""
