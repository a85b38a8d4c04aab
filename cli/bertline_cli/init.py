"""`bertline init`: an experiment file, or a profile, to start from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = """Examples:  bertline init my.yaml --like wiki-en           an experiment

bertline init my-cluster.yaml --profile gke-l4     a profile"""


class Template(StrEnum):
    """The experiments that come with bertline."""

    nano = "nano"
    wiki_en = "wiki-en"
    wiki_ru = "wiki-ru"


def command(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("experiment.yaml"),
    like: Annotated[Template, typer.Option(help="The experiment to start from.")] = Template.nano,
    profile: Annotated[
        str | None, typer.Option(help="Write a profile instead, like this one: gke-l4, kind, …", show_default=False)
    ] = None,
) -> None:
    """Write an experiment file to start from: nano takes minutes on sample data; wiki-en and wiki-ru use Wikipedia."""
    import bertline_pipelines
    from bertline.errors import UserError
    from bertline.store import disks
    from bertline_pipelines.places import profiles

    if profile:
        text = profiles.text(profile)
    else:
        text = (bertline_pipelines.experiment_files() / f"{like.value}.yaml").read_text(encoding="utf-8")
    with disks.output(path):
        try:
            file = path.open("x", encoding="utf-8")
        except FileExistsError as error:
            raise UserError(f"{path} already exists; give another name") from error
        with file:
            file.write(text)
    if profile:
        shown = path if "/" in str(path) or path.suffix in (".yaml", ".yml") else f"./{path}"
        typer.echo(f"wrote {path}\nNext:  bertline doctor --profile {shown}")
    else:
        typer.echo(f"wrote {path}\nNext:  bertline validate {path}\n       bertline run {path}")
