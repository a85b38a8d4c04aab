"""Pydantic's errors about a file, as sentences for its author."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from bertline.addresses import redacted

Location = tuple[int | str, ...]
"""The keys and indices that lead to a part of a file."""

REFUSED = "refused"
"""The type of our own errors, beside pydantic's."""

SIMILAR = 0.6
"""Least similarity of two words for "did you mean"."""


def refuse(found: Iterable[tuple[Location, str]]) -> None:
    """For validators that check several fields together: report each mistake at its field.

    Args:
        found: Locations relative to the validator's model, and their mistakes.

    Raises:
        ValidationError: there is a mistake.
    """
    errors = [
        InitErrorDetails(type=PydanticCustomError(REFUSED, "{said}", {"said": said}), loc=location, input=None)
        for location, said in found
    ]
    if errors:
        raise ValidationError.from_exception_data("", errors)


def sentence(found: ErrorDetails, location: Location, model: type[BaseModel], text: str | None) -> str:
    """A sentence about a mistake: where, what was found, what is accepted.

    Args:
        found: Pydantic's error.
        location: The location in the file.
        model: The model of the whole file.
        text: The value as written, if it is a single value without quotes.
    """
    where = dotted(location) or "the file"
    value, context = found.get("input"), found.get("ctx", {})
    kind = found["type"]
    if kind == "missing":
        return f"{where} is missing{_described(model, found['loc'])}"
    if kind == "extra_forbidden":
        return f"{where} is not a key here{accepted(str(location[-1]), _keys(model, found['loc']))}"
    if kind == "union_tag_invalid":
        tag, known = str(context["tag"]), re.findall(r"'([^']*)'", str(context["expected_tags"]))
        return f"{where}.{str(context['discriminator']).strip(chr(39))}: {tag!r} is not known{accepted(tag, known)}"
    if kind == "union_tag_not_found":
        name = str(context["discriminator"]).strip("'")
        return f"{where} needs `{name}`: expected a section with that key, found {shown(value)}"
    if kind in ("literal_error", "enum"):
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"{where}: found {shown(value)}{accepted(str(value), known)}"
    if kind == "json_invalid":
        return "a text holds half a character (\\ud…), or sections are nested too deep"
    if kind == REFUSED:
        return f"{where}: {found['msg']}"
    if kind in ("value_error", "assertion_error"):
        said = found["msg"].partition(", ")[2]
        return said if not location else f"{where}: {said}"
    if value is None:
        return f"{where} has no value: expected {_expected(kind, context, found['msg'])}"
    expected = _expected(kind, context, found["msg"])
    return f"{where}: expected {expected}, found {shown(value)}{_instead(kind, value, text)}"


def _instead(kind: str, value: Any, text: str | None) -> str:
    """What to write, if only the form of the value is wrong."""
    if kind == "string_type" and isinstance(value, int | float):
        return f'; write "{text or shown(value)}" in quotes'
    if kind in ("int_type", "int_from_float", "float_type") and isinstance(value, str):
        try:
            return (
                f"; write {int(value)} without quotes"
                if kind != "float_type"
                else f"; write {float(value)} without quotes"
            )
        except ValueError:
            return ""
    if kind in ("int_type", "int_from_float") and isinstance(value, float) and value.is_integer():
        return f"; write {value:.0f}"
    if kind == "bool_type" and str(value).lower() in ("yes", "no", "on", "off", "y", "n", "1", "0"):
        return f"; write {str(str(value).lower() in ('yes', 'on', 'y', '1')).lower()}"
    return ""


def _expected(kind: str, context: Mapping[str, Any], message: str) -> str:
    """The accepted values, by pydantic's error type."""
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
            return "a list, such as [1, 2]"
        case "dict_type" | "model_type" | "model_attributes_type" | "dataclass_type":
            is_source = context.get("class_name") == "Source"
            return "a path, a URL or `sample:NAME`" if is_source else "a section with keys of its own"
        case "string_pattern_mismatch":
            return _pattern(context["pattern"])
    return message[:1].lower() + message[1:]


PATTERNS = {
    r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,39}$": "letters, digits, `.`, `_` and `-`, at most 40, a letter or digit first",
    r"^([1-9][0-9]*(\.[0-9]+)?|0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*m)$": 'cores such as "2", "0.5" or "500m"',
    r"^[1-9][0-9]*([MGTPE]i?|Ki|[0-9]{6})$": 'a size such as "4Gi" or "500M"',
    r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$": "lower-case letters, digits and `-`, at most 63",
    r"^((gs|s3)://[^/]+|file:///|[^:]+$)": "gs://bucket/prefix, s3://bucket/prefix or a directory",
    r"^https?://": "an address such as http://localhost:8888",
    "^[0-9a-f]{64}$": "64 hexadecimal digits in lower case",
    "^[0-9a-f]{40}$": "40 hexadecimal digits in lower case",
    "^[A-Z]{3}$": "three capital letters, such as USD",
}
"""Pattern → its meaning in words."""


def _pattern(pattern: str) -> str:
    return PATTERNS.get(pattern, f"something that matches {pattern}")


def accepted(given: str, known: Sequence[str]) -> str:
    """The accepted values, and the one that was probably meant."""
    close = difflib.get_close_matches(given, known, 1, SIMILAR)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{meant}{' Accepted' if close else '; accepted'}: {', '.join(known)}" if known else ""


def shown(value: Any) -> str:
    """A value that was found, for people."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list"
    return redacted(f"{value!r}")[:200]


def dotted(location: Location) -> str:
    """A location for people."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys of the section that a location is in."""
    return [name for each in _sections(model, location[:-1]) for name in each.model_fields]


def _described(model: type[BaseModel], location: Location) -> str:
    """A field's description, if it has one."""
    for section in _sections(model, location[:-1]):
        if (known := section.model_fields.get(str(location[-1]))) and known.description:
            return f": {known.description.splitlines()[0].split('. ')[0].rstrip('.')}"
    return ""


def _sections(annotation: Any, location: Location) -> list[type[BaseModel]]:
    """The models at one of pydantic's locations; several if there are alternatives."""
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
