"""`bertline plan`: what would run, and what is there already."""

import json

import typer

from bertline_cli import arguments

EXAMPLE = "Example:  bertline plan my.yaml --store gs://my-bucket/bert"


def command(
    path: arguments.ExperimentFile,
    store: arguments.Store = arguments.DEFAULT_STORE,
    as_json: arguments.Json = False,
) -> None:
    """Show an experiment's tasks: which are done in the store and which are missing."""
    from bertline.store.objects import connect
    from bertline_pipelines import plans

    _, graph = arguments.load(path)
    plan = plans.plan(graph, connect(store))
    if as_json:
        typer.echo(json.dumps(plan.document(), indent=2))
        return
    width = max(len(task.name) for task in plan.tasks)
    for task in plan.tasks:
        keys = " ".join(config.derivation().key[:12] for config in task.configs)
        done = sum(task.done)
        state = "done" if task.finished else "missing" if not done else f"{done} of {len(task.done)}"
        steps = f"{task.steps:,} steps" if task.steps else ""
        typer.echo(f"  {task.name:{width}}  {state:8}  {steps:>14}  {keys}")
    missing = plan.missing
    if missing:
        total = sum(task.steps for task in missing)
        typer.echo(f"{len(missing)} of {len(plan.tasks)} tasks are missing, {total:,} steps of pre-training")
        typer.echo(f"Next:  bertline run {path} --store {store}")
    else:
        typer.echo("all is done; nothing would run")
