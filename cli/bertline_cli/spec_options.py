"""Sections of the experiment as options of a command: the same names, defaults and checks."""

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from bertline.configuration import mistakes
from bertline.errors import UserError
from bertline.sources.files import Source
from bertline.stage.configs import Section

S = TypeVar("S", bound=Section)


def with_options(*sections: type[Section], without: Collection[str] = ()) -> Callable[[Any], Any]:
    """Give a command that takes `**settings` an option for each field of these sections that has a default."""

    def add(command: Any) -> Any:
        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        options = [option for section in sections for option in _options(section, without)]
        command.__signature__ = signature.replace(parameters=[*own, *options])
        return command

    return add


def _options(section: type[Section], without: Collection[str]) -> Iterator[inspect.Parameter]:
    for name, field in section.model_fields.items():
        if name in without or field.is_required():
            continue
        kind: Any = field.annotation
        if kind in (Source, Source | None):
            kind = str if kind is Source else str | None
        described = " ".join((field.description or "").split()).partition(" (`")[0]
        option = typer.Option(help=described or name.replace("_", " "))
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=Annotated[kind, option]
        )


def build(section: type[S], settings: Mapping[str, Any], names: Mapping[str, str]) -> S:
    """A section from the options that are its fields.

    Args:
        section: The section's class.
        settings: Field → value; fields of other sections are ignored.
        names: Field → its name in messages, for fields that aren't options.

    Raises:
        UserError: a line for each mistake.
    """
    values = {name: value for name, value in settings.items() if name in section.model_fields and value is not None}
    try:
        return section.model_validate(values, context={"folder": Path.cwd()})
    except ValidationError as error:
        said = []
        for found in error.errors(include_url=False):
            field = str(found["loc"][0]) if found["loc"] else ""
            sentence = mistakes.sentence(found, found["loc"], section, None).removeprefix(field)
            said.append(f"{names.get(field, '--' + field.replace('_', '-'))}{sentence}")
        raise UserError("\n".join(said)) from error
