"""`bertline results`: an experiment's results so far, as a table, CSV or JSON."""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from bertline.process.progress import duration
from bertline_cli import arguments, displays

if TYPE_CHECKING:
    from bertline_pipelines.results import Row

EXAMPLE = "Examples:  bertline results my.yaml\n\nbertline results nano --store out/demo/store --csv > nano.csv"


def command(
    experiment: arguments.ExperimentName,
    store: arguments.Store = None,
    profile: arguments.OptionalProfile = None,
    as_json: arguments.Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, a row for each fine-tuning.")] = False,
) -> None:
    """Show accuracy, loss, time and memory of every finished milestone, also during the experiment."""
    from bertline.errors import UserError
    from bertline.report.collect import collect
    from bertline.store import references
    from bertline_pipelines import results

    if as_json and as_csv:
        raise UserError("--json and --csv exclude each other; give one of them")
    name = arguments.name(experiment)
    connected = arguments.existing(store, profile)
    collected = collect(connected, references.current(connected, name))
    rows = results.of(collected)
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif as_csv:
        written = io.StringIO()
        writer = csv.DictWriter(written, list(results.Row.__annotations__), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        typer.echo(written.getvalue(), nl=False)
    else:
        for line in table(rows):
            typer.echo(line)
        if gaps := len(collected.gaps()):
            typer.echo(f"{gaps} of {len(collected.realizations())} results are missing; see `bertline plan`")


def table(rows: Sequence["Row"]) -> list[str]:
    """A line for each milestone and task: mean accuracy, and the accuracy of each seed if there are several."""
    groups: dict[tuple[str, int, str | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["run"], row["epoch"], row["task"]), []).append(row)
    cells = [("run", "epoch", "task", "accuracy", "MLM loss", "trained", "memory", "by seed")]
    for (run, epoch, task), alike in groups.items():
        first = alike[0]
        found = [row["accuracy"] for row in alike if row["accuracy"] is not None]
        loss, seconds = first["held_out_mlm_loss"], first["wall_clock_s"]
        memory = first["gpu_memory_peak_bytes"] or first["host_memory_peak_bytes"]
        cells.append(
            (
                run,
                str(epoch),
                task or "-",
                f"{statistics.fmean(found):.1%}" if found else "-",
                "-" if loss is None else f"{loss:.3f}",
                "-" if seconds is None else duration(seconds),
                "-" if memory is None else f"{memory / 2**20:,.0f} MiB",
                " ".join(f"{accuracy:.1%}" for accuracy in found) if len(found) > 1 else "",
            )
        )
    if len(cells) == 1:
        return ["no milestone is done yet"]
    return displays.table(cells, displays.width(), right={1, 3, 4, 5, 6})
