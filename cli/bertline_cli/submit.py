"""`bertline submit`: the experiment on a cluster."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertline.plurals import counted
from bertline_cli import arguments, displays

if TYPE_CHECKING:
    from bertline_pipelines.kubeflow.api import Kubeflow
    from bertline_pipelines.submitting.launching import Prepared, Submitted

EXAMPLE = """Examples:  bertline submit my.yaml --profile kind --wait

bertline submit my.yaml --profile gke-a100-spot --wait --auto-resume 5"""


def command(
    path: arguments.ExperimentFile,
    profile: arguments.Profile,
    store: arguments.Store = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the run to its end; the exit code says how it ended.")
    ] = False,
    auto_resume: Annotated[
        int, typer.Option(min=0, help="With --wait: submit again at most so often after a temporary failure.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be submitted; write nothing.")] = False,
    changes: arguments.Changes = None,
    as_json: arguments.Json = False,
) -> None:
    """Run the missing tasks of an experiment on a cluster, as a Kubeflow pipeline.

    Submitting again is harmless: while a run is active nothing new starts. After a run that failed or was cancelled,
    the missing tasks run and continue from their last checkpoints.
    """
    from bertline_pipelines.kubeflow import api
    from bertline_pipelines.places import access
    from bertline_pipelines.submitting import launching

    where = (lambda: arguments.look(store, profile).store) if dry_run else lambda: arguments.connect(store, profile)
    experiment, graph = arguments.load(path, changes, where)
    named = experiment.name if changes else str(path)  # for commands that take a name or a file, and no --set
    if dry_run:
        outlook = arguments.look(store, profile)
        assert outlook.profile is not None
        prepared = launching.prepare(graph, outlook.profile, outlook.store)
        for sentence in () if as_json else outlook.unknown:
            typer.echo(f"note: {sentence}", err=True)
        _print(as_json, _plan(prepared) | {"unknown": outlook.unknown}, _sentences(prepared, named, profile, store))
        return
    place = arguments.profile(profile, store)
    connected = arguments.connect(store, profile)
    prepared = launching.prepare(graph, place, connected)
    if prepared.document is None:
        _print(as_json, _plan(prepared), _sentences(prepared, named, profile, store))
        return
    with access.kubeflow(place) as server:
        if warning := api.check_version(server.version()):
            typer.echo(f"warning: {warning}", err=True)
        with displays.transfers():
            submitted = launching.submit(prepared, connected, server)
        document = _plan(prepared) | _run(submitted, server)
        if not wait:
            _print(as_json, document, [*_announcement(submitted, prepared, server), *_next(named, profile, store)])
            return
        if not as_json:
            typer.echo("\n".join(_announcement(submitted, prepared, server)))
        from bertline_cli import watching

        code = watching.to_the_end(
            prepared, submitted, connected, server, None if as_json else sys.stdout, resumes=auto_resume
        )
    if as_json:
        typer.echo(json.dumps(document | {"exit_code": int(code)}, indent=2))
    elif not code:
        typer.echo(f"everything is done. Next:  bertline pull {named} results {arguments.options(store, profile)}")
    raise typer.Exit(code)


def _plan(prepared: "Prepared") -> dict[str, Any]:
    return {
        "experiment": prepared.graph.experiment.name,
        "profile": prepared.profile.name,
        "store": prepared.profile.store.uri,
        "tasks_done": len(prepared.plan.tasks) - sum(map(len, prepared.parts)),
        "runs": [[task.name for task in part] for part in prepared.parts],
        "document_bytes": len(prepared.document.text.encode()) if prepared.document else 0,
    }


def _run(submitted: "Submitted", server: "Kubeflow") -> dict[str, Any]:
    run_id = submitted.submission.run_id
    assert run_id is not None
    return {"run_id": run_id, "display_name": submitted.submission.display_name, "url": server.url(run_id)} | {
        "new": submitted.is_new
    }


def _sentences(prepared: "Prepared", named: str, profile: str, store: str | None) -> list[str]:
    """What would be submitted."""
    name = prepared.graph.experiment.name
    if not prepared.parts:
        return [
            f"{name}: all {len(prepared.plan.tasks)} tasks are already done, nothing is submitted",
            f"Next:  bertline pull {named} results {arguments.options(store, profile)}",
        ]
    assert prepared.document is not None
    left = sum(map(len, prepared.parts))
    lines = [
        f"{name}: {left} of {counted(len(prepared.plan.tasks), 'task')} would be submitted to {prepared.profile.name}"
    ]
    for number, part in enumerate(prepared.parts, start=1):
        lines.append(f"run {number} of {len(prepared.parts)}:" if len(prepared.parts) > 1 else "they are:")
        lines += [f"  {task.name}" for task in part]
    lines.append(f"the document has {len(prepared.document.text.encode()):,} bytes; nothing was written")
    return lines


def _announcement(submitted: "Submitted", prepared: "Prepared", server: "Kubeflow") -> list[str]:
    submission = submitted.submission
    assert submission.run_id is not None
    included = sum(task.included for task in submission.tasks)
    what = counted(included, "task") if submitted.is_new else "is already active, nothing new was submitted"
    lines = [f"{submission.display_name}: {what}", f"  {server.url(submission.run_id)}"]
    if len(prepared.parts) > 1:
        lines.append(
            f"  the first of {len(prepared.parts)} runs: --wait submits the next one when it has ended; without it, "
            "run the same command again"
        )
    return lines


def _next(named: str, profile: str, store: str | None) -> list[str]:
    options = arguments.options(store, profile)
    return [
        f"Next:  bertline status {named} {options} -w",
        f"       bertline logs {named} {options} -f",
        f"       bertline pull {named} results {options}",
    ]


def _print(as_json: bool, document: dict[str, Any], lines: list[str]) -> None:
    typer.echo(json.dumps(document, indent=2) if as_json else "\n".join(lines))
