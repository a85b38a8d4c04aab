"""The report as a self-contained HTML page, and as Markdown with chart files; both show the same facts."""

import json
import re
import textwrap
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

import bertline
from bertline.experiment.specs import BERT_TOKENS, Experiment
from bertline.report import charts, findings, formats, samples, scores, tables
from bertline.report.charts import Chart
from bertline.report.collect import Collected
from bertline.report.formats import TimeUnit
from bertline.report.manifests import PretrainManifest
from bertline.report.tables import Cell, Table
from bertline.sources.files import Source

HTML = "report.html"
MARKDOWN = "report.md"
ACCURACY = "wallclock-accuracy"
"""Stem of the chart's files."""
LOSS = "wallclock-loss"

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")


def write(collected: Collected, directory: Path) -> Path:
    """Write the report's files into a directory; return the HTML page."""
    directory.mkdir(parents=True, exist_ok=True)
    facts = _facts(collected)
    for stem, drawn in ((ACCURACY, facts["accuracy_charts"]), (LOSS, [facts["loss_chart"]])):
        if drawn := [chart for chart in drawn if chart]:
            charts.write_files(drawn, directory, stem)
    page = directory / HTML
    page.write_text(_html().get_template("report.html.j2").render(facts), encoding="utf-8")
    text = _markdown().get_template("report.md.j2").render(facts)
    (directory / MARKDOWN).write_text(text, encoding="utf-8")
    return page


def _facts(collected: Collected) -> dict[str, Any]:
    """All that the templates show."""
    experiment = collected.experiment
    unit = _unit(collected)
    scored = scores.scores(collected)
    warning = f"Sample data: {samples.MEANING}" if samples.sources(experiment) else ""
    models = list(experiment.models)
    accuracy_charts = [
        charts.accuracy(
            task,
            samples.label_of(task, experiment),
            models,
            [score for score in scored if score.task == task],
            unit,
            warning,
        )
        for task in experiment.evaluate.tasks
    ]
    loss_chart = charts.held_out_loss(models, scores.losses(collected), unit, warning)
    drawn = [chart for chart in [*accuracy_charts, loss_chart] if chart]
    return {
        "collected": collected,
        "experiment": experiment,
        "version": bertline.__version__,
        "banner": samples.banner(experiment),
        "completeness": findings.of_completeness(collected),
        "has_gaps": bool(collected.gaps()),
        "accuracy_charts": [chart for chart in accuracy_charts if chart],
        "loss_chart": loss_chart,
        "comparisons": findings.of_comparisons(collected, scores.comparisons(scored), unit),
        "worthless": findings.of_worthless_scores(collected, scored),
        "sampling": findings.of_sampling(collected, scored),
        "lost_time": findings.of_lost_time(collected),
        "accuracies": tables.accuracies(collected, scored, unit),
        "corpus": tables.corpus(collected),
        "dropped_templates": tables.dropped_templates(collected),
        "skipped_bytes": collected.corpus.manifest.results.skipped_bytes if collected.corpus.manifest else 0,
        "models": tables.models(collected),
        "rounds": tables.rounds(collected, unit),
        "fine_tunings": tables.fine_tunings(collected),
        "provenance": tables.provenance(collected),
        "reference_epochs": tables.reference_epochs(experiment),
        "vocabulary_key": tables.key(collected.vocabulary.node.key, "vocabulary"),
        "corpus_key": tables.key(collected.corpus.node.key, "corpus"),
        "bert_tokens": formats.integer(BERT_TOKENS),
        "specification": specification(experiment),
        "local_sources": [source for source in experiment.sources() if source.is_local],
        "files": {"accuracy": f"{ACCURACY}.png", "loss": f"{LOSS}.png"},
        "bundle": Markup(charts.bundle()) if drawn else "",
        "specs": Markup(_json([{"id": chart.id, "spec": chart.spec} for chart in drawn])),
    }


def specification(experiment: Experiment) -> str:
    """The experiment with all its defaults, as a file that runs it again.

    Local files are named without their folder: a reader has them elsewhere and can compare the checksum.
    """
    document = experiment.with_sources(Source.by_name).model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _unit(collected: Collected) -> TimeUnit:
    """The unit for the longest pre-training."""
    times = [item.manifest.measurements.wall_clock_s or 0 for item in collected.of(PretrainManifest) if item.manifest]
    return formats.time_unit(max(times, default=0))


def _json(value: Any) -> str:
    """JSON that can't close the script element around it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _html() -> jinja2.Environment:
    environment = _environment(autoescape=True)
    environment.filters["svg"] = lambda chart: Markup(charts.svg(chart, for_file=False))
    return environment


def _markdown() -> jinja2.Environment:
    """An environment whose `finalize` escapes all output for Markdown, like autoescape for HTML."""
    environment = _environment(autoescape=False, finalize=_escape)
    environment.filters["table"] = lambda table: Markup(_markdown_table(table))
    environment.filters["image"] = _image
    environment.filters["verbatim"] = Markup  # for keys and names whose characters are checked
    environment.filters["indented"] = lambda text: Markup(textwrap.indent(text, "    "))  # a code block nothing can end
    return environment


def _environment(**options: Any) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("bertline.report"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **options,
    )


def _escape(value: Any) -> str:
    """Escaped text for Markdown: without markup, line breaks or table separators."""
    if isinstance(value, Markup):
        return str(value)
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _image(chart: Chart, file: str) -> Markup:
    return Markup(f"![{_escape(chart.alternative)}]({file})")


def _markdown_table(table: Table) -> str:
    header = " | ".join(_escape(column.name) for column in table.columns)
    rule = " | ".join("---:" if column.is_number else ":---" for column in table.columns)
    rows = [" | ".join(map(_markdown_cell, row)) for row in table.rows]
    return "\n".join(f"| {line} |" for line in [header, rule, *rows])


def _markdown_cell(cell: Cell) -> str:
    text = f"`{cell.text}`" if cell.is_code else _escape(cell.text)
    if cell.is_gap:
        return f"*{text}*"
    return f"[{text}](<{cell.href.translate(_IN_LINK)}>)" if cell.href else text


_IN_LINK = str.maketrans({"<": "%3C", ">": "%3E", " ": "%20", "|": "%7C", "\n": "%0A", "\\": "%5C"})
