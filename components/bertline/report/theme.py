"""The theme of all charts, in the report and on the monitoring page; `templates/report.css` is the style of both pages.

Text, axes and limits are `currentColor`, so that a chart follows its page from light to dark. The models' colours have
a contrast of at least 3:1 with both backgrounds. In the report every model also has its own shape, for readers who
don't see colours.
"""

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import altair as alt

    AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart

Line = Literal["line", "dashed", "points", "limit"]

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
COLORS = ("#2f7fd1", "#d9660f", "#2a9461", "#a45fd0", "#d64a5f", "#8a7a1f", "#17909e", "#c2559c")
"""Colours of models and runs; the ninth one has the first colour again."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
AREAS = ("#7a8794", "#9fb1c4", "#2a9461", "#a45fd0", "#c9a227", "#57616b")
"""Colours of adjacent areas, such as a task's phases."""
DASHES: dict[Line, list[float]] = {"line": [1, 0], "dashed": [5, 3], "points": [1.5, 3], "limit": [7, 4]}
WIDTHS: dict[Line, float] = {"line": 1.8, "dashed": 1.4, "points": 1.8, "limit": 1.2}
FAINT = 0.55
"""Opacity of elements in the background."""

Size = Literal["figure", "panel"]
"""A figure has the page's width, a panel a part of it."""


def color(index: int) -> str:
    """Colour of the model or run with that number."""
    return COLORS[index % len(COLORS)]


def config(size: Size) -> dict[str, Any]:
    """Vega-Lite's configuration."""
    font_size = 12 if size == "figure" else 11
    axis = {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": font_size,
        "titleFontSize": font_size,
        "titleFontWeight": "normal",
        "domainColor": "currentColor",
        "domainOpacity": 0.4,
        "tickColor": "currentColor",
        "tickOpacity": 0.4,
        "gridColor": "currentColor",
        "gridOpacity": 0.12,
    }
    x: dict[str, Any] = {"grid": False, "labelOverlap": True, "labelFlush": size == "panel"}
    y: dict[str, Any] = {"domain": False, "ticks": False, "labelPadding": font_size // 2}
    if size == "figure":
        axis["titlePadding"] = 10
    else:
        y["tickCount"] = 5
        # The unit is above its axis, because rotated text is hard to read.
        y |= {"titleAngle": 0, "titleAlign": "right", "titleBaseline": "bottom", "titleX": -5, "titleY": -7}
    return {
        "font": FONT,
        "padding": 4 if size == "figure" else 2,
        "view": {"stroke": None},
        "axis": axis,
        "axisX": x,
        "axisY": y,
        "legend": {
            "labelColor": "currentColor",
            "labelFontSize": 13,
            "labelLimit": 300,
            "symbolSize": 110,
            "symbolOpacity": 1,
        },
        "title": {
            "color": "currentColor",
            "subtitleColor": "currentColor",
            "fontSize": 15,
            "subtitleFontSize": 12,
            "fontWeight": 600,
        },
    }


def spec(chart: "AnyChart", size: Size, **properties: Any) -> dict[str, Any]:
    """A chart's Vega-Lite specification with this theme.

    Args:
        chart: The chart.
        size: Size of its text.
        **properties: Properties of the whole chart, such as width and height.
    """
    made: dict[str, Any] = chart.properties(background="transparent", **properties).to_dict()
    return made | {"config": config(size)}


def svg(spec: dict[str, Any]) -> str:
    """A specification drawn without a browser."""
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(spec, vl_version=vega_lite())
    return text


def vega_lite() -> str:
    """The version of the language that altair writes, as vl-convert names it."""
    import altair

    return altair.SCHEMA_VERSION.rpartition(".")[0]
