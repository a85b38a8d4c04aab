"""`bertline cancel`: end a run."""

import json
from typing import Annotated

import typer

from bertline_cli import arguments

EXAMPLE = "Example:  bertline cancel my.yaml --profile gke-l4"


def command(
    experiment: arguments.ExperimentName,
    profile: arguments.Profile,
    store: arguments.Store = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask, even on a terminal.")] = False,
    as_json: arguments.Json = False,
) -> None:
    """End an experiment's run. Finished tasks are kept; `bertline submit` continues from there."""
    import contextlib
    import sys

    from bertline_pipelines.places import access
    from bertline_pipelines.records import submissions
    from bertline_pipelines.submitting import outcomes

    place = arguments.profile(profile, store)
    connected = arguments.existing(store, profile)
    submission = submissions.find(connected, arguments.name(experiment))
    if not yes and not as_json and sys.stdin.isatty():
        typer.confirm(f"end run {submission.display_name}?", abort=True)
    with access.kubeflow(place) as server:
        submission = submissions.cancel(connected, submission, server)
        remarks: list[str] = []
        with contextlib.ExitStack() as stack:
            cluster = access.try_to(
                lambda: stack.enter_context(access.cluster(place)), remarks, "the workflow can't be read"
            )
            outcome = outcomes.learn(submission, server, cluster)
    if as_json:
        document = {"run_id": submission.run_id, "state": outcome.state, "remarks": [*remarks, *outcome.remarks]}
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(f"run {submission.display_name} is {outcome.state}; finished tasks are kept")
        for remark in (*remarks, *outcome.remarks):
            typer.echo(f"  note: {remark}")
        typer.echo(f"Next:  bertline submit EXPERIMENT.yaml {arguments.options(store, profile)}   continues from there")
