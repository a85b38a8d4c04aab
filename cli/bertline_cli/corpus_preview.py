"""`bertline corpus preview`: the processing of the first articles, step by step."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertline_cli import arguments

if TYPE_CHECKING:
    from rich.console import RenderableType

    from bertline_pipelines.planning.previews import Article, Example, Preview

EXAMPLE = (
    "Examples:  bertline corpus preview my.yaml --documents 3  |  bertline corpus preview my.yaml --characters 0 | less"
)

WIDE = 120
"""From this width on two steps are side by side."""


def command(
    path: arguments.ExperimentFile,
    documents: Annotated[int, typer.Option(min=1, max=200, help="Articles to show.")] = 3,
    characters: Annotated[int, typer.Option(min=0, help="Characters of each step at most; 0 shows all.")] = 1200,
    changes: arguments.Changes = None,
    as_json: arguments.Json = False,
) -> None:
    """Show the processing of an experiment's first articles: wikitext, prose, sentences, pieces, a masked example.

    Only the dump's beginning is read. It also counts unknown templates in sentences: add the most frequent ones to the
    file of `corpus.templates`.
    """
    import tempfile

    from bertline.experiment import specs
    from bertline_cli import displays
    from bertline_pipelines.planning import previews

    experiment = specs.of(specs.read(path).changed(changes or ()))
    with tempfile.TemporaryDirectory(prefix="bertline-") as work, displays.transfers():
        preview = previews.preview(experiment.corpus, experiment.vocabulary, documents, Path(work))
    if as_json:
        typer.echo(json.dumps(asdict(preview), ensure_ascii=False))
        return
    from rich.console import Console

    console = Console(file=sys.stdout, width=displays.width(), highlight=False)
    for article in preview.articles:
        for part in _article(article, characters, side_by_side=console.width >= WIDE):
            console.print(part)
    for line in _counted(preview, path):
        console.print(line, markup=False)


def _article(article: "Article", characters: int, *, side_by_side: bool) -> Iterator["RenderableType"]:
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    yield Rule(Text(f"{article.title} (page {article.id})", style="bold"), align="left")
    wikitext = _excerpt(_from_prose(article.wikitext, article.prose), characters)
    prose = _excerpt("\n\n".join(article.prose), characters)
    pieces = [" ".join(each) for each in article.pieces]
    shown = _fitting(article.sentences, characters)
    left = len(article.sentences) - shown
    rows = list(zip(article.sentences[:shown], pieces[:shown], strict=True))
    if side_by_side:
        for heads, pairs in ((("wikitext", "prose"), [(wikitext, prose)]), (("sentences", "pieces"), rows)):
            table = Table(*heads, box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
            for column in table.columns:
                column.ratio = 1
                column.overflow = "fold"
            for pair in pairs:
                table.add_row(*map(Text, pair))
            yield table
            yield ""
    else:
        for head, text in (
            ("wikitext", wikitext),
            ("prose", prose),
            ("sentences", "\n".join(sentence for sentence, _ in rows)),
            ("pieces", "\n".join(piece for _, piece in rows)),
        ):
            yield Text(head, style="bold")
            yield Text(f"{text}\n", overflow="fold")
    if left:
        yield Text(f"… {left:,} more sentences\n")
    yield Text("one masked example" + _kind(article.example), style="bold")
    yield Text(f"{_masked(article.example)}\n", overflow="fold")


def _from_prose(wikitext: str, prose: Sequence[str]) -> str:
    """The wikitext from the line in which the prose begins; boxes usually precede it."""
    words = prose[0].split()
    for number in range(min(len(words) - 3, 40)):
        at = wikitext.find(" ".join(words[number : number + 4]))
        if at >= 0:
            begin = wikitext.rfind("\n", 0, at) + 1
            return (f"({begin:,} characters before)\n" if begin else "") + wikitext[begin:]
    return wikitext


def _excerpt(text: str, characters: int) -> str:
    if not characters or len(text) <= characters:
        return text
    return f"{text[:characters]}\n… {len(text) - characters:,} more characters"


def _fitting(sentences: Sequence[str], characters: int) -> int:
    """Number of sentences in so many characters, at least one."""
    if not characters:
        return len(sentences)
    length = 0
    for number, sentence in enumerate(sentences):
        length += len(sentence)
        if length > characters:
            return max(1, number)
    return len(sentences)


def _kind(example: "Example | None") -> str:
    if example is None:
        return ""
    return f", {len(example.pieces)} pieces, {len(example.masked)} of them to predict, written {{as they were}}" + (
        "; its second segment is from another document" if example.is_random_next else ""
    )


def _masked(example: "Example | None") -> str:
    if example is None:
        return "none begins in this article"
    was = {each.position: each.piece for each in example.masked}
    return " ".join(f"{piece}{{{was[place]}}}" if place in was else piece for place, piece in enumerate(example.pieces))


def _counted(preview: "Preview", path: Path) -> Iterator[Any]:
    from bertline.plurals import counted

    yield (
        f"In the first {counted(preview.looked_at, 'article')}: {preview.unknown_share:.2%} of the pieces are [UNK]"
        + (", with a vocabulary that was trained only on these articles" if preview.is_trained_here else "")
    )
    if preview.dropped_templates:
        yield "Templates in sentences whose text isn't known, and how often:"
        widest = max(len(f"{count:,}") for count in preview.dropped_templates.values())
        for name, count in list(preview.dropped_templates.items())[:20]:
            yield f"  {count:>{widest},}  {name}"
        name = next(iter(preview.dropped_templates))
        line = json.dumps({"{1}": [name]}, ensure_ascii=False)[1:-1]
        yield f"A line for the first one, if it shows its first argument, in the file of corpus.templates:  {line}"
    yield f"Next:  bertline validate {path}"
