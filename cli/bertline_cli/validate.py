"""`bertline validate`: is this experiment file right, and are its inputs?"""

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from bertline.plurals import counted
from bertline_cli import arguments

if TYPE_CHECKING:
    from bertline_pipelines.graphs import Graph

EXAMPLE = "Example:  bertline validate my.yaml --profile gke-l4"


def command(
    path: arguments.ExperimentFile, profile: arguments.OptionalProfile = None, as_json: arguments.Json = False
) -> None:
    """Check an experiment file and the inputs that are on this machine, before anything is run.

    With a profile also that, and the pipeline that would be submitted with it.
    """
    from bertline_pipelines import checks

    experiment, graph = arguments.load(path)
    warnings = list(_compile(graph, profile)) if profile else []
    warnings += [
        f"{source.url} has no checksum: if its bytes change, nothing is built anew; add sha256 (or sha1)"
        for source in checks.unpinned(experiment)
    ]
    rounds = sum(len(run.rounds) for run in graph.runs)
    epochs = {name: experiment.reference_epochs(name) for name in experiment.models}
    if as_json:
        document = {"name": experiment.name, "rounds": rounds, "reference_epochs": epochs, "warnings": warnings}
        typer.echo(json.dumps(document, indent=2))
        return
    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(
        f"{path} is fine: experiment {experiment.name}, {counted(len(graph.runs), 'run')}, {counted(rounds, 'round')}"
    )
    for name, reference in epochs.items():
        share = experiment.pretrain.epochs / reference if reference else float("inf")
        typer.echo(
            f"  {name}: {experiment.pretrain.epochs} of {reference:,.0f} reference epochs ({share:.2%} of BERT's)"
        )
    typer.echo(f"Next:  bertline plan {path}" + (f" --profile {profile}" if profile else ""))


def _compile(graph: "Graph", profile: str) -> Iterator[str]:
    """Raises what compiling finds wrong; a sentence for each thing that has to be known before `submit`."""
    from bertline_pipelines import documents, graphs, plans, profiles

    place = profiles.load(profile, os.environ, may_be_unknown=True)
    yield from (f"{variable} isn't set, and `bertline submit` needs it" for variable in place.unknown)
    missing = plans.plan(graphs.portable(graph), None, place.corpus_pods).missing
    documents.compile_plan(graph.experiment.name, missing, place)
