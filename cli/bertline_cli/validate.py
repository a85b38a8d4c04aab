"""`bertline validate`: check an experiment file and its inputs."""

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from bertline.plurals import counted
from bertline_cli import arguments

if TYPE_CHECKING:
    from bertline.experiment.graphs import Graph
    from bertline.experiment.specs import Experiment
    from bertline_pipelines.places.profiles import Profile

EXAMPLE = "Example:  bertline validate my.yaml --profile gke-l4"


def command(
    path: arguments.ExperimentFile,
    profile: arguments.OptionalProfile = None,
    changes: arguments.Changes = None,
    as_json: arguments.Json = False,
) -> None:
    """Check an experiment file and the inputs that are on this machine.

    With --profile it also checks the profile and the pipeline that would be submitted with it.
    """
    from bertline_pipelines.planning import input_checks

    place, experiment, graph = _load(path, profile, changes)
    warnings = list(_compile(graph, place)) if place else []
    warnings += input_checks.warnings(experiment)
    rounds = len(graph.select("pretrain"))
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
    words = shlex.join(
        [
            *(["--profile", profile] if profile else []),
            *(word for change in changes or () for word in ("--set", change)),
        ]
    )
    typer.echo(f"Next:  bertline plan {path} {words}".rstrip())


def _load(path: Path, profile: str | None, changes: list[str] | None) -> "tuple[Profile | None, Experiment, Graph]":
    """Read the profile and the experiment.

    Raises:
        UserError: all mistakes in both files.
    """
    from bertline.configuration import yamlfiles
    from bertline.errors import UserError
    from bertline_pipelines.places import profiles

    place, failures = None, []
    try:
        place = profiles.load(profile, os.environ, may_be_unknown=True) if profile else None
    except UserError as error:
        failures.append(error)
    try:
        loaded = arguments.load(path, changes)
    except UserError as error:
        raise yamlfiles.together([error, *failures]) from error
    if failures:
        raise failures[0]
    return place, *loaded


def _compile(graph: "Graph", place: "Profile") -> Iterator[str]:
    """Compile, to raise what is wrong; a sentence for each variable that `submit` will need."""
    from bertline_pipelines.compiling import documents
    from bertline_pipelines.planning import plans, unrolling

    yield from (f"{variable} isn't set, and `bertline submit` needs it" for variable in place.unknown)
    missing = plans.plan(unrolling.portable(graph), None, place.corpus_pods).missing
    documents.compile_plan(graph.experiment.name, missing, place)
