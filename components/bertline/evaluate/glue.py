"""GLUE's MNLI files: tab-separated, a header, plain or gzip.

GLUE's own files have no quoting: a quote in a sentence is a quote. Spreadsheets and pandas quote fields with quotes,
and double the quotes. A file is read by these rules if all of it follows them, and it has a doubled quote or a quoted
header.

Files are read strictly, because a misread file gives a plausible accuracy. Columns are found by name; an invalid row is
refused with its line number. A label is stored as its index in `LABELS`; the premise always comes first.
"""

import codecs
import csv
import dataclasses
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from bertline.errors import UserError

_GZIP_MAGIC = b"\x1f\x8b"

_FIELD = r'(?:"(?:[^"]|"")*+"|[^"\t\r\n]*+)'
_QUOTED = re.compile(rf"(?:{_FIELD}(?:\t|\r?\n|\Z))*+")
_DOUBLED = re.compile(r'[\t\n]"[^"\t\n]*+""(?:[^"\t\n]|"")*+"(?=[\t\r\n]|\Z)|\A"')

LABELS = ("contradiction", "entailment", "neutral")
"""Label ids are places in here."""

NO_LABEL = "-"
"""MNLI's label of rows without a majority of annotators. They are left out, as in published results."""

PREMISE, HYPOTHESIS, LABEL = "sentence1", "sentence2", "gold_label"


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One labelled pair."""

    index: int
    """Row of the file, from 0, counting rows without a label, like GLUE's own column `index`."""
    premise: str
    hypothesis: str
    label: int
    """Place in `LABELS`."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """The content of a file."""

    examples: tuple[Example, ...]
    dropped: int
    """Rows without a gold label."""


def read(path: Path) -> Examples:
    """All labelled pairs of a file.

    Raises:
        UserError: not in MNLI's format, or no labelled pair in it; names file, line and what was expected.
    """
    examples, dropped = [], 0
    rows = _rows(path)
    _, header = next(rows, (0, []))
    columns = _columns(path, header)
    for index, (line, fields) in enumerate(rows):
        if len(fields) != len(header):
            raise UserError(f"{path}, line {line}: {len(fields)} fields, but the header has {len(header)} columns")
        premise, hypothesis, label = (fields[column] for column in columns)
        if label == NO_LABEL:
            dropped += 1
        elif label in LABELS:
            examples.append(Example(index, premise, hypothesis, LABELS.index(label)))
        else:
            raise UserError(
                f"{path}, line {line}: {LABEL} is {label!r}; accepted: {', '.join(LABELS)}, "
                f"and {NO_LABEL} for a row without a label"
            )
    if not examples:
        found = f"none of its {dropped} rows has a label" if dropped else "it ends after the header"
        raise UserError(f"{path} has no labelled pair: {found}")
    return Examples(tuple(examples), dropped)


def _columns(path: Path, header: list[str]) -> tuple[int, ...]:
    """Places of premise, hypothesis and label."""
    if header in ([], [""]):
        raise UserError(
            f"{path} is empty; expected a header with {PREMISE}, {HYPOTHESIS} and {LABEL}, then a pair a line"
        )
    for name in (PREMISE, HYPOTHESIS, LABEL):
        if header.count(name) != 1:
            problem = f"has {header.count(name)} columns" if name in header else "has no column"
            raise UserError(f"{path} {problem} {name}: its header is {', '.join(map(repr, header))}")
    return tuple(header.index(name) for name in (PREMISE, HYPOTHESIS, LABEL))


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line numbers from 1, and fields, without blank lines.

    A line ends only at LF or CRLF, because sentences may contain other Unicode line ends.
    """
    text = _text(path)
    if '"' in text and _is_quoted(text):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
        yield from ((reader.line_num, fields) for fields in reader if fields)
        return
    for line, content in enumerate(text.split("\n"), start=1):
        if content := content.removesuffix("\r"):
            yield line, content.split("\t")


def _is_quoted(text: str) -> bool:
    return _DOUBLED.search(text) is not None and _QUOTED.fullmatch(text) is not None


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith(_GZIP_MAGIC):
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path} is a damaged or incomplete gzip file ({error}); download it again") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(f"{path} is UTF-16, which spreadsheets call Unicode text; save it as UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        line, byte = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise UserError(f"{path}, line {line}: byte {byte} of the line isn't UTF-8") from error
