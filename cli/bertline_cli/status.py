"""`bertline status`: what runs, what waits, and why."""

import json
import sys
from typing import Annotated

import typer

from bertline_cli import arguments

EXAMPLE = "Example:  bertline status my.yaml --profile gke-l4 -w"


def command(
    experiment: arguments.ExperimentName,
    profile: arguments.Profile,
    store: arguments.Store = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show changes until the run ends.")] = False,
    as_json: arguments.Json = False,
) -> None:
    """Show each task of an experiment's last run: state, progress, pod, node, and why it waits or failed."""
    from bertline_cli import watching
    from bertline_pipelines.places import access
    from bertline_pipelines.records import submissions
    from bertline_pipelines.submitting import statuses

    place = arguments.profile(profile, store)
    access.submits_to(place)
    connected = arguments.existing(store, profile)
    submission = submissions.find(connected, arguments.name(experiment))
    remarks: list[str] = []
    server = access.kubeflow(place)
    cluster = access.try_to(lambda: access.cluster(place), remarks, "pods can't be read")
    observer = statuses.Observer(connected, submission, server, cluster)
    if watch:
        watching.follow(observer, sys.stdout, remarks)
        return
    status = observer.look()
    if as_json:
        document = status.document()
        typer.echo(json.dumps(document | {"remarks": remarks + document["remarks"]}, indent=2))
        return
    typer.echo("\n".join(watching.lines(status, remarks)))
    options = arguments.options(store, profile)
    if status.is_complete:
        typer.echo(f"Next:  bertline pull {experiment} results {options}")
    elif status.is_over:
        typer.echo(f"Finished tasks are kept. Next:  bertline submit EXPERIMENT.yaml {options}")
    else:
        typer.echo(f"Next:  bertline status {experiment} {options} -w")
