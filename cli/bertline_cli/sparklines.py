"""Series of numbers as a few characters on a terminal."""

import math
from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """The last `width` values, scaled from the lowest to the highest; a value that isn't finite is a gap.

    Empty for fewer than two values.
    """
    shown = values[-width:]
    finite = [value for value in shown if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    low, high = min(finite), max(finite)
    scale = (len(LEVELS) - 1) / (high - low) if high > low else 0.0
    return "".join(LEVELS[round((value - low) * scale)] if math.isfinite(value) else " " for value in shown)


def bar(share: float, width: int = 20) -> str:
    """A share (0 to 1) as a bar."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "█" * filled + "░" * (width - filled)
