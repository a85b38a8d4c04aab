"""The charts, as Vega-Lite specifications.

The browser draws these specifications; without a browser they are drawn into SVG and PNG files. The look of all charts
is in `theme`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from bertline.report import formats, theme
from bertline.report.formats import TimeUnit
from bertline.report.scores import Loss, Score

HEIGHT = 340
FILE_WIDTH = 720
LEGEND_CHARACTERS = 34
"""Characters of a legend's line on a phone."""

SHARED = ("$schema", "config", "datasets", "background", "padding", "autosize")
"""Keys that a specification has only at its top."""


@dataclass(frozen=True)
class Chart:
    """One chart, with a description in words."""

    id: str
    title: str
    spec: dict[str, Any]
    """Vega-Lite, as wide as its container."""
    alternative: str
    """A description for readers who can't see the chart."""
    caption: str


def accuracy(
    task: str, label: str, models: Sequence[str], scores: Sequence[Score], unit: TimeUnit, subtitle: str
) -> Chart | None:
    """Accuracy against pre-training wall-clock, a line for each model; None if there is nothing to draw.

    Args:
        task: The task, part of the chart's name.
        label: The task's name for readers.
        models: All models of the experiment, so that each keeps its colour in every chart.
        scores: Scores of the task.
        unit: Unit of the wall-clock.
        subtitle: A warning to show in the chart itself; may be empty.
    """
    shown = [score for score in scores if score.accuracy is not None and score.wall_clock_s is not None]
    if not shown:
        return None
    rows = [_accuracy_row(score, unit) for score in shown]
    bars = [row for row in rows if row["low"] is not None]
    values = [row[name] for row in rows for name in ("low", "high", "accuracy") if row[name] is not None]
    majority = next((score.majority for score in shown if score.majority is not None), None)
    chance, name = (1 / (shown[0].labels or 1), "chance") if majority is None else (majority, "largest class")
    domain, with_chance = _accuracy_domain(min(values), max(values), chance)
    scale = alt.Scale(domain=list(domain), nice=False, zero=False)
    x = _wall_clock(unit)
    y = alt.Y("accuracy:Q", title="dev accuracy", scale=scale, axis=alt.Axis(labelExpr=_ticks(domain), tickCount=6))
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("steps:Q", format=","),
        alt.Tooltip("time:N", title="wall-clock"),
        alt.Tooltip("shown:N", title="accuracy"),
        alt.Tooltip("interval:N", title="95 % interval of the mean"),
        alt.Tooltip("n:Q"),
    ]
    layers: list[Any] = []
    if with_chance:
        layers += _chance(chance, name, scale)
    if bars:
        layers.append(
            alt.Chart(alt.InlineData(values=bars))
            .mark_rule(strokeWidth=1.5, opacity=0.55)
            .encode(x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q", color=_color(models))
        )
    layers += _lines_and_points(rows, models, x, y, tooltip, size=90)
    lines = [] if with_chance else [f"{name.capitalize()}, {formats.percent(chance)}, lies below this axis"]
    title = f"{label}: accuracy against pre-training wall-clock"
    return Chart(
        id=f"accuracy-{task}",
        title=title,
        spec=_spec(alt.layer(*layers), [subtitle, *lines]),
        alternative=f"Line chart of {label} dev accuracy against pre-training wall-clock. "
        + _in_words([(score.model, score.wall_clock_s or 0, formats.percent(score.accuracy)) for score in shown], unit),
        caption=_accuracy_caption(shown),
    )


def held_out_loss(models: Sequence[str], losses: Sequence[Loss], unit: TimeUnit, subtitle: str) -> Chart | None:
    """Held-out MLM loss against pre-training wall-clock, a point for each epoch; None if there is nothing to draw."""
    if not losses:
        return None
    rows: list[dict[str, Any]] = [
        {
            "model": loss.model,
            "epoch": loss.epoch,
            "steps": loss.step,
            "wall_clock": unit.of(loss.wall_clock_s),
            "time": unit.spoken(loss.wall_clock_s),
            "loss": loss.loss,
            "n": loss.n,
        }
        for loss in losses
    ]
    x = _wall_clock(unit)
    y = alt.Y("loss:Q", title="held-out MLM loss, nats", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    tooltip = [
        alt.Tooltip("model:N"),
        alt.Tooltip("epoch:Q"),
        alt.Tooltip("steps:Q", format=","),
        alt.Tooltip("time:N", title="wall-clock"),
        alt.Tooltip("loss:Q", format=".3f"),
        alt.Tooltip("n:Q", title="runs"),
    ]
    size = 60 if len(rows) <= 40 * len(models) else 12
    return Chart(
        id="held-out-loss",
        title="Held-out MLM loss against pre-training wall-clock",
        spec=_spec(alt.layer(*_lines_and_points(rows, models, x, y, tooltip, size)), [subtitle]),
        alternative="Line chart of held-out masked-language-model loss against pre-training wall-clock. "
        + _in_words([(loss.model, loss.wall_clock_s, f"{loss.loss:.3f}") for loss in losses], unit),
        caption="A point is an epoch"
        + (", mean over pre-training seeds." if any(loss.n > 1 for loss in losses) else ", of one run."),
    )


@functools.cache
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one JavaScript that needs no network."""
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=theme.vega_lite())
    return script.replace("</script", "<\\/script")  # inside a string literal it means the same


def svg(chart: Chart, *, for_file: bool) -> str:
    """A chart as SVG: in the page with the page's colours, in a file on white and with its title."""
    return theme.svg(_fixed(chart, for_file))


def write_files(charts: Sequence[Chart], directory: Path, stem: str) -> None:
    """Charts, one above the other, as `stem`.svg and `stem`.png."""
    specs = [_fixed(chart, for_file=True) for chart in charts]
    shared = {name: part for name, part in specs[0].items() if name in SHARED}
    parts = [{name: part for name, part in spec.items() if name not in SHARED} for spec in specs]
    datasets = {name: rows for spec in specs for name, rows in spec["datasets"].items()}
    spec = shared | {"datasets": datasets, "vconcat": parts, "spacing": 40}
    # Each part has its own legend and axes: nothing to merge across tasks.
    spec["resolve"] = {"scale": {"color": "independent", "shape": "independent"}}
    text = theme.svg(spec if len(parts) > 1 else specs[0])
    (directory / f"{stem}.svg").write_text(text, encoding="utf-8")
    (directory / f"{stem}.png").write_bytes(vl_convert.svg_to_png(text, scale=2))


def _fixed(chart: Chart, for_file: bool) -> dict[str, Any]:
    spec = chart.spec | {"width": FILE_WIDTH, "autosize": {"type": "pad"}}
    if for_file:
        warnings = spec.get("title", {}).get("text", [])
        title = {"text": chart.title, "subtitle": warnings, "anchor": "start", "offset": 12}
        spec |= {"background": "white", "title": title, "padding": 16}
    return spec


def _accuracy_row(score: Score, unit: TimeUnit) -> dict[str, Any]:
    assert score.accuracy is not None
    assert score.wall_clock_s is not None
    half = score.half_width
    low, high = (None, None) if half is None else (max(0.0, score.accuracy - half), min(1.0, score.accuracy + half))
    return {
        "model": score.model,
        "epoch": score.epoch,
        "steps": score.step,
        "wall_clock": unit.of(score.wall_clock_s),
        "time": unit.spoken(score.wall_clock_s),
        "accuracy": score.accuracy,
        "shown": formats.percent(score.accuracy),
        "interval": "none: n = 1" if half is None else f"±{formats.points(half)} points",
        "low": low,
        "high": high,
        "n": score.n,
    }


def _accuracy_domain(low: float, high: float, chance: float) -> tuple[tuple[float, float], bool]:
    """Limits of the axis, and whether they include chance: not if the lines would shrink to a third of the height."""
    span = max(high - low, 0.01)
    with_chance = low - chance <= 2 * span
    if with_chance:
        low, high = min(low, chance), max(high, chance)
    pad = 0.08 * max(high - low, 0.01)
    return (max(0.0, low - pad), min(1.0, high + pad)), with_chance


def _ticks(domain: tuple[float, float]) -> str:
    """Percent as in the tables, with a digit after the point if ticks are closer than one."""
    return f"format(100 * datum.value, '.{0 if domain[1] - domain[0] >= 0.045 else 1}f') + ' %'"


def _chance(chance: float, name: str, scale: alt.Scale) -> list[Any]:
    """A line at the accuracy of a model that learned nothing: always the largest class, or a guess."""
    base = alt.Chart(alt.InlineData(values=[{"chance": chance, "label": f"{name}, {formats.percent(chance)}"}]))
    y = alt.Y("chance:Q", scale=scale)
    return [
        base.mark_rule(strokeDash=[5, 4], opacity=0.65, color="currentColor").encode(y=y),
        base.mark_text(align="right", baseline="bottom", dy=-4, color="currentColor", opacity=0.8).encode(
            y=y, x=alt.value("width"), text="label:N"
        ),
    ]


def _lines_and_points(
    rows: list[dict[str, Any]], models: Sequence[str], x: alt.X, y: alt.Y, tooltip: list[alt.Tooltip], size: int
) -> list[Any]:
    base = alt.Chart(alt.InlineData(values=rows))
    order = alt.Order("epoch:Q")
    return [
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=_color(models), order=order),
        base.mark_point(filled=True, opacity=1, size=size).encode(
            x=x,
            y=y,
            color=_color(models),
            shape=alt.Shape("model:N", scale=_ordinal(models, theme.SHAPES), legend=_legend(models)),
            tooltip=tooltip,
        ),
    ]


def _wall_clock(unit: TimeUnit) -> alt.X:
    return alt.X(
        "wall_clock:Q",
        title=f"pre-training wall-clock, {unit.long}",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(tickCount=8),
    )


def _color(models: Sequence[str]) -> alt.Color:
    return alt.Color("model:N", scale=_ordinal(models, theme.COLORS), legend=_legend(models))


def _ordinal(models: Sequence[str], values: Sequence[str]) -> alt.Scale:
    return alt.Scale(domain=list(models), range=[values[i % len(values)] for i in range(len(models))])


def _legend(models: Sequence[str]) -> alt.Legend:
    longest = max(map(len, models)) + 4  # the symbol and the space after it
    return alt.Legend(title=None, orient="top", columns=max(1, min(len(models), LEGEND_CHARACTERS // longest)))


def _spec(chart: alt.LayerChart | alt.FacetChart, subtitle: list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {"width": "container", "height": HEIGHT}
    if lines := [line for line in subtitle if line]:
        properties["title"] = alt.TitleParams(lines, anchor="start", offset=10, fontSize=12, fontWeight="normal")
    fitted = alt.AutoSizeParams(type="fit-x", contains="padding")
    return theme.spec(chart, "figure", autosize=fitted, **properties)


def _accuracy_caption(shown: Sequence[Score]) -> str:
    parts = ["A point is a milestone"]
    most = max(score.n for score in shown)
    fewest = min(score.n for score in shown)
    if most == 1:
        parts.append(", a single fine-tuning of a single run: the spread between seeds isn't known, so no error bars.")
    else:
        what = "pre-training seeds" if any(score.runs > 1 for score in shown) else "fine-tuning seeds"
        n = f"n = {most}" if most == fewest else f"n = {fewest} to {most}"
        parts.append(
            f", the mean over {what} ({n}); bars are the 95 % confidence interval of that mean (Student's t). "
            "The sampling error of the dev set comes on top."
        )
    return "".join(parts)


def _in_words(points: Sequence[tuple[str, float, str]], unit: TimeUnit) -> str:
    """First and last point of each model's line."""
    lines: dict[str, list[tuple[float, str]]] = {}
    for model, time, value in points:
        lines.setdefault(model, []).append((time, value))
    sentences = []
    for model, line in lines.items():
        (begin, first), (end, last) = line[0], line[-1]
        if len(line) == 1:
            sentences.append(f"{model}: {first} at {unit.spoken(begin)}.")
        else:
            sentences.append(f"{model}: from {first} at {unit.spoken(begin)} to {last} at {unit.spoken(end)}.")
    return " ".join(sentences)
