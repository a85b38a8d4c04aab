"""Reads files that people write: strict YAML, and errors with the line, what was found and what is accepted.

Numbers, booleans and null are those of YAML 1.2: `on`, `yes`, `1:30` and dates are text, `1e-4` is a number. `010` is
refused, because it is 8 in one version of YAML and 10 in the other. Repeated keys are refused too.
"""

import copy
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bertline.configuration import mistakes
from bertline.configuration.mistakes import Location
from bertline.errors import UserError

M = TypeVar("M", bound=BaseModel)

MOST_PARTS = 100_000
"""Largest number of keys and values of a file."""


class FileError(UserError):
    """All mistakes in a file."""

    def __init__(self, path: Path, problems: Sequence["Problem"]) -> None:
        self.found = tuple(problems)
        self.problems = [{"file": str(path), "line": each.line, "message": each.message} for each in problems]
        ordered = sorted(problems, key=lambda each: each.line or 0)
        super().__init__("\n".join(each.of(path) for each in ordered))


def together(errors: Sequence[UserError]) -> UserError:
    """Several files' errors as one."""
    joined = UserError("\n".join(map(str, errors)))
    joined.problems = [problem for error in errors for problem in error.problems]
    return joined


@dataclass(frozen=True)
class Problem:
    """One mistake."""

    line: int | None
    """From 1; None means not known."""
    message: str

    def of(self, path: Path) -> str:
        """The mistake as a line of an error."""
        return f"{path}, line {self.line}: {self.message}" if self.line else f"{path}: {self.message}"


@dataclass(frozen=True)
class Part:
    """A key with its value, or a list's entry."""

    line: int | None
    """From 1; None where the command line gave it."""
    text: str | None
    """The value as written, if it is a single value without quotes; else None."""


@dataclass(frozen=True)
class Document:
    """A file's content, with the line of each part."""

    path: Path
    values: dict[str, Any]
    parts: Mapping[Location, Part]
    """Location (keys and indices) → part."""
    problems: tuple[Problem, ...]
    """Mistakes found while reading; `validated` reports them together with its own."""

    def line(self, location: Location) -> int | None:
        """Line of a part, or of the innermost part around it; None for the whole file."""
        for length in range(len(location), 0, -1):
            if part := self.parts.get(location[:length]):
                return part.line
        return None

    def changed(self, changes: Iterable[str]) -> "Document":
        """A copy with some changed parts, for `--set`: `pretrain.epochs=100`, `evaluate.seeds=[1, 2]`.

        Args:
            changes: The keys that lead to a part, with dots between them, `=`, and its value in YAML.

        Raises:
            UserError: a change isn't of that form, or leads into something that has no keys.
        """
        values, parts = copy.deepcopy(self.values), dict(self.parts)
        for change in changes:
            key, equals, text = change.partition("=")
            steps: list[str | int] = [*key.strip().split(".")]
            if not equals or not all(steps):
                raise UserError(f"--set {change}: expected KEY=VALUE, such as --set pretrain.epochs=100")
            place: Any = values
            for depth, step in enumerate(steps):
                if isinstance(place, list) and str(step).isdecimal() and int(step) < len(place):
                    steps[depth] = step = int(step)
                elif not isinstance(place, dict):
                    found = f"{mistakes.dotted(tuple(steps[:depth]))} is {mistakes.shown(place)}"
                    raise UserError(f"--set {change}: {found}, which has no {step}")
                if depth == len(steps) - 1:
                    place[step] = _value(change, text)
                elif isinstance(place, list):
                    place = place[int(step)]
                else:
                    place = place.setdefault(step, {})
            location = tuple(steps)
            parts = {known: part for known, part in parts.items() if known[: len(location)] != location}
            parts[location] = Part(None, text.strip())
        return replace(self, values=values, parts=parts)

    def located(self, found: Iterable[tuple[Location, str]]) -> list["Problem"]:
        """Mistakes of other checks, with their lines."""
        return [Problem(self.line(location), f"{mistakes.dotted(location)}: {said}") for location, said in found]

    def validated(
        self,
        model: type[M],
        *,
        strict: bool | None = None,
        context: Any = None,
        notes: Mapping[Location, str] | None = None,
        moved: Callable[[Location], Location] = lambda location: location,
    ) -> M:
        """The values as a model.

        Args:
            model: The model of the whole file.
            strict: True refuses text in place of a number, and `true` in place of 1; None leaves it to the model.
            context: Context for the model's validators.
            notes: Location of a field → text to add to messages about it.
            moved: Maps a field's location if a validator took its value from elsewhere in the file.

        Raises:
            FileError: a line for each thing that is wrong.
        """
        try:
            valid = model.model_validate_json(json.dumps(self.values), strict=strict, context=context)
        except ValidationError as error:
            problems = list(self.problems)
            for found in error.errors(include_url=False):
                location = moved(self._within(found["loc"]))
                part = self.parts.get(location)
                text = part.text if part else None
                if text and AMBIGUOUS.fullmatch(text):
                    continue  # reported while reading
                note = (notes or {}).get(location)
                said = mistakes.sentence(found, location, model, text) + (f"; {note}" if note else "")
                problems.append(Problem(self.line(location), said))
            raise FileError(self.path, list(dict.fromkeys(problems))) from error
        if self.problems:
            raise FileError(self.path, self.problems)
        return valid

    def _within(self, location: Location) -> Location:
        """A location of pydantic without names of alternatives, which aren't in the file."""
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
        FileNotFoundError: the file doesn't exist.
        UserError: it can't be read, isn't YAML, or isn't a mapping.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise FileError(path, [Problem(line, "it has a byte that isn't UTF-8; save the file as UTF-8")]) from error
    except (OSError, ValueError) as error:
        raise UserError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        values = loader.construct_document(root) if root is not None else None
        parts = dict(_parts(root))
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        said = f"it has a character that YAML doesn't allow, U+{error.character:04X}; delete it"
        raise FileError(path, [Problem(line, said)]) from error
    except yaml.MarkedYAMLError as error:
        # YAML reports a key without a colon in the line after it.
        mark = error.context_mark if "simple key" in str(error.context) else error.problem_mark or error.context_mark
        raise FileError(path, [Problem(mark.line + 1 if mark else None, _syntax(error))]) from error
    except RecursionError as error:
        raise UserError(f"{path}: sections or lists are nested too deep") from error
    if not isinstance(values, dict):
        raise FileError(
            path, [*loader.problems, Problem(1, f"expected `name:` and other keys, found {mistakes.shown(values)}")]
        )
    return Document(path, values, parts, tuple(loader.problems))


def _value(change: str, text: str) -> Any:
    """What stands behind `=`, read as it would be in a file."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        said = _syntax(error) if isinstance(error, yaml.MarkedYAMLError) else str(error)
        raise UserError(f"--set {change}: the value {said}") from error
    if loader.problems:
        raise UserError(f"--set {change}: {loader.problems[0].message}")
    return value


class _Loader(yaml.SafeLoader):
    """See above."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own form; add_implicit_resolver fills it
    yaml_constructors = {  # noqa: RUF012 - JSON's kinds of values, and no dates, sets or bytes
        tag: yaml.SafeLoader.yaml_constructors[tag]
        for tag in [None, *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "float", "bool", "null", "seq", "map"))]
    }

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.problems: list[Problem] = []

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (KeyError, ValueError) as error:  # `!!bool x`, or more digits than Python takes
            kind, text = node.tag.rpartition(":")[2], str(node.value)[:40]
            raise yaml.constructor.ConstructorError(None, None, f"{text} is no {kind}", node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return super().construct_mapping(node, deep=True)

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Read all keys as text: a model may be named 3 or 010."""
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is a word, not a list", key.start_mark)
            if key.tag == MERGE:
                continue
            key.tag = TEXT
            if key.value in first:
                message = f"`{key.value}` is given twice, first in line {first[key.value]}; keep one of them"
                self.problems.append(Problem(line, message))
            first.setdefault(key.value, line)
        return node

    def construct_ambiguous(self, node: yaml.ScalarNode) -> int:
        sign = "-" if node.value.startswith("-") else ""
        digits = node.value.lstrip("+-0_").replace("_", "") or "0"
        choices = [f"{sign}{digits}"]
        if re.fullmatch("[0-7]{2,}", digits):
            choices.append(f"{sign}{int(digits, 8)}")
            said = f"{node.value} is {choices[1]} in one version of YAML and {choices[0]} in the other"
        else:
            said = f"{node.value} begins with a zero"
        said += f'; write {" or ".join(choices)}, or "{node.value}" in quotes for text'
        self.problems.append(Problem(node.start_mark.line + 1, said))
        return 0

    def construct_number(self, node: yaml.ScalarNode) -> int:
        return int(node.value.replace("_", ""), 0)


AMBIGUOUS = re.compile(r"^[-+]?0(_?[0-9])+$")
TEXT, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"

_Loader.add_implicit_resolver(MERGE, re.compile(r"^<<$"), ["<"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^([-+]?(0|[1-9](_?[0-9])*)|0o[0-7]+|0x[0-9a-fA-F]+)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver("!ambiguous", AMBIGUOUS, list("-+0"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^([-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)
_Loader.add_constructor("!ambiguous", _Loader.construct_ambiguous)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_number)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """The mistake in the YAML and, if it is clear, what to write instead."""
    said = error.problem or error.context or "it ends too early"
    hints = {
        "'\\t'": "indent with spaces, not with tabs",
        "expected ':'": "write a space after each colon",
        "mapping values": "write a space after each colon, and text with a colon in quotes",
        "unconstructable recursive": "a section contains itself",
        "determine a constructor": "only numbers, text, true, false, lists and sections are accepted",
        "another document": "`---` begins a second document; a file has one",
        "undefined alias": "`*` begins an alias; write text with it in quotes",
        "expected ',' or": "a bracket isn't closed",
        "<block end>": "lines of one section begin in the same column",
    }
    hint = next((hint for part, hint in hints.items() if part in said), None)
    return f"isn't YAML: {said}" + (f"; {hint}" if hint else "")


def _parts(root: yaml.Node | None) -> Iterator[tuple[Location, "Part"]]:
    """Every part of a file by its location.

    Raises:
        yaml.YAMLError: there are more than `MOST_PARTS`, for example by aliases of aliases.
    """
    waiting: list[tuple[Location, yaml.Node]] = [((), root)] if root else []
    count = 0
    while waiting:
        place, node = waiting.pop()
        inner: list[tuple[int | str, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            inner = [(key.value, key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            inner = [(index, value, value) for index, value in enumerate(node.value)]
        for step, named, value in inner:
            text = value.value if isinstance(value, yaml.ScalarNode) and value.style is None else None
            yield (*place, step), Part(named.start_mark.line + 1, text)
            waiting.append(((*place, step), value))
        count += len(inner)
        if count > MOST_PARTS:
            raise yaml.constructor.ConstructorError(
                None, None, f"it has more than {MOST_PARTS:,} keys and values", node.start_mark
            )
