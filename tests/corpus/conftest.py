"""Dumps, a vocabulary, and the corpus stage on a store of its own."""

import bz2
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bertline import samples
from bertline.corpus import stage, workers
from bertline.corpus.config import CorpusConfig
from bertline.experiment.corpora import Articles
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.realizations import Outcome, realize
from bertline.vocabulary import training
from bertline.wikipedia import dumps, extraction
from support.seaweed import s3_uri, seaweed

__all__ = ["s3_uri", "seaweed"]

DATA = Path(__file__).parents[2] / "../shared/data"


@pytest.fixture(autouse=True)
def one_worker(monkeypatch):
    """Enough for most tests: each worker costs a second of imports."""
    monkeypatch.setenv(workers.ENVIRONMENT, "1")


@pytest.fixture(scope="session")
def pydoc(tmp_path_factory):
    """The sample dump in blocks of 100 kB, so that it can be sliced."""
    folder = tmp_path_factory.mktemp("pydoc")
    xml = bz2.decompress(samples.write("pydoc-topics", folder).read_bytes())
    path = folder / "blocks.xml.bz2"
    path.write_bytes(bz2.compress(xml, 1))
    return path


@pytest.fixture(scope="session")
def twelve_pydocs(pydoc, tmp_path_factory):
    """The sample dump twelve times over, with page ids of their own: 1.0 MB, so four slices."""
    xml = bz2.decompress(pydoc.read_bytes()).decode()
    begin, end = xml.index("  <page>"), xml.index("</mediawiki>")

    def moved(copy):
        return re.sub(
            r"(<ns>\d+</ns>\s*<id>)(\d+)", lambda match: f"{match[1]}{int(match[2]) + 1000 * copy}", xml[begin:end]
        )

    path = tmp_path_factory.mktemp("twelve") / "twelve.xml.bz2"
    whole = xml[:begin] + "".join(map(moved, range(12))) + xml[end:]
    path.write_bytes(bz2.compress(whole.encode(), 1))
    return path


@pytest.fixture(scope="session")
def enwiki():
    """A real dump: 206 pages in a stream of 7 blocks."""
    path = DATA / "wiki_xml" / "enwiki-206-pages.xml.bz2"
    if not path.exists():
        pytest.skip("the real dumps aren't here: shared/data/wiki_xml")
    return path


@pytest.fixture(scope="session")
def vocabulary(pydoc):
    """Uncased, trained on the sample."""
    (part,) = dumps.slices(pydoc, 1 << 30)
    articles = extraction.prose(pydoc, part, Articles(dump=str(pydoc)), extraction.Read())
    return training.train((paragraph for _, paragraphs in articles for paragraph in paragraphs), 1500, lower_case=True)


@pytest.fixture(scope="session")
def configure(vocabulary):
    """(dump, store, its vocab.txt) → a config; puts the vocabulary into the store."""

    def make(dump, store, text=vocabulary.text, *, lower_case=True, **changes):
        derivation = Derivation("vocabulary", 1, {"text": text})

        def build(build):
            (build.payload / "vocab.txt").write_text(text)
            return Outcome({}, {})

        realize(store, derivation, build)
        url = dump if isinstance(dump, dict) else str(dump)
        corpus = {"dump": url, "shards": 4, "duplicates": 2, "held_out": 0.1, **changes}
        return CorpusConfig.model_validate({"corpus": corpus, "lower_case": lower_case, "vocabulary": derivation.key})

    return make


@pytest.fixture
def build(configure, tmp_path):
    """Runs the stage in this process on a fresh store."""
    count = iter(range(100))

    def run(dump, *arguments, **changes):
        store = connect(str(tmp_path / f"store-{next(count)}"))
        return stage.run(configure(dump, store, *arguments, **changes), store)

    return run


@pytest.fixture(scope="session")
def outcome():
    """What must be the same whatever happened on the way."""

    def of(realization):
        return {file.path: file.sha256 for file in realization.manifest.files}, realization.manifest.results

    return of


@pytest.fixture(scope="session")
def reference(configure, outcome, tmp_path_factory):
    """What an undisturbed run makes of a dump, once a dump and options."""
    known = {}

    def find(dump, **changes):
        key = (dump, *sorted(changes.items()))
        if key not in known:
            store = connect(str(tmp_path_factory.mktemp("reference")))
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv(workers.ENVIRONMENT, "2")
                known[key] = outcome(stage.run(configure(dump, store, **changes), store))
        return known[key]

    return find


@pytest.fixture
def start(tmp_path):
    """Starts `python -m bertline.corpus` as a process of its own."""
    started = []

    def run(config, store, **options):
        path = tmp_path / "config.json"
        path.write_text(config.model_dump_json())
        command = [sys.executable, "-m", "bertline.corpus", "--store", store.uri, "--config", f"@{path}"]
        started.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)
        )
        return started[-1]

    yield run
    for process in started:
        with process:  # closes its pipe
            process.kill()
