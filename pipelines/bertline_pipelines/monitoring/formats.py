"""Values of a panel's unit, as people read them."""

from dataclasses import dataclass

from bertline_pipelines.monitoring import expressions
from bertline_pipelines.monitoring.panels import Unit

SCALES: dict[Unit, tuple[tuple[float, str], ...]] = {
    "bytes": ((1, "bytes"), (2**10, "KiB"), (2**20, "MiB"), (2**30, "GiB"), (2**40, "TiB")),
    "seconds": ((1, "s"), (60, "min"), (3600, "h"), (86400, "d")),
    "flops": ((1, "FLOP/s"), (1e9, "GFLOP/s"), (1e12, "TFLOP/s"), (1e15, "PFLOP/s")),
    "count": ((1, ""), (1e6, "M"), (1e9, "Bn")),
    "per second": ((1, "a second"), (1e6, "M a second")),
}
"""From which size on which unit is used."""
MOST = 2.0
"""A value may be this much smaller than the unit it's written in would like: 95 min, 1,500 MiB."""


@dataclass(frozen=True)
class Scale:
    """One unit for all values of a panel."""

    size: float
    name: str


def scale(unit: Unit, largest: float) -> Scale:
    """What fits values up to `largest`."""
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
    # The unit stays with its number at the end of a line.
    return f"{number:,.{0 if whole else 1}f}\N{NO-BREAK SPACE}{scaled.name}".rstrip()
