"""Arguments and options that several commands have."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from bertline.experiments import Experiment
    from bertline_pipelines.graphs import Graph

ExperimentFile = Annotated[
    Path, typer.Argument(metavar="EXPERIMENT.yaml", help="The experiment file.", show_default=False)
]

Store = Annotated[
    str,
    typer.Option(
        "--store", envvar="BERTLINE_STORE", help="A directory, file:///dir, gs://bucket/prefix or s3://bucket/prefix."
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, for programs.")]

DEFAULT_STORE = "out/store"


def load(path: Path) -> tuple["Experiment", "Graph"]:
    """The experiment of a file and all it leads to, with its local sources checked."""
    from bertline import experiments
    from bertline_pipelines import checks, graphs

    experiment = experiments.load(path)
    checks.sources(experiment)
    return experiment, graphs.build(experiment)
