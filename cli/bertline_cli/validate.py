"""`bertline validate`: is this experiment file right, and are its inputs?"""

import json

import typer

from bertline_cli import arguments

EXAMPLE = "Example:  bertline validate my.yaml --json"


def command(path: arguments.ExperimentFile, as_json: arguments.Json = False) -> None:
    """Check an experiment file and the inputs that are on this machine, before anything is run."""
    from bertline_pipelines import checks

    experiment, graph = arguments.load(path)
    warnings = [
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
    typer.echo(f"{path} is fine: experiment {experiment.name}, {len(graph.runs)} runs, {rounds} rounds")
    for name, reference in epochs.items():
        share = experiment.pretrain.epochs / reference if reference else float("inf")
        typer.echo(
            f"  {name}: {experiment.pretrain.epochs} of {reference:,.0f} reference epochs ({share:.2%} of BERT's)"
        )
    typer.echo(f"Next:  bertline plan {path}")
