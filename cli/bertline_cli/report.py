"""`bertline report`: the report of what is done so far, without running anything."""

from pathlib import Path
from typing import Annotated

import typer

from bertline_cli import arguments

EXAMPLE = "Example:  bertline report nano --store out/store --out out/nano"


def command(
    experiment: arguments.ExperimentName,
    store: arguments.Store = None,
    profile: arguments.OptionalProfile = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html and report.md.", show_default="out/NAME")
    ] = None,
) -> None:
    """Write the report of what is done so far; unfinished rounds are gaps."""
    from bertline.report import stage
    from bertline.store import disks, references

    name = arguments.name(experiment)
    connected = arguments.existing(store, profile)
    reference = references.current(connected, name)
    out = out or Path("out") / name
    with disks.output(out):
        page = stage.render(connected, reference, out)
    typer.echo(page)
