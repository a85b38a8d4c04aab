"""Panels as Vega-Lite specifications, drawn into SVG without a browser.

Text, axes and limits are `currentColor`, so that a drawing follows its page from light to dark. A run has one colour in
all drawings; lines of one panel differ by dashes, and fine-tuning is fainter than pre-training.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bertline_pipelines.monitoring import expressions, formats
from bertline_pipelines.monitoring.panels import Panel, Query, Style
from bertline_pipelines.monitoring.queries import Series

Answers = Sequence[tuple[Query, Sequence[Series]]]
"""A panel's queries with Prometheus' answers."""

DASHES: dict[Style, list[float]] = {"line": [1, 0], "dashed": [5, 3], "points": [1.5, 3], "limit": [7, 4]}
WIDTHS: dict[Style, float] = {"line": 1.8, "dashed": 1.4, "points": 1.8, "limit": 1.2}
PHASE_COLORS = ("#7a8794", "#9fb1c4", "#2a9461", "#a45fd0", "#c9a227", "#57616b")
FAINT = 0.55
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
CONFIG = {
    "font": FONT,
    "padding": 2,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "domainColor": "currentColor",
        "domainOpacity": 0.4,
        "tickColor": "currentColor",
        "tickOpacity": 0.4,
        "gridColor": "currentColor",
        "gridOpacity": 0.12,
    },
    "axisX": {"grid": False, "labelFlush": True, "labelOverlap": True},
    "axisY": {
        "domain": False,
        "ticks": False,
        "labelPadding": 5,
        "tickCount": 5,
        # The unit is above its axis, because rotated text is hard to read.
        "titleAngle": 0,
        "titleAlign": "right",
        "titleBaseline": "bottom",
        "titleX": -5,
        "titleY": -7,
    },
}


def lines(
    panel: Panel,
    answers: Answers,
    span: tuple[float, float],
    step: float,
    colors: Mapping[str, str],
    size: tuple[int, int],
) -> str:
    """Values over time as SVG.

    Args:
        panel: The panel to draw.
        answers: At least one series.
        span: First and last time, in seconds since 1970.
        step: Seconds between two samples; a longer distance is drawn as a gap.
        colors: Colour of each run.
        size: Width and height, in pixels.
    """
    largest = max(abs(value) for _, found in answers for series in found for _, value in series.points)
    scale = formats.scale(panel.unit, largest)
    rows = [row for query, found in answers for series in found for row in _rows(query, series, step, scale, colors)]
    alone = {"transform": [{"filter": "datum.alone"}], "mark": {"type": "point", "filled": True, "size": 20}}
    drawn = {"layer": [*map(_line, DASHES), alone], "encoding": _encoding(rows, span, panel, scale.name)}
    layers = [drawn, *([_limits(panel, scale)] if panel.thresholds else [])]
    return _svg({"layer": layers, "data": {"values": rows}}, size)


def states(answers: Answers, span: tuple[float, float], step: float, size: tuple[int, int]) -> str:
    """Phases over time as SVG: a row for each round."""
    rows: list[dict[str, Any]] = []
    for query, found in answers:
        for series in found:
            for begin, end, value in _stretches(series, step):
                phase = expressions.PHASES[int(value) - 1]
                rows.append({"row": name(query, series), "begin": _ms(begin), "end": _ms(end), "phase": phase})
    # The round that began first is on top.
    order = list(dict.fromkeys(row["row"] for row in sorted(rows, key=lambda row: row["begin"])))
    mark = {"type": "bar", "height": {"band": 0.7}}
    encoding = {
        "x": _time("begin", span),
        "x2": {"field": "end"},
        "y": {"field": "row", "type": "nominal", "sort": order, "title": None, "axis": {"labelLimit": 240}},
        "color": {
            "field": "phase",
            "type": "nominal",
            "scale": {"domain": list(expressions.PHASES), "range": list(PHASE_COLORS)},
            "legend": None,
        },
    }
    height = max(70, 22 * len(order) + 10)
    return _svg({"data": {"values": rows}, "mark": mark, "encoding": encoding}, (size[0], height))


def rounds(panel: Panel, answers: Answers, colors: Mapping[str, str], size: tuple[int, int]) -> str:
    """One value for each round as SVG: a line for each run and task."""
    rows: list[dict[str, Any]] = []
    for _, found in answers:
        for series in found:
            labels = series.labels
            rows.append(
                {
                    "round": int(labels["round"]),
                    "value": 100 * series.value,
                    "line": f"{labels.get('run')} {labels.get('task')}",
                    "task": labels.get("task", ""),
                    "color": _color(labels, colors),
                }
            )
    x = {
        "field": "round",
        "type": "quantitative",
        "title": "pre-training epochs",
        "axis": {"values": sorted({row["round"] for row in rows})},
        "scale": {"zero": False, "padding": 24},
    }
    y = {"field": "value", "type": "quantitative", "title": "%", "scale": {"zero": False, "padding": 12}}
    color = {"field": "color", "type": "nominal", "scale": None}
    shared = {"x": x, "y": y, "color": color}
    detail = {"field": "line", "type": "nominal"}
    shape = {"field": "task", "type": "nominal", "legend": None}
    line = {"mark": {"type": "line", "strokeWidth": 1.8}, "encoding": shared | {"detail": detail}}
    points = {
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
        "encoding": shared | {"shape": shape},
    }
    return _svg({"data": {"values": rows}, "layer": [line, points]}, size)


def name(query: Query, series: Series) -> str:
    """The name of a series, the same as in Grafana's legend."""
    first, *others = (series.labels.get(label, "") for label in query.by) if query.by else ("",)
    return f"{first} · {' '.join(others)}".strip(" ·") if others else first


def _rows(
    query: Query, series: Series, step: float, scale: formats.Scale, colors: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    shared = {
        "style": query.style,
        "color": "currentColor" if query.style == "limit" else _color(series.labels, colors),
        "opacity": 0.7 if query.style == "limit" else FAINT if series.labels.get("stage") == "evaluate" else 1,
    }
    for number, segment in enumerate(_segments(series.points, step)):
        line = f"{query.name} {name(query, series)} {series.labels.get('stage', '')} {number}"
        for time, value in segment:
            row = {"time": _ms(time), "value": value / scale.size, "line": line, "alone": len(segment) == 1}
            yield shared | row


def _segments(points: Sequence[tuple[float, float]], step: float) -> Iterator[list[tuple[float, float]]]:
    """Stretches of samples without a gap."""
    segment: list[tuple[float, float]] = []
    for point in points:
        if segment and point[0] - segment[-1][0] > 1.5 * step:
            yield segment
            segment = []
        segment.append(point)
    yield segment


def _line(style: Style) -> dict[str, Any]:
    mark = {"type": "line", "strokeDash": DASHES[style], "strokeWidth": WIDTHS[style]}
    return {
        "transform": [{"filter": {"field": "style", "equal": style}}],
        "mark": mark | {"strokeCap": "round" if style == "points" else "butt"},
        "encoding": {"detail": {"field": "line", "type": "nominal"}},
    }


def _encoding(rows: Sequence[Mapping[str, Any]], span: tuple[float, float], panel: Panel, unit: str) -> dict[str, Any]:
    scale: dict[str, Any] = {"zero": panel.minimum == 0, "nice": True}
    if panel.unit == "share" and panel.maximum == 1 and any(row["value"] > 50 for row in rows):
        scale["domain"] = [0, 100]
    largest = max(abs(row["value"]) for row in rows)
    axis: dict[str, Any] = {"format": ".2~e" if panel.unit == "rate" else ",~f" if largest < 10_000 else "~s"}
    if panel.unit == "count":
        axis["tickMinStep"] = 1
    return {
        "x": _time("time", span),
        "y": {"field": "value", "type": "quantitative", "title": unit or None, "scale": scale, "axis": axis},
        "color": {"field": "color", "type": "nominal", "scale": None},
        "opacity": {"field": "opacity", "type": "quantitative", "scale": None},
    }


def _limits(panel: Panel, scale: formats.Scale) -> dict[str, Any]:
    values = [{"at": value / scale.size} for value, _ in panel.thresholds]
    return {
        "data": {"values": values},
        "mark": {"type": "rule", "strokeDash": DASHES["limit"], "opacity": 0.6, "color": "currentColor"},
        "encoding": {"y": {"field": "at", "type": "quantitative"}},
    }


def _time(field: str, span: tuple[float, float]) -> dict[str, Any]:
    return {
        "field": field,
        "type": "temporal",
        "title": None,
        "scale": {"type": "utc", "domain": [_ms(span[0]), _ms(span[1])]},
        "axis": {"tickCount": 5, "format": "%H:%M:%S" if span[1] - span[0] < 600 else _day_format(span)},
    }


def _day_format(span: tuple[float, float]) -> str:
    return "%H:%M" if span[1] - span[0] < 36 * 3600 else "%d %b %H:%M" if span[1] - span[0] < 5 * 86400 else "%d %b"


def _stretches(series: Series, step: float) -> Iterator[tuple[float, float, float]]:
    """Begin, end and value of each time in which the value didn't change."""
    begin, last, value = series.points[0][0], series.points[0][0], series.points[0][1]
    for time, each in series.points[1:]:
        if each != value or time - last > 1.5 * step:
            yield begin, min(time, last + step), value
            begin, value = time, each
        last = time
    yield begin, last + step, value


def _color(labels: Mapping[str, str], colors: Mapping[str, str]) -> str:
    return colors.get(labels.get("run", ""), "currentColor")


def _ms(seconds: float) -> int:
    return round(1000 * seconds)


def _svg(spec: dict[str, Any], size: tuple[int, int]) -> str:
    import vl_convert

    whole = spec | {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": size[0],
        "height": size[1],
        "autosize": {"type": "fit", "contains": "padding"},
        "background": "transparent",
        "config": CONFIG,
    }
    drawn: str = vl_convert.vegalite_to_svg(whole)
    return drawn
