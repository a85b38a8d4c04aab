"""Files that people write: YAML without its traps, and errors with the line, what was found and what is accepted.

Numbers, booleans and null are those of YAML 1.2: `on`, `yes`, `1:30` and dates are text, `1e-4` is a number. `010` is
refused, because it is 8 in one version of YAML and 10 in the other. A key that is given twice is refused too.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bertline.addresses import redacted
from bertline.errors import UserError

M = TypeVar("M", bound=BaseModel)
Location = tuple[int | str, ...]

SIMILAR = 0.6
"""How alike two words are for "did you mean"."""


class FileError(UserError):
    """What is wrong in a file, all of it."""

    def __init__(self, path: Path, problems: Sequence["Problem"]) -> None:
        self.problems = [{"file": str(path), "line": each.line, "message": each.message} for each in problems]
        ordered = sorted(problems, key=lambda each: each.line or 0)
        super().__init__("\n".join(each.of(path) for each in ordered))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    line: int | None
    """From 1; None means not known."""
    message: str

    def of(self, path: Path) -> str:
        """As a line of an error."""
        return f"{path}, line {self.line}: {self.message}" if self.line else f"{path}: {self.message}"


@dataclass(frozen=True)
class Document:
    """A file's content, and where each part of it stands."""

    path: Path
    values: dict[str, Any]
    lines: Mapping[Location, int] = field(default_factory=dict)
    """From 1, by the keys and indices that lead to a part."""

    def line(self, location: Location) -> int | None:
        """Of a part, or of the innermost one around it; None for the whole file."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return None

    def validated(
        self,
        model: type[M],
        *,
        strict: bool | None = None,
        context: Any = None,
        notes: Mapping[Location, str] | None = None,
    ) -> M:
        """The values as a model.

        Args:
            model: Of the whole file.
            strict: True doesn't take text for a number, nor `true` for 1; None leaves it to the model.
            context: For its validators.
            notes: What to add to a message about a field.

        Raises:
            FileError: a line for each thing that is wrong.
        """
        try:
            return model.model_validate_json(json.dumps(self.values), strict=strict, context=context)
        except ValidationError as error:
            problems = []
            for found in error.errors(include_url=False):
                location = self._within(found["loc"])
                note = (notes or {}).get(location)
                message = _message(found, location, model) + (f"; {note}" if note else "")
                problems.append(Problem(self.line(location), message))
            raise FileError(self.path, problems) from error

    def _within(self, location: Location) -> Location:
        """A location of pydantic's without the names of alternatives, which aren't in the file."""
        found: list[int | str] = []
        part: Any = self.values
        for step in location:
            if isinstance(part, dict) and step in part:
                part = part[str(step)]
            elif isinstance(part, list) and isinstance(step, int) and step < len(part):
                part = part[step]
            elif step == "[key]" or (isinstance(part, dict) and step in part.values()):
                continue
            found.append(step)
        return tuple(found)


def read(path: Path) -> Document:
    """Read a file.

    Raises:
        FileNotFoundError: it isn't there.
        UserError: it can't be read, isn't YAML, isn't a mapping, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read {path}: {error}") from error
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        values = loader.construct_document(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(filter(None, [error.context, error.problem]))
        raise FileError(path, [Problem(mark.line + 1 if mark else None, f"isn't YAML: {said}")]) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} isn't YAML: {error}") from error
    if loader.problems:
        raise FileError(path, loader.problems)
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected `name:` and other keys, found {_shown(values)}")
    return Document(path, values, dict(_lines(root)))


class _Loader(yaml.SafeLoader):
    """See above."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form; add_implicit_resolver fills it

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.problems: list[Problem] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                line = key.start_mark.line + 1
                if key.value in first:
                    message = f"`{key.value}` is given twice, first in line {first[key.value]}; keep one of them"
                    self.problems.append(Problem(line, message))
                first.setdefault(key.value, line)
        return {self._text(key): value for key, value in super().construct_mapping(node, deep=True).items()}

    def _text(self, key: Any) -> str:
        """A model may be named 3."""
        return key if isinstance(key, str) else json.dumps(key)

    def construct_ambiguous(self, node: yaml.ScalarNode) -> int:
        digits = node.value.lstrip("+-").lstrip("0") or "0"
        self.problems.append(
            Problem(
                node.start_mark.line + 1,
                f"{node.value} can be read as decimal or as octal; write {digits}, or 0o{digits} for octal",
            )
        )
        return 0

    def construct_number(self, node: yaml.ScalarNode) -> int:
        return int(node.value.replace("_", ""), 0)


_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^([-+]?(0|[1-9][0-9_]*)|0o[0-7]+|0x[0-9a-fA-F]+)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver("!ambiguous", re.compile(r"^[-+]?0[0-9_]+$"), list("-+0"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^([-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
_Loader.add_constructor("!ambiguous", _Loader.construct_ambiguous)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)


def _lines(node: yaml.Node | None, place: Location = ()) -> Iterator[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                yield (*place, key.value), key.start_mark.line + 1
                yield from _lines(value, (*place, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*place, index), value.start_mark.line + 1
            yield from _lines(value, (*place, index))


def _message(found: ErrorDetails, location: Location, model: type[BaseModel]) -> str:
    """What is wrong: where, what was found, what is accepted."""
    where = _dotted(location) or "the file"
    value, context = found.get("input"), found.get("ctx", {})
    kind = found["type"]
    if kind == "missing":
        return f"{where} is missing{_described(model, found['loc'])}"
    if kind == "extra_forbidden":
        return f"{where} is not a key here{_accepted(str(location[-1]), _keys(model, found['loc']))}"
    if kind == "union_tag_invalid":
        tag, known = str(context["tag"]), re.findall(r"'([^']*)'", str(context["expected_tags"]))
        return f"{where}.{str(context['discriminator']).strip(chr(39))}: {tag!r} is not known{_accepted(tag, known)}"
    if kind == "union_tag_not_found":
        name = str(context["discriminator"]).strip("'")
        return f"{where} needs `{name}`: expected a section with that key, found {_shown(value)}"
    if kind in ("literal_error", "enum"):
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"{where}: found {_shown(value)}{_accepted(str(value), known)}"
    if kind in ("value_error", "assertion_error"):
        said = found["msg"].partition(", ")[2]
        return said if not location else f"{where}: {said}"
    if value is None:
        return f"{where} has no value: expected {_expected(kind, context, found['msg'])}"
    quotes = f'; write "{_shown(value)}" in quotes' if kind == "string_type" and isinstance(value, int | float) else ""
    return f"{where}: expected {_expected(kind, context, found['msg'])}, found {_shown(value)}{quotes}"


def _expected(kind: str, context: Mapping[str, Any], message: str) -> str:
    """What is accepted, by pydantic's name of the error."""
    match kind:
        case "int_type" | "int_parsing" | "int_from_float":
            return "a whole number"
        case "float_type" | "float_parsing":
            return "a number"
        case "finite_number":
            return "a finite number"
        case "bool_type" | "bool_parsing":
            return "true or false"
        case "string_type":
            return "text"
        case "greater_than_equal":
            return f"at least {context['ge']:g}" if abs(context["ge"]) < 1e6 else f"at least {context['ge']}"
        case "greater_than":
            return f"more than {context['gt']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "less_than":
            return f"less than {context['lt']}"
        case "string_too_short":
            return "some text"
        case "too_short":
            return f"at least {context['min_length']} of them"
        case "tuple_type" | "list_type":
            return "a list, as [1, 2]"
        case "dict_type" | "model_type" | "model_attributes_type" | "dataclass_type":
            return "a section with keys of its own"
        case "string_pattern_mismatch":
            return _pattern(context["pattern"])
    return message[:1].lower() + message[1:]


PATTERNS = {
    r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,39}$": "letters, digits, `.`, `_` and `-`, at most 40, a letter or digit first",
    r"^(\d+(\.\d+)?|\d+m)$": 'cores such as "2", "0.5" or "500m"',
    r"^\d+([KMGTPE]i?)?$": 'a size such as "4Gi" or "500M"',
    r"^((gs|s3)://[^/]+|file:///|[^:]+$)": "gs://bucket/prefix, s3://bucket/prefix or a directory",
    r"^https?://": "an address such as http://localhost:8888",
    "^[0-9a-f]{64}$": "64 hexadecimal digits in lower case",
    "^[0-9a-f]{40}$": "40 hexadecimal digits in lower case",
    "^[A-Z]{3}$": "three capital letters, as USD",
}
"""What a pattern means, for people."""


def _pattern(pattern: str) -> str:
    return PATTERNS.get(pattern, f"something that matches {pattern}")


def _accepted(given: str, known: Sequence[str]) -> str:
    """The values that are known, and the one that was probably meant."""
    close = difflib.get_close_matches(given, known, 1, SIMILAR)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant}{' Accepted' if close else '; accepted'}: {', '.join(known)}" if known else ""


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return redacted(f"{value!r}")[:200]


def _dotted(location: Location) -> str:
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys of the section that a location is in."""
    return [name for each in _sections(model, location[:-1]) for name in each.model_fields]


def _described(model: type[BaseModel], location: Location) -> str:
    """What a field is for, where it says so."""
    for section in _sections(model, location[:-1]):
        if (known := section.model_fields.get(str(location[-1]))) and known.description:
            return f": {known.description.splitlines()[0].split('. ')[0].rstrip('.')}"
    return ""


def _sections(annotation: Any, location: Location) -> list[type[BaseModel]]:
    """The models that a location of pydantic's leads to; several where alternatives are left."""
    if get_origin(annotation) is Literal:
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not location:
            return [annotation]
        step = str(location[0])
        if step in annotation.model_fields:
            return _sections(annotation.model_fields[step].annotation, location[1:])
        is_tag = any(step in get_args(each.annotation) for each in annotation.model_fields.values())
        return _sections(annotation, location[1:]) if is_tag else []
    if get_origin(annotation) is dict:
        return _sections(get_args(annotation)[1], location[1:]) if location else []
    if get_origin(annotation) in (list, tuple):
        return _sections(get_args(annotation)[0], location[1:]) if location else []
    return [found for part in get_args(annotation) for found in _sections(part, location)]
