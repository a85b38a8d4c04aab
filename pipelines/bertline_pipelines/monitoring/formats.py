"""Values with readable units, and names of series."""

from collections.abc import Sequence
from dataclasses import dataclass

from bertline_pipelines.monitoring import expressions
from bertline_pipelines.monitoring.panels import Query, Unit
from bertline_pipelines.monitoring.queries import Series

Answers = Sequence[tuple[Query, Sequence[Series]]]
"""A panel's queries with Prometheus' answers."""

SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "bytes": ((1, "bytes"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"), (2**40, "TiB")),
    "seconds": ((1, "s"), (60, "min"), (3600, "h"), (86400, "d")),
    "flops": ((1, "FLOP/s"), (1e9, "GFLOP/s"), (1e12, "TFLOP/s"), (1e15, "PFLOP/s")),
    "count": ((1, ""), (1e6, "M"), (1e9, "Bn")),
    "per second": ((1, "a second"), (1e6, "M a second")),
}
"""Each unit with the smallest value that uses it."""
MOST = 2.0
"""A unit is used from this multiple of its size on: 95 min and 1,500 MiB keep the smaller unit."""


@dataclass(frozen=True)
class Scale:
    """One unit for all values of a panel."""

    size: float
    name: str


def scale(unit: Unit, largest: float) -> Scale:
    """The unit for values up to `largest`."""
    if unit == "share":
        return Scale(0.01, "%")
    fitting = [Scale(size, name) for size, name in SCALES.get(unit, ((1, ""),)) if size == 1 or largest >= MOST * size]
    return fitting[-1]


def text(value: float, unit: Unit) -> str:
    """One value with its unit."""
    if unit == "phase":
        return expressions.PHASES[int(value) - 1] if 1 <= value <= len(expressions.PHASES) else str(value)
    if unit == "rate":
        return f"{value:.2e}"
    if unit == "loss":
        return f"{value:.3f}"
    scaled = scale(unit, abs(value))
    number = value / scaled.size
    whole = (unit in ("count", "per second", "bytes") and scaled.size == 1) or abs(number) >= 1000
    # A non-breaking space keeps the unit on the line of its number.
    return f"{number:,.{0 if whole else 1}f}\N{NO-BREAK SPACE}{scaled.name}".rstrip()


def name(query: Query, series: Series) -> str:
    """The name of a series, the same as in Grafana's legend."""
    first, *others = (series.labels.get(label, "") for label in query.by) if query.by else ("",)
    return f"{first} · {' '.join(others)}".strip(" ·") if others else first
