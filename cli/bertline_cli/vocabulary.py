"""`bertline vocabulary`: trains a WordPiece vocabulary on a dump, without an experiment."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from bertline.experiment.corpora import Articles
from bertline.experiment.specs import TrainVocabulary, Vocabulary
from bertline_cli import arguments, spec_options
from bertline_cli.corpus import Dump

EXAMPLE = (
    "Examples:  bertline vocabulary enwiki.xml.bz2 --size 30522 --out vocab.txt  |  "
    "bertline vocabulary ruwiki.xml.bz2 --language ru --cased --size 50000 --out vocab-ru.txt"
)


@spec_options.with_options(TrainVocabulary, Articles, without=("dump",))
def command(
    dump: Dump,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The vocabulary: one piece a line.", show_default=False)],
    lower_case: Annotated[
        bool, typer.Option("--lower-case/--cased", help="Lower-case the text and strip its accents.")
    ] = True,
    as_json: arguments.Json = False,
    **settings: Any,
) -> None:
    """Train a WordPiece vocabulary on the articles of a Wikipedia dump.

    FILE is BERT's vocab.txt; FILE.manifest.json beside it describes its input. The other options are those of an
    experiment's sections `vocabulary.train` and `corpus`.
    """
    from bertline_cli import displays
    from bertline_pipelines.running import standalone

    train = spec_options.build(TrainVocabulary, settings, {})
    articles = spec_options.build(Articles, {"dump": dump, **settings}, {"dump": "DUMP"})
    vocabulary = Vocabulary(train=train, lower_case=lower_case)
    with displays.stoppable(), displays.transfers(lines=True):
        arguments.refuse(articles, None)
        result = standalone.make_vocabulary(articles, vocabulary, out)
    results = result.manifest.results
    if as_json:
        typer.echo(json.dumps({"out": str(out), "is_new": result.is_new} | result.manifest.model_dump(mode="json")))
        return
    typer.echo(
        f"{out}: {results['pieces']:,} pieces from {results['characters']:,} characters of "
        f"{results['articles']:,} articles" + ("" if result.is_new else "; it was there already")
    )
    case = "--lower-case" if lower_case else "--cased"
    language = [] if articles.language == "en" else ["--language", articles.language]
    words = ["bertline", "corpus", dump, "--vocabulary", str(out), case, *language, "--out", "corpus"]
    typer.echo(f"Next:  {shlex.join(words)}")
