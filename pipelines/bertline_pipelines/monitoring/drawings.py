"""Panels, drawn into SVG without a browser, in the theme of the report's charts.

A run has one colour in all drawings; lines of one panel differ by dashes, and fine-tuning is fainter than pre-training.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import altair as alt

from bertline.report import theme
from bertline_pipelines.monitoring import expressions, formats
from bertline_pipelines.monitoring.formats import Answers
from bertline_pipelines.monitoring.panels import Panel, Query, Style
from bertline_pipelines.monitoring.queries import Series


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
    base = _base(rows, span, panel, scale.name)
    layers = [_line(base, style) for style in theme.DASHES]
    layers.append(base.transform_filter("datum.alone").mark_point(filled=True, size=20))
    if panel.thresholds:
        layers.append(_limits(panel, scale))
    return _svg(alt.layer(*layers), size)


def states(answers: Answers, span: tuple[float, float], step: float, size: tuple[int, int]) -> str:
    """Phases over time as SVG: a row for each round."""
    rows: list[dict[str, Any]] = []
    for query, found in answers:
        for series in found:
            for begin, end, value in _stretches(series, step):
                phase = expressions.PHASES[int(value) - 1]
                rows.append({"row": formats.name(query, series), "begin": _ms(begin), "end": _ms(end), "phase": phase})
    # The round that began first is on top.
    order = list(dict.fromkeys(row["row"] for row in sorted(rows, key=lambda row: row["begin"])))
    chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_bar(height=alt.RelativeBandSize(band=0.7))
        .encode(
            x=_time("begin", span),
            x2="end",
            y=alt.Y("row:N", sort=order, title=None, axis=alt.Axis(labelLimit=240)),
            color=alt.Color(
                "phase:N", scale=alt.Scale(domain=list(expressions.PHASES), range=list(theme.AREAS)), legend=None
            ),
        )
    )
    height = max(70, 22 * len(order) + 10)
    return _svg(chart, (size[0], height))


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
    epochs = sorted({row["round"] for row in rows})
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X(
            "round:Q",
            title="pre-training epochs",
            axis=alt.Axis(values=epochs),
            scale=alt.Scale(zero=False, padding=24),
        ),
        y=alt.Y("value:Q", title="%", scale=alt.Scale(zero=False, padding=12)),
        color=alt.Color("color:N", scale=None),
    )
    line = base.mark_line(strokeWidth=theme.WIDTHS["line"]).encode(detail="line:N")
    points = base.mark_point(filled=True, size=70, opacity=1).encode(shape=alt.Shape("task:N", legend=None))
    return _svg(alt.layer(line, points), size)


def _rows(
    query: Query, series: Series, step: float, scale: formats.Scale, colors: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    shared = {
        "style": query.style,
        "color": "currentColor" if query.style == "limit" else _color(series.labels, colors),
        "opacity": 0.7 if query.style == "limit" else theme.FAINT if series.labels.get("stage") == "evaluate" else 1,
    }
    for number, segment in enumerate(_segments(series.points, step)):
        line = f"{query.name} {formats.name(query, series)} {series.labels.get('stage', '')} {number}"
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


def _line(base: alt.Chart, style: Style) -> alt.Chart:
    line: alt.Chart = (
        base.transform_filter(alt.FieldEqualPredicate(field="style", equal=style))
        .mark_line(
            strokeDash=theme.DASHES[style],
            strokeWidth=theme.WIDTHS[style],
            strokeCap="round" if style == "points" else "butt",
        )
        .encode(detail="line:N")
    )
    return line


def _base(rows: Sequence[dict[str, Any]], span: tuple[float, float], panel: Panel, unit: str) -> alt.Chart:
    is_high = panel.unit == "share" and panel.maximum == 1 and any(row["value"] > 50 for row in rows)
    domain = [0, 100] if is_high else alt.Undefined
    largest = max(abs(row["value"]) for row in rows)
    numbers = ".2~e" if panel.unit == "rate" else ",~f" if largest < 10_000 else "~s"
    axis = alt.Axis(format=numbers, tickMinStep=1 if panel.unit == "count" else alt.Undefined)
    return alt.Chart(alt.InlineData(values=list(rows))).encode(
        x=_time("time", span),
        y=alt.Y(
            "value:Q",
            title=unit or None,
            scale=alt.Scale(zero=panel.minimum == 0, nice=True, domain=domain),
            axis=axis,
        ),
        color=alt.Color("color:N", scale=None),
        opacity=alt.Opacity("opacity:Q", scale=None),
    )


def _limits(panel: Panel, scale: formats.Scale) -> alt.Chart:
    values = [{"at": value / scale.size} for value, _ in panel.thresholds]
    limits: alt.Chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_rule(strokeDash=theme.DASHES["limit"], opacity=0.6, color="currentColor")
        .encode(y="at:Q")
    )
    return limits


def _time(field: str, span: tuple[float, float]) -> alt.X:
    labels = "%H:%M:%S" if span[1] - span[0] < 600 else _day_format(span)
    scale = alt.Scale(type="utc", domain=[_ms(span[0]), _ms(span[1])])
    return alt.X(f"{field}:T", title=None, scale=scale, axis=alt.Axis(tickCount=5, format=labels))


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


def _svg(chart: "theme.AnyChart", size: tuple[int, int]) -> str:
    fitted = alt.AutoSizeParams(type="fit", contains="padding")
    return theme.svg(theme.spec(chart, "panel", width=size[0], height=size[1], autosize=fitted))
