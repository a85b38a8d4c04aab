"""`bertline compile`: the Kubeflow pipeline as a file."""

from pathlib import Path
from typing import Annotated

import typer

from bertline.plurals import counted
from bertline_cli import arguments

EXAMPLE = "Example:  bertline compile my.yaml --profile gke-l4 -o pipeline.yaml"


def command(
    path: arguments.ExperimentFile,
    profile: arguments.Profile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; without it, standard output.", show_default=False)
    ] = None,
    changes: arguments.Changes = None,
) -> None:
    """Write the Kubeflow pipeline of a whole experiment, and check it for what KFP would misread.

    `bertline submit` does this itself and leaves out finished tasks. A schedule that is too long for one run becomes
    several files; run them one after the other.
    """
    from bertline.errors import UserError
    from bertline.store import disks
    from bertline_pipelines.compiling import documents
    from bertline_pipelines.planning import plans, unrolling

    place = arguments.profile(profile)
    _, graph = arguments.load(path, changes, lambda: None, may_be_unknown=True)
    plan = plans.plan(unrolling.portable(graph), None, place.corpus_pods)
    made = documents.compile_plan(graph.experiment.name, plan.missing, place)
    if output is None:
        if len(made) > 1:
            raise UserError(
                f"{graph.experiment.name} takes {len(made)} runs and so {len(made)} files; give --output FILE"
            )
        typer.echo(made[0].text)
        return
    for number, document in enumerate(made, start=1):
        file = output if len(made) == 1 else output.with_stem(f"{output.stem}-{number}")
        with disks.output(file):
            file.write_text(document.text, encoding="utf-8")
        tasks = len(document.pipeline_spec["root"]["dag"]["tasks"])
        typer.echo(f"{file}: {counted(tasks, 'task')}, {len(document.text.encode()):,} bytes")
    if len(made) > 1:
        typer.echo("Run them in this order, one after the other; `bertline submit --wait` does that.")
