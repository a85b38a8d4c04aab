"""The corpus and vocabulary beside what others use for them. `make bench-corpus` runs it; not a test.

Each contender is a process of its own, from its start to its end. They take turns, so that a machine which others use
too slows all of them alike; medians of the turns. CPU seconds are user and system time of the process and all its
children, and tell more than the clock on such a machine. Memory is the peak of the whole tree, sampled every 100 ms,
with what processes share counted once (PSS).

Input: 206 pages of real English Wikipedia, several times under other page ids, and prose of featured articles, once;
the sample dump where ../shared/data isn't there. Repeated pages are easier for a tokenizer, which remembers words, than
as many other pages; that is why the whole way is measured on both.
"""

import argparse
import bz2
import itertools
import os
import platform
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax import saxutils

SHARED = Path(__file__).parents[2] / "shared" / "data"
COPIES = 4
"""Of the 206 pages: 24 MB of XML, 1.7 M words."""
LINES = 30_000
"""Sentences that become records: the Model Garden needs half a minute for them, behind 8 s that TensorFlow needs."""
PROSE = 100_000_000
"""Characters that vocabularies are trained on."""
ENWIKI_BYTES, ENWIKI_XML, ENWIKI_WORDS = 20e9, 85e9, 2.17e9
"""English Wikipedia: bz2, XML, words of prose."""
GARDEN = (
    "import runpy, sys; sys.argv[1:] = ['--input_file={text}', '--output_file={out}', '--vocab_file={vocabulary}', "
    "'--do_lower_case', '--max_seq_length=128', '--max_predictions_per_seq=20', '--dupe_factor=2']; "
    "runpy.run_module('official.nlp.data.create_pretraining_data', run_name='__main__')"
)
GENSIM = (
    "from gensim.corpora.wikicorpus import WikiCorpus\n"
    "with open({out!r}, 'w') as file:\n"
    "    for words in WikiCorpus({dump!r}, dictionary={{}}, processes=1).get_texts(): print(*words, file=file)"
)
PARSER = (
    "import bz2, mwparserfromhell; from gensim.corpora.wikicorpus import extract_pages\n"
    "with open({out!r}, 'w') as file:\n"
    "    for title, text, page in extract_pages(bz2.BZ2File({dump!r}), ('0',)):\n"
    "        if not text.lower().startswith('#redirect'): print(mwparserfromhell.parse(text).strip_code(), file=file)"
)
TOKENIZERS = (
    "import os; os.environ['RAYON_NUM_THREADS'] = '1'\n"
    "from tokenizers import BertWordPieceTokenizer\n"
    "made = BertWordPieceTokenizer(lowercase=True)\n"
    "made.train([{text!r}], vocab_size=30522, min_frequency=2, show_progress=False); made.save_model({out!r})"
)


@dataclass
class Contender:
    """One way to do one thing."""

    thing: str
    name: str
    command: list[str]
    unit: str
    amount: float
    """What it does, in millions of `unit`."""
    environment: dict[str, str] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    reason: str = ""
    """Why it can't be measured."""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", metavar="PYTHON", default="", help="one that has wikiextractor, gensim, …")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--only", metavar="THING", default="", help="measure only things that contain this")
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "INPUT", "OUTPUT"), help="(used by itself) be a contender")
    arguments = parser.parse_args()
    if arguments.one:
        WHAT[arguments.one[0]](*map(Path, arguments.one[1:]))
        return
    say(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, load {load()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        every = [each for each in contenders(Path(folder), arguments.peers) if arguments.only in each.thing]
        for turn in range(arguments.turns):
            for contender in every:
                if not contender.reason:
                    run(contender, Path(folder))
            say(f"turn {turn + 1} of {arguments.turns} is done, load {load()}", sys.stderr)
    report(every)


def contenders(folder: Path, peers: str) -> Iterator[Contender]:
    """All of them, with their inputs in the folder."""
    ours = [sys.executable, __file__, "--one"]
    dump, words = folder / "pages.xml.bz2", folder / "featured.xml.bz2"
    xml = pages(dump)
    prose = featured(words)
    text, sentences, vocabulary = folder / "prose.txt", folder / "sentences.txt", folder / "vocab.txt"
    joined = "\n".join(prose)
    with text.open("w") as file:
        for _ in range(max(1, round(PROSE / len(joined)))):
            file.write(joined)
    vocabulary.write_text(the_vocabulary(joined))
    count = write_sentences(prose, sentences)
    environment = {"BENCH_VOCABULARY": str(vocabulary), "BERTLINE_WORKERS": "1"}

    def peer(thing: str, name: str, package: str, command: list[str], unit: str, amount: float) -> Contender:
        made = Contender(thing, name, [peers, *command], unit, amount)
        if not peers or subprocess.run([peers, "-c", f"import {package}"], capture_output=True, check=False).returncode:
            made.reason = f"{package} isn't installed: `make bench-corpus` installs it where there is a network"
        return made

    out = folder / "out"
    thing = "extraction, bz2 to text"
    yield Contender(thing, "bertline", [*ours, "extract", str(dump), str(out)], "MB of XML", xml)
    wikiextractor = ["-m", "wikiextractor.WikiExtractor", "--processes", "1", "-q", "-o", f"{out}.d", str(dump)]
    yield peer(thing, "WikiExtractor 3.1.0", "wikiextractor", wikiextractor, "MB of XML", xml)
    names = {"dump": str(dump), "out": str(out)}
    yield peer(thing, "gensim 4.4.0", "gensim", ["-c", GENSIM.format(**names)], "MB of XML", xml)
    yield peer(thing, "mwparserfromhell 0.7.2", "mwparserfromhell", ["-c", PARSER.format(**names)], "MB of XML", xml)
    thing = "records of sentences, 2 duplicates"
    yield Contender(thing, "bertline", [*ours, "records", str(sentences), str(out)], "words", count / 1e6, environment)
    garden = GARDEN.format(text=sentences, out=out, vocabulary=vocabulary)
    yield Contender(thing, "Model Garden 2.20", [sys.executable, "-c", garden], "words", count / 1e6)
    yield Contender(thing, "(importing TensorFlow)", [sys.executable, "-c", "import tensorflow"], "words", count / 1e6)
    thing = "vocabulary of 30,522 pieces"
    characters = text.stat().st_size / 1e6
    yield Contender(thing, "bertline", [*ours, "vocabulary", str(text), str(out)], "MB of prose", characters)
    trainer = TOKENIZERS.format(text=str(text), out=str(folder))
    yield peer(thing, "tokenizers 0.23.3, one thread", "tokenizers", ["-c", trainer], "MB of prose", characters)
    for source, name, amount in (
        (dump, "pages", words_of(dump) / 1e6),
        (words, "featured articles", sum(len(each.split()) for each in prose) / 1e6),
    ):
        for workers in (1, 2):
            command = [str(Path(sys.executable).with_name("bertline")), "corpus", str(source)]
            command += ["--vocabulary", str(vocabulary), "--out", f"{out}.d", "--duplicates", "2", "--shards", "8"]
            yield Contender(
                f"bz2 to TFRecords, {name}, 2 duplicates",
                f"bertline, {workers} {'worker' if workers == 1 else 'workers'}",
                command,
                "words",
                amount,
                {"BERTLINE_WORKERS": str(workers)},
            )


def run(contender: Contender, folder: Path) -> None:
    """Measure one turn."""
    import psutil

    subprocess.run(["rm", "-rf", f"{folder}/out.d"], check=True)
    log = folder / "log"
    with log.open("wb") as file:
        begun = time.perf_counter()
        process = subprocess.Popen(
            contender.command, stdout=file, stderr=file, cwd=folder, env=os.environ | contender.environment
        )
        most = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            most = max(most, memory(psutil.Process(process.pid)))
            time.sleep(0.1)
        wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(errors="replace").strip().splitlines()
        contender.reason = f"it failed: {lines[-1] if lines else process.returncode}"
        return
    contender.cpu.append(usage.ru_utime + usage.ru_stime)
    contender.wall.append(wall)
    contender.memory.append(most / 1e6)


def memory(process: "psutil.Process") -> int:  # type: ignore[name-defined]  # noqa: F821
    """Bytes of a process and its children."""
    import psutil

    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        pass
    return total


def report(every: list[Contender]) -> None:
    """The table, and what follows for English Wikipedia."""
    for thing in dict.fromkeys(each.thing for each in every):
        group = [each for each in every if each.thing == thing]
        say(f"\n{thing}: {group[0].amount:,.2f} M {group[0].unit.removeprefix('MB of ')}")
        say("                                   CPU s    wall s   peak MB   per CPU s        times")
        first = statistics.median(group[0].cpu) if group[0].cpu else 0.0
        for each in group:
            if each.reason:
                say(f"  {each.name:30} skipped: {each.reason}")
                continue
            cpu, wall, peak = (statistics.median(values) for values in (each.cpu, each.wall, each.memory))
            rate = each.amount / cpu
            shown = f"{rate:8.2f} MB" if each.unit.startswith("MB") else f"{rate * 1e6:9,.0f} w"
            say(f"  {each.name:30} {cpu:8.2f} {wall:9.2f} {peak:9.0f}   {shown} {cpu / first:10.1f}")
    extraction = next((each for each in every if each.thing.startswith("extraction") and each.cpu), None)
    whole = [each for each in every if each.thing.startswith("bz2 to TFRecords, featured") and each.cpu]
    if extraction and whole:
        # Featured articles have little markup: the XML that enwiki has beyond theirs is charged as extraction.
        per_word = statistics.median(whole[0].cpu) / (whole[0].amount * 1e6)
        per_byte = statistics.median(extraction.cpu) / (extraction.amount * 1e6)
        seconds = ENWIKI_WORDS * per_word + max(0.0, ENWIKI_XML - 6.2 * ENWIKI_WORDS) * per_byte
        hours = seconds / 3600
        say(
            f"\nEnglish Wikipedia ({ENWIKI_BYTES / 1e9:.0f} GB of bz2, {ENWIKI_XML / 1e9:.0f} GB of XML, "
            f"{ENWIKI_WORDS / 1e9:.2f} Bn words), 2 duplicates, by these rates: {hours:.1f} core-hours; if all cores "
            f"are as fast as one, on 2 cores {hours / 2:.1f} h, on 16 {hours * 60 / 16:.0f} min, on 64 "
            f"{hours * 60 / 64:.0f} min"
        )
    for one, two in itertools.pairwise(every):
        if one.name == "bertline, 1 worker" and one.wall and two.wall:
            gain = statistics.median(one.wall) / statistics.median(two.wall)
            say(f"{one.thing}: 2 workers are {gain:.2f} times as fast as 1 by the clock")


def pages(path: Path) -> float:
    """The dump of pages; MB of XML."""
    from bertline import samples

    source = SHARED / "wiki_xml" / "enwiki-206-pages.xml.bz2"
    packed = source.read_bytes() if source.exists() else samples.write("pydoc-topics", path.parent).read_bytes()
    head, opening, rest = bz2.decompress(packed).decode().partition("  <page>")
    body = opening + rest.rpartition("</mediawiki>")[0]
    copies = (
        re.sub(r"<id>(\d+)</id>", lambda match, copy=copy: f"<id>{int(match[1]) + copy * 10**9}</id>", body)
        for copy in range(COPIES)
    )
    text = f"{head}{''.join(copies)}</mediawiki>\n".encode()
    path.write_bytes(bz2.compress(text))
    return len(text) / 1e6


def featured(path: Path) -> list[str]:
    """A dump of featured articles; their prose. Where they aren't at hand, the sample dump's."""
    source = SHARED / "wiki_text" / "enwiki-featured-part.tar.xz"
    if not source.exists():
        from bertline import samples

        path.write_bytes(samples.write("pydoc-topics", path.parent).read_bytes())
        return [" ".join(paragraphs) for paragraphs in prose_of(path)]
    with tarfile.open(source) as archive:
        files = [archive.extractfile(name).read().decode() for name in archive.getnames() if "wiki_" in name]
    found = [
        (match[1], match[2], saxutils.unescape(match[3]))
        for file in files
        for match in re.finditer(r'<doc id="(\d+)"[^>]* title="([^"]*)">\n[^\n]*\n(.*?)</doc>', file, re.DOTALL)
    ]
    body = "".join(
        f"  <page>\n    <title>{saxutils.escape(title)}</title>\n    <ns>0</ns>\n    <id>{number}</id>\n"
        "    <revision>\n"
        f'      <id>{number}</id>\n      <text xml:space="preserve">{saxutils.escape(text)}</text>\n    </revision>\n'
        "  </page>\n"
        for number, title, text in found
    )
    path.write_bytes(bz2.compress(f'<mediawiki xml:lang="en">\n{body}</mediawiki>\n'.encode()))
    return [text for _, _, text in found]


def the_vocabulary(prose: str) -> str:
    """BERT-base uncased's, or one of the prose."""
    from bertline.vocabulary import training

    path = SHARED / "vocab" / "bert-base-uncased-vocab.txt"
    return path.read_text() if path.exists() else training.train(iter([prose]), 8_000, lower_case=True).text


def write_sentences(prose: list[str], path: Path) -> int:
    """One a line, a blank line between articles; how many words they have."""
    from bertline.text import sentences

    lines = []
    for text in prose:
        lines += [each for part in text.split("\n") for each in sentences.split(part, "en")] + [""]
        if len(lines) > LINES:
            break
    path.write_text("\n".join(lines))
    return sum(len(line.split()) for line in lines)


def prose_of(dump: Path) -> Iterator[list[str]]:
    """The paragraphs of each article."""
    from bertline.experiment.corpora import Articles
    from bertline.sources.files import Source
    from bertline.wikipedia import dumps, extraction

    choice = Articles(dump=Source(url=str(dump)))
    for part in dumps.slices(dump, 16 << 20):
        for _, paragraphs in extraction.prose(dump, part, choice, extraction.Read()):
            yield paragraphs


def words_of(dump: Path) -> int:
    """How many words of prose a dump has."""
    return sum(len(paragraph.split()) for paragraphs in prose_of(dump) for paragraph in paragraphs)


def extract(dump: Path, output: Path) -> None:
    """Be a contender: bz2 to text."""
    with output.open("w") as file:
        for paragraphs in prose_of(dump):
            file.write("\n".join([*paragraphs, ""]))


def records(text: Path, output: Path) -> None:
    """Be a contender: sentences to TFRecords."""
    from bertline.corpus import instances
    from bertline.corpus.segments import Document
    from bertline.examples import shards
    from bertline.text import wordpiece

    tokenizer = wordpiece.Tokenizer(wordpiece.read(Path(os.environ["BENCH_VOCABULARY"])), lower_case=True)
    documents = []
    for number, article in enumerate(text.read_text().split("\n\n")):
        encoded = tokenizer.encode_batch(article.split("\n"))
        documents.append(Document(number, encoded.pieces, encoded.lengths))
    made = instances.make(documents, instances.InstanceOptions(dupe_factor=2), tokenizer.vocabulary)
    shards.write(output, made)


def vocabulary(text: Path, output: Path) -> None:
    """Be a contender: prose to a vocabulary."""
    from bertline.vocabulary import training

    with text.open() as file:
        output.write_text(training.train(iter(file), 30522, lower_case=True).text)


def load() -> str:
    """Processes that want to run, in the last minute."""
    return f"{os.getloadavg()[0]:.0f}"


def say(text: str, file: object = None) -> None:
    """A line, at once."""
    print(text, file=file or sys.stdout, flush=True)  # type: ignore[call-overload]


WHAT: dict[str, Callable[[Path, Path], None]] = {"extract": extract, "records": records, "vocabulary": vocabulary}

if __name__ == "__main__":
    main()
