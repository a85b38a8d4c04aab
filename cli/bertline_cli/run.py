"""`bertline run`: the whole experiment on this machine."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from bertline.plurals import counted
from bertline_cli import arguments

if TYPE_CHECKING:
    from bertline.store.objects import ObjectStore
    from bertline.store.references import Reference
    from bertline_pipelines.running.local import State

EXAMPLE = "Example:  bertline run my.yaml --store out/store"


def command(
    path: arguments.ExperimentFile,
    store: arguments.Store = None,
    changes: arguments.Changes = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the report and logs.", show_default="out/NAME")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Tasks at a time.", show_default="one per core, up to 4; 1 with a GPU")
    ] = None,
) -> None:
    """Run an experiment on this machine, from the dump to the report.

    Finished tasks aren't repeated. If a run was killed, run it again: it continues where it stopped.
    """
    from bertline.errors import ExitCode
    from bertline.store import realizations, references
    from bertline_cli import displays
    from bertline_pipelines.planning import plans
    from bertline_pipelines.running import local, streams

    begun, shown = time.monotonic(), streams.lasting(sys.stdout)
    store = store or arguments.DEFAULT_STORE
    experiment, graph = arguments.load(path, changes, lambda: arguments.connect(store))
    again = f"bertline run {path} {arguments.options(store, None, changes)}"
    out = out or Path("out") / experiment.name
    connected = arguments.connect(store)
    reference = references.write(connected, experiment.name, graph.document)
    plan = plans.plan(graph, connected)
    missing = plan.missing
    kept = len(plan.tasks) - len(missing)
    if missing:
        typer.echo(
            f"{experiment.name}: {counted(len(missing), 'task')} to run, {kept} done already; logs in {out}/logs",
            file=shown,
        )
        with displays.choose(shown) as display:
            try:
                states = local.run(experiment.name, missing, connected.uri, out, workers or _workers(), display)
            except local.InterruptedRunError as stopped:
                typer.echo(f"Finished tasks are kept. Next:  {again}", err=True)
                raise typer.Exit(stopped.exit_code) from None
        failed = [state for state in states if state.phase == "failed"]
        if failed:
            _explain(failed, sum(state.phase == "skipped" for state in states), again)
            raise typer.Exit(failed[0].exit_code)
    else:
        typer.echo(f"{experiment.name}: all {kept} tasks are already done, nothing is recomputed", file=shown)
    made = realizations.require(connected, "report", plan.tasks[-1].configs[0].derivation().key)
    _deliver(made, out)
    _summarize(connected, reference, shown)
    typer.echo(f"report: {out / 'report.html'}  ({reference.name}, {time.monotonic() - begun:.0f} s)", file=shown)
    raise typer.Exit(ExitCode.OK)


def _summarize(store: "ObjectStore", reference: "Reference", shown: TextIO) -> None:
    """Print the results, like `bertline results`."""
    from bertline.report.collect import collect
    from bertline_cli import results as command
    from bertline_pipelines import results

    for line in command.table(results.of(collect(store, reference))):
        typer.echo(line, file=shown)


def _workers() -> int:
    """Several small tasks at a time use a few cores better than one; a GPU takes one."""
    from bertline.process import processors

    return 1 if Path("/dev/nvidia0").exists() else min(4, processors.cores())


def _deliver(made: object, out: Path) -> None:
    """Copy the report's files out of the store."""
    import shutil
    import tempfile

    from bertline.store import disks
    from bertline.store.realizations import Realization

    assert isinstance(made, Realization)
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory, disks.output(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, found in zip(made.paths(), made.stage(made.paths(), Path(directory)), strict=True):
            shutil.copyfile(found, out / name)


def _explain(failed: list["State"], skipped: int, again: str) -> None:
    """Print why tasks failed, with the end of the log if the message alone doesn't say enough."""
    from bertline.errors import ExitCode
    from bertline_pipelines.running import local

    for state in failed:
        typer.echo(f"\n{state.task.name} failed: {state.message}", err=True)
        if state.exit_code == ExitCode.BUG:
            for line in local.last_lines(state.log):
                typer.echo(f"  | {line}", err=True)
        typer.echo(f"  log: {state.log}", err=True)
    if skipped:
        typer.echo(f"not run because of this: {counted(skipped, 'task')}", err=True)
    typer.echo(f"Finished tasks are kept. Next:  {again}", err=True)
