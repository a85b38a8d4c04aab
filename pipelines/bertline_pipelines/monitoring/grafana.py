"""The panels as a dashboard for Grafana 10 and later: `text()` is its JSON, the same for the same panels.

Grafana chooses colours by a series' name, so a run has the same colour in all panels whose legend is its name. Two
hidden variables depend on the cluster: `kfp`, the address of Kubeflow's UI, and `report`, the address of reports. Set
them in the dashboard's URL, `?var-kfp=https://kfp.example`, or in the settings of a copy.
"""

import itertools
import json
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import (
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, units
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from bertline_pipelines.monitoring import expressions
from bertline_pipelines.monitoring.panels import Panel, Query, Unit
from bertline_pipelines.monitoring.sections import SECTIONS

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder

UID = "bertline"
KFP_UI = "http://localhost:8080"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

UNITS: dict[Unit, str] = {
    "": units.NoUnit,
    "bytes": units.BytesIEC,
    "seconds": units.Seconds,
    "share": units.PercentUnit,
    "flops": units.FlopsPerSecond,
    "count": units.Short,
    "per second": units.Short,
    "loss": units.NoUnit,
    "rate": units.ScientificNotation,
    "phase": units.NoUnit,
}
DECIMALS: dict[Unit, int] = {"loss": 3, "share": 1}
COLORS = {"good": "green", "warning": "orange", "bad": "red"}
PHASE_COLORS = ("blue", "light-blue", "green", "purple", "yellow", "text")
LIMIT_COLOR = "semi-dark-red"


def text() -> str:
    """The dashboard, to write into a file."""
    return json.dumps(_dashboard().build(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def _dashboard() -> dashboard.Dashboard:
    board = (
        dashboard.Dashboard("bertline")
        .uid(UID)
        .description("Pre-training and fine-tuning of small BERTs: the memory and the progress of each model.")
        .tags(["bertline"])
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
    )
    for variable in _variables():
        board = board.with_variable(variable)
    for title, icon, url, tooltip in (
        (
            "Kubeflow runs",
            "external link",
            "${kfp}/#/runs",
            "Runs of all experiments; `bertline status` names this one's",
        ),
        ("Report", "doc", "${report}", "The report of the experiment so far"),
    ):
        link = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).icon(icon)
        board = board.link(link.tooltip(tooltip).target_blank(True))
    ids = itertools.count(1)  # part of a panel's URL
    for section in SECTIONS:
        row = dashboard.Row(section.title).id(next(ids)).collapsed(section.collapsed)
        panels = [_panel(panel, next(ids)) for panel in section.panels]
        if section.collapsed:
            for panel in panels:
                row = row.with_panel(panel)
        if section.title:
            board = board.with_row(row)
        if not section.collapsed:
            for panel in panels:
                board = board.with_panel(panel)
    return board


def _variables() -> list["Builder[models.VariableModel]"]:
    hidden = models.VariableHide.HIDE_VARIABLE
    everything = models.VariableOption(text=["All"], value=["$__all"])
    return [
        dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        dashboard.QueryVariable("experiment")
        .label("Experiment")
        .datasource(SOURCE)
        .query("label_values(bertline_info, experiment)")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC),
        dashboard.QueryVariable("run")
        .label("Run")
        .description("Model and seed")
        .datasource(SOURCE)
        .query('label_values(bertline_info{experiment="$experiment"}, run)')
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything),
        dashboard.TextBoxVariable("kfp").label("Kubeflow's UI").default_value(KFP_UI).hide(hidden),
        dashboard.TextBoxVariable("report")
        .label("Address of the report")
        .description("May contain ${experiment}. Kubeflow's list of artifacts has the report too.")
        .default_value(f"{KFP_UI}/#/artifacts")
        .hide(hidden),
    ]


def _panel(panel: Panel, number: int) -> "Builder[models.Panel]":
    # The SDK's builders have these methods in common, but no common type with them.
    builder: Any = {"stat": _stat, "lines": _lines, "table": _table, "rounds": _rounds, "states": _states}[panel.kind](
        panel
    )
    builder = (
        builder.id(number)
        .title(panel.title)
        .description(panel.description)
        .datasource(SOURCE)
        .span(panel.width)
        .height(panel.height)
        .no_value(panel.missing)
        .unit(UNITS[panel.unit])
    )
    if panel.unit == "phase":
        builder = builder.mappings([_phases()])
    if panel.unit in DECIMALS:
        builder = builder.decimals(DECIMALS[panel.unit])
    if panel.minimum is not None and panel.kind != "states":
        builder = builder.min(panel.minimum)
    if panel.maximum is not None:
        builder = builder.max(panel.maximum)
    as_table = panel.kind in ("table", "rounds")
    for index, query in enumerate(panel.queries):
        builder = builder.with_target(_target(query, chr(ord("A") + index), as_table))
    result: Builder[models.Panel] = builder
    return result


def _target(query: Query, ref: str, as_table: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(SOURCE)
    if as_table:
        return target.instant().format(PromQueryFormat.TABLE)
    target = target.legend_format(query.legend)
    return target.instant() if query.instant else target.range()


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .justify_mode(common.BigValueJustifyMode.AUTO)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME)
        .orientation(common.VizOrientation.AUTO)
        .thresholds(_thresholds(panel))
        .color_scheme(_color(models.FieldColorModeId.THRESHOLDS))
    )


def _lines(panel: Panel) -> timeseries.Panel:
    builder = (
        timeseries.Panel()
        .color_scheme(_color(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(2)
        .fill_opacity(0)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs([])
        )
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if panel.thresholds:
        style = common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        builder = builder.thresholds(_thresholds(panel)).thresholds_style(style)
    for index, query in enumerate(panel.queries):
        if properties := _style(query):
            builder = builder.override_by_query(chr(ord("A") + index), properties)
    return builder


def _style(query: Query) -> list[models.DynamicConfigValue]:
    dashes = models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]})
    thin = models.DynamicConfigValue("custom.lineWidth", 1)
    if query.style == "dashed":
        return [dashes, thin]
    if query.style == "points":
        return [models.DynamicConfigValue("custom.lineStyle", {"fill": "dot", "dash": [1, 6]}), thin]
    if query.style == "limit":
        return [dashes, thin, models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": LIMIT_COLOR})]
    return []


def _table(panel: Panel) -> table.Panel:
    """Rows of all queries are merged by their labels; labels without a column are left out."""
    many = len(panel.queries) > 1
    values = {f"Value #{chr(ord('A') + i)}" if many else "Value": query for i, query in enumerate(panel.queries)}
    names = panel.columns | {column: query.name for column, query in values.items()}
    builder = (
        table.Panel()
        .with_transformation(models.DataTransformerConfig("merge", options={}))
        .with_transformation(
            models.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True} | ({} if many else {"__name__": True}),
                    "indexByName": {name: index for index, name in enumerate(names)},
                    "renameByName": names,
                },
            )
        )
        .color_scheme(_color(models.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(panel))
        .sort_by([common_builders.TableSortByFieldState().display_name("run").desc(False)])
    )
    for query in panel.queries:
        properties = [models.DynamicConfigValue("unit", UNITS[query.unit or panel.unit])]
        builder = builder.override_by_name(query.name, properties)
    return builder


def _rounds(panel: Panel) -> table.Panel:
    """Also a table, with bars: Grafana has no chart whose horizontal axis is a label's number."""
    gauge = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
    blue = {"mode": "fixed", "fixedColor": "blue"}
    builder = _table(panel)
    for query in panel.queries:
        properties = [models.DynamicConfigValue("custom.cellOptions", gauge), models.DynamicConfigValue("color", blue)]
        builder = builder.override_by_name(query.name, properties)
    return builder


def _states(panel: Panel) -> statetimeline.Panel:
    return (
        statetimeline.Panel()
        .thresholds(_thresholds(panel))
        .color_scheme(_color(models.FieldColorModeId.THRESHOLDS))
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(75)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )


def _phases() -> models.ValueMapping:
    return models.ValueMap(
        options={
            str(number): models.ValueMappingResult(text=phase, color=color, index=number - 1)
            for number, (phase, color) in enumerate(zip(expressions.PHASES, PHASE_COLORS, strict=True), 1)
        }
    )


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    first = "text" if panel.kind in ("stat", "table", "rounds") and not panel.thresholds else COLORS["good"]
    steps = [models.Threshold(value=None, color=first)]
    steps += [models.Threshold(value=value, color=COLORS[level]) for value, level in panel.thresholds]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


def _color(mode: models.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)
