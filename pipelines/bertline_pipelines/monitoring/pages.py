"""The panels of one experiment, from a Prometheus, as one self-contained HTML page."""

import datetime
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bertline
from bertline.errors import UserError
from bertline.report import theme
from bertline_pipelines.monitoring import expressions, formats, panels
from bertline_pipelines.monitoring.formats import Answers
from bertline_pipelines.monitoring.panels import Panel, Query
from bertline_pipelines.monitoring.queries import Prometheus, Series
from bertline_pipelines.monitoring.sections import SECTIONS

SAMPLES = 300
"""Points of a line at most."""
PAGE_PX = 1240
GAP_PX = 20
ROW_PX = 26
"""Pixels of one unit of a panel's height."""
LINES = 6
"""Lines of a tile with current values at most."""


@dataclass(frozen=True)
class Window:
    """The time that is shown, and its resolution."""

    start: float
    end: float
    step: float
    rates: str
    """The window of rates, as a PromQL duration."""

    @property
    def span(self) -> str:
        """The whole time as a PromQL duration."""
        return f"{math.ceil(self.end - self.start) + 1}s"


@dataclass
class Frame:
    """A panel with the values for the template."""

    panel: Panel
    svg: str = ""
    words: str = ""
    """The drawing in words, for screen readers."""
    keys: list[Query] = field(default_factory=list)
    """Queries in the legend."""
    values: list[tuple[str, str, str]] = field(default_factory=list)
    """Name, value and colour of each current value."""
    more: int = 0
    header: list[str] = field(default_factory=list)
    numbers: int = 0
    """Number of columns, from the right, that hold numbers."""
    rows: list[list[str]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        return not (self.svg or self.values or self.rows)


def write(
    prometheus_url: str,
    experiment: str,
    out: Path,
    since: datetime.datetime,
    until: datetime.datetime | None = None,
) -> Path:
    """Draw all panels; return the page's path.

    Args:
        prometheus_url: For example `http://localhost:9090`.
        experiment: Name of the experiment.
        out: The file to write.
        since: Begin of the time that is shown; the page begins with the first sample after it.
        until: End of that time; None means now.

    Raises:
        UserError: Prometheus has no samples of the experiment in that time, or the URL isn't a Prometheus.
        TransientError: Prometheus doesn't answer.
    """
    server = Prometheus(prometheus_url)
    moment = until or datetime.datetime.now(datetime.UTC)
    window = _window(server, experiment, since.timestamp(), moment.timestamp())
    runs = _runs(server, experiment, window)
    colors = _colors(runs)
    sections = [
        (section.title, [_frame(server, experiment, panel, window, colors) for panel in section.panels])
        for section in SECTIONS
    ]
    facts = {
        "experiment": experiment,
        "version": bertline.__version__,
        "sections": sections,
        "colors": colors,
        "phases": list(zip(expressions.PHASES, theme.AREAS, strict=True)),
        "span": _spoken(window),
        "source": prometheus_url,
        "dashes": {style: " ".join(map(str, dash)) for style, dash in theme.DASHES.items()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(_template().render(facts), encoding="utf-8")
    return out


def _window(server: Prometheus, experiment: str, start: float, end: float) -> Window:
    """The part of the time in which there are samples."""
    about = _bind('count (bertline_info{experiment="$experiment"})', experiment)
    coarse = max(1.0, (end - start) / 1000)
    found = server.over(about, start, end, coarse)
    if not found:
        known = server.values("experiment", "bertline_info", start, end)
        others = f"it has {', '.join(known)}" if known else "it has no experiment at all"
        raise UserError(
            f"the Prometheus at {server.url} has no samples of {experiment} between {_utc(start)} and {_utc(end)}; "
            f"{others}. Check the name, and whether Prometheus scrapes the pods"
        )
    times = [time for time, _ in found[0].points]
    start, end = max(start, times[0] - coarse), min(end, times[-1] + coarse)
    interval = _interval(server, experiment, times[-1])
    step = max(1.0, interval, (end - start) / SAMPLES)
    return Window(start, end, step, f"{math.ceil(max(4 * interval, step))}s")


def _interval(server: Prometheus, experiment: str, time: float) -> float:
    """Seconds between the last two scrapes before a time."""
    selector = _bind('bertline_info{experiment="$experiment"}[10m]', experiment)
    moments = [[each for each, _ in series.points] for series in server.samples(selector, time)]
    gaps = [after - before for line in moments for before, after in itertools.pairwise(line)]
    return statistics.median(gaps) if gaps else 15.0


def _runs(server: Prometheus, experiment: str, window: Window) -> list[str]:
    """Names of runs, short ones first: `6L` before `12L`, and before `6L-seed2`."""
    found = server.at(_bind(expressions.highest("bertline_info", by="run"), experiment, window), window.end)
    names = {series.labels.get("run", "") for series in found}
    return sorted(names, key=lambda each: (len(each), each))


def _colors(runs: Sequence[str]) -> dict[str, str]:
    return {run: theme.color(index) for index, run in enumerate(runs)}


def _frame(server: Prometheus, experiment: str, panel: Panel, window: Window, colors: dict[str, str]) -> Frame:
    answers = [(query, _ask(server, experiment, query, window)) for query in panel.queries]
    answers = [(query, found) for query, found in answers if found]
    frame = Frame(panel)
    if not any(query.style != "limit" for query, _ in answers):
        return frame  # a limit without values isn't shown
    from bertline_pipelines.monitoring import drawings  # with altair, which takes a second

    width = round(PAGE_PX * panel.width / 24) - GAP_PX - 24
    size = (width, panel.height * ROW_PX - 40)
    span = (window.start, window.end)
    if panel.kind == "stat":
        values = [
            (formats.name(query, series), formats.text(series.value, panel.unit), colors.get(series.labels["run"], ""))
            for query, found in answers
            for series in found
        ]
        frame.values, frame.more = sorted(values)[:LINES], len(values) - LINES
    elif panel.kind == "table":
        frame.header, frame.rows = _table(panel, answers)
        frame.numbers = len(panel.queries)
    elif panel.kind == "rounds":
        frame.svg = drawings.rounds(panel, answers, colors, size)
    elif panel.kind == "states":
        frame.svg = drawings.states(answers, span, window.step, size)
    else:
        frame.svg = drawings.lines(panel, answers, span, window.step, colors, size)
        frame.keys = [query for query, _ in answers if query.name]
    frame.words = _words(panel, answers)
    return frame


def _ask(server: Prometheus, experiment: str, query: Query, window: Window) -> list[Series]:
    expr = _bind(query.expr, experiment, window)
    if query.instant:
        return server.at(expr, window.end)
    return server.over(expr, window.start, window.end, window.step)


def _bind(expr: str, experiment: str, window: Window | None = None) -> str:
    rates, span = (window.rates, window.span) if window else ("1m", "1m")
    return expressions.bind(expr, experiment=experiment, window=rates, span=span)


def _table(panel: Panel, answers: Answers) -> tuple[list[str], list[list[str]]]:
    """A row for each set of values of the columns' labels."""
    cells: dict[tuple[str, ...], dict[str, str]] = {}
    for query, found in answers:
        for series in found:
            row = cells.setdefault(tuple(series.labels.get(label, "") for label in panel.columns), {})
            row[query.name] = formats.text(series.value, query.unit or panel.unit)
    header = [*panel.columns.values(), *(query.name for query in panel.queries)]
    rows = [
        [
            *labels,
            *(
                cells[labels].get(query.name, "–" if not query.needs else panels.NEEDS[query.needs])
                for query in panel.queries
            ),
        ]
        for labels in sorted(cells, key=_natural)
    ]
    return header, rows


def _natural(labels: Sequence[str]) -> list[tuple[int, str]]:
    return [(len(label) if label.isdigit() else 0, label) for label in labels]


def _words(panel: Panel, answers: Answers) -> str:
    said = [
        f"{' '.join(filter(None, (formats.name(query, series), query.name)))}: "
        + formats.text(series.value, query.unit or panel.unit)
        for query, found in answers
        for series in found
    ]
    return f"{panel.title}. At the end: {'; '.join(said[:12])}"


def _spoken(window: Window) -> str:
    return f"{_utc(window.start)} to {_utc(window.end)}"


def _utc(time: float) -> str:
    return datetime.datetime.fromtimestamp(time, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader("bertline_pipelines.monitoring"), jinja2.PackageLoader("bertline.report")]
        ),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("monitoring.html.j2")
