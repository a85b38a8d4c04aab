"""`bertline init`: an experiment file to start from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = "Example:  bertline init my.yaml --like wiki-en"


class Template(StrEnum):
    """The experiments that come with bertline."""

    nano = "nano"
    wiki_en = "wiki-en"
    wiki_ru = "wiki-ru"


def command(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it.")] = Path("experiment.yaml"),
    like: Annotated[Template, typer.Option(help="Which one to start from.")] = Template.nano,
) -> None:
    """Write an experiment file to start from: nano runs in minutes on sample data, wiki-en and wiki-ru are real."""
    import bertline_pipelines
    from bertline.errors import UserError

    text = (bertline_pipelines.experiment_files() / f"{like.value}.yaml").read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{path} is there already; give another name") from error
    except OSError as error:
        raise UserError(f"can't write {path}: {error.strerror}") from error
    typer.echo(f"wrote {path}\nNext:  bertline validate {path}\n       bertline run {path}")
