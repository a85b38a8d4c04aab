"""GLUE's MNLI files: tab-separated, a header, no quoting (a quote in a sentence is a quote).

Read strictly, since a misread file gives a plausible accuracy. Columns are found by name; what isn't as it should be is
refused with its line. The row's label is kept as a place in `LABELS`, and the premise always comes first.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from bertline.errors import UserError

LABELS = ("contradiction", "entailment", "neutral")
"""Label ids are places in here."""

NO_LABEL = "-"
"""What MNLI writes where its annotators found no majority. Such rows count for nothing, as in the published figures."""

PREMISE, HYPOTHESIS, LABEL = "sentence1", "sentence2", "gold_label"


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    """One labelled pair."""

    index: int
    """Row of the file, from 0, rows without a label included: GLUE's own `index` column counts so."""
    premise: str
    hypothesis: str
    label: int
    """Place in `LABELS`."""


@dataclasses.dataclass(frozen=True)
class Examples:
    """What a file holds."""

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
    """Line numbers from 1 and fields. A line ends at LF or CRLF alone: sentences may hold other Unicode line ends."""
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            try:
                text = content.decode("utf-8-sig" if line == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}, line {line}: byte {error.start + 1} of the line isn't UTF-8") from error
            yield line, text.removesuffix("\n").removesuffix("\r").split("\t")
