"""`bertline corpus`: makes TFRecords from a dump, without an experiment."""

import glob
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bertline.experiment.corpora import Corpus
from bertline.plurals import counted
from bertline_cli import arguments, spec_options

if TYPE_CHECKING:
    from bertline.experiment.specs import Vocabulary
    from bertline_pipelines.running.standalone import Result

EXAMPLE = (
    "Examples:  bertline corpus enwiki.xml.bz2 --vocabulary vocab.txt --out corpus  |  "
    "bertline corpus ruwiki.xml.bz2 --vocabulary vocab.txt --language ru --duplicates 2 --out corpus-ru"
)

Dump = Annotated[
    str, typer.Argument(metavar="DUMP", help="A pages-articles dump of a wiki: a path or a URL.", show_default=False)
]

LowerCase = Annotated[
    bool | None,
    typer.Option(
        "--lower-case/--cased",
        help="Lower-case the text and strip its accents.",
        show_default="as the vocabulary is",
    ),
]


@spec_options.with_options(Corpus, without=("dump",))
def command(
    dump: Dump,
    vocabulary: Annotated[str, typer.Option(help="vocab.txt, one piece a line: a path or a URL.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the files.", show_default=False)],
    lower_case: LowerCase = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, envvar="BERTLINE_WORKERS", help="Processes.", show_default="one a core, as memory allows"),
    ] = None,
    as_json: arguments.Json = False,
    **settings: Any,
) -> None:
    """Make BERT's pre-training examples of a Wikipedia dump.

    The folder gets train-….tfrecord, held-out-….tfrecord, vocab.txt and, last, manifest.json with checksums and
    statistics. To continue a build that was stopped or killed, run the same command again. The options
    are those of an experiment's section `corpus`. `bertline corpus preview` shows the processing of single articles.
    """
    from bertline_cli import displays
    from bertline_pipelines.running import standalone

    if workers:
        os.environ["BERTLINE_WORKERS"] = str(workers)
    corpus = spec_options.build(Corpus, {"dump": dump, **settings}, {"dump": "DUMP"})
    with displays.stoppable(), displays.transfers(lines=True):
        chosen = _vocabulary(vocabulary, lower_case)
        arguments.refuse(corpus, chosen)
        result = standalone.make_corpus(corpus, chosen, out)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "is_new": result.is_new} | result.manifest.model_dump(mode="json")))
        return
    for line in _told(result, out):
        typer.echo(line)


def _vocabulary(source: str, lower_case: bool | None) -> "Vocabulary":
    """The vocabulary; lower-case if its pieces allow it.

    Raises:
        UserError: the file isn't a vocabulary, or can't be read.
    """
    import tempfile

    from bertline.errors import UserError
    from bertline.experiment.specs import Vocabulary
    from bertline.text import wordpiece

    names = {"file": "--vocabulary"}
    vocabulary = spec_options.build(Vocabulary, {"file": source, "lower_case": bool(lower_case)}, names)
    if lower_case is not None:
        return vocabulary
    assert vocabulary.file
    if not vocabulary.file.is_local:
        raise UserError("--vocabulary is a URL: give --lower-case or --cased too")
    with tempfile.TemporaryDirectory(prefix="bertline-") as directory:
        pieces = wordpiece.read(vocabulary.file.look(Path(directory)))
    try:
        wordpiece.Tokenizer(pieces, lower_case=True)
    except UserError:
        return vocabulary
    return vocabulary.model_copy(update={"lower_case": True})


def _told(result: "Result", out: Path) -> list[str]:
    results, files = result.manifest.results, result.manifest.files
    size = sum(file.size for file in files)
    share = results["unknown"] / max(1, results["tokens"])
    lines = [
        f"{out}: {counted(len(files), 'shard')}, {size / 1e6:,.1f} MB{'' if result.is_new else ', there already'}",
        f"  {results['examples']:,} examples, and {results['held_out_examples']:,} held out",
        f"  {counted(results['documents'], 'document')} of {counted(results['pages'], 'page')}",
        f"  {results['words']:,} words, {results['sentences']:,} sentences",
        f"  {results['tokens']:,} pieces, {share:.2%} of them [UNK]",
    ]
    if dropped := list(results["dropped_templates"].items())[:5]:
        said = ", ".join(f"{name} {count:,}" for name, count in dropped)
        lines.append(f"  most frequent templates whose text isn't known: {said}; add them to --templates FILE")
    suffix = ".gz" if files[0].path.endswith(".gz") else ""
    pattern = json.dumps(f"{glob.escape(str(out))}/train-*.tfrecord{suffix}")
    option = ', "GZIP"' if suffix else ""
    code = (
        "import glob, tensorflow as tf; [print(tf.train.Example.FromString(x.numpy())) for x in "
        f"tf.data.TFRecordDataset(sorted(glob.glob({pattern})){option}).take(1)]"
    )
    return [*lines, f"Next:  python -c {shlex.quote(code)}"]
