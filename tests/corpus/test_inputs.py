"""A dump elsewhere: each pod reads its slices' bytes, all of one state, and makes what the whole file makes."""

import bz2
import hashlib
import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from bertline.corpus import parts, stage, units, workers
from bertline.corpus.config import CorpusPartConfig
from bertline.errors import UserError
from bertline.retries import Pauses
from bertline.sources import downloads, files, ranges
from bertline.sources.downloads import Patience
from bertline.sources.files import Source
from bertline.store.backends import connect
from bertline.wikipedia import blocks
from support.seaweed import close_store
from support.web_servers import WebServer, file, status

PODS = 4


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch):
    monkeypatch.setattr(units, "SMALLEST_SLICE", 100_000)
    monkeypatch.setattr(blocks, "_WINDOW_BYTES", 4096)
    monkeypatch.setattr(workers, "pool", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(downloads, "PATIENCE", Patience(lasts_s=5, pauses=Pauses(0.01, 0.1), silence_s=5))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def web():
    server = WebServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def dump(pydoc, tmp_path_factory):
    """The sample's articles among pages that are left out, so that it has some size: 1.1 MB, streams of 13 kB."""
    xml = bz2.decompress(pydoc.read_bytes())
    begin, end = xml.index(b"  <page>"), xml.index(b"</mediawiki>")
    pages = xml[begin:end].split(b"  <page>")[1:]
    noise = random.Random(3)
    texts = (
        b"  <page>\n<title>T</title><ns>1</ns><id>%d</id><revision><text>%s</text></revision></page>\n"
        % (10_000 + index, noise.randbytes(12_000).hex().encode())
        for index in range(len(pages))
    )
    mixed = [part for page, text in zip(pages, texts, strict=True) for part in (b"  <page>" + page, text)]
    streams = [b"".join(mixed[index : index + 2]) for index in range(0, len(mixed), 2)]
    path = tmp_path_factory.mktemp("dump") / "dump.xml.bz2"
    path.write_bytes(b"".join(map(bz2.compress, [xml[:begin], *streams, b"</mediawiki>\n"])))
    return path


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


def map_part(config, store, index, count=PODS):
    return parts.run(CorpusPartConfig(corpus=config, work="map", index=index, count=count), store)


def test_each_pod_fetches_its_share(dump, web, store, configure, outcome, reference):
    content = dump.read_bytes()
    web.answers["/dump.xml.bz2"] = [file(content, ETag='"1"')]
    config = configure(f"{web.url}/dump.xml.bz2", store)
    fetched = []
    for index in range(PODS):
        web.sent.clear()
        map_part(config, store, index)
        fetched.append(web.sent["/dump.xml.bz2"])
    # Beside its slices a pod fetches the file's head, and what ends each slice's last page: the next block or two.
    slices = len([found for found in store.list("objects/corpus/") if found.name.endswith(".buckets")])
    share = -(-slices // PODS) * len(content) / slices
    assert all(each < share + ranges.HEAD + -(-slices // PODS) * 30_000 for each in fetched[1:]), (fetched, share)
    assert sum(fetched) < 1.8 * len(content)
    requests = len(web.requests)
    corpus = stage.run(config, store)
    assert len(web.requests) == requests, "all slices are there"
    assert outcome(corpus) == reference(dump)
    assert corpus.manifest.measurements["downloads"] == {f"{web.url}/dump.xml.bz2": 'ETag "1"'}


def test_one_pod_checks_the_whole_file_and_the_others_read_parts_of_what_it_checked(
    dump, web, store, configure, outcome, reference
):
    content = dump.read_bytes()
    source = {"url": f"{web.url}/dump.xml.bz2", "sha1": hashlib.sha1(content).hexdigest()}
    web.answers["/dump.xml.bz2"] = [file(content, ETag='"1"')]
    config = configure(source, store)
    fetched = []
    for index in reversed(range(PODS)):
        web.sent.clear()
        map_part(config, store, index)
        fetched.append(web.sent["/dump.xml.bz2"])
    assert max(fetched[:-1]) < len(content) / 2
    assert len(content) <= fetched[-1] < len(content) + 4 * ranges.HEAD
    assert outcome(stage.run(config, store)) == reference(dump)


def test_another_file_than_the_checksum_names_makes_no_corpus(dump, web, store, configure):
    web.answers["/dump.xml.bz2"] = [file(dump.read_bytes(), ETag='"1"')]
    config = configure({"url": f"{web.url}/dump.xml.bz2", "sha1": "0" * 40}, store)
    for index in range(1, PODS):
        map_part(config, store, index)
    for run in (lambda: map_part(config, store, 0), lambda: stage.run(config, store)):
        with pytest.raises(UserError, match="sha1 should be 0000"):
            run()


def test_a_dump_that_changes_between_two_pods_is_told_and_nothing_is_mixed(dump, web, store, configure):
    content = dump.read_bytes()
    web.answers["/dump.xml.bz2"] = [file(content, ETag='"1"')]
    config = configure(f"{web.url}/dump.xml.bz2", store)
    map_part(config, store, 1)
    web.answers["/dump.xml.bz2"] = [file(content[:-1] + b"\0", ETag='"2"')]
    for run in (lambda: map_part(config, store, 2), lambda: stage.run(config, store)):
        with pytest.raises(UserError, match=r'has changed .* ETag "1", and now there is .* ETag "2".*sha256'):
            run()
    # the state that is known again is gone on with
    web.answers["/dump.xml.bz2"] = [file(content, ETag='"1"')]
    stage.run(config, store)


def test_a_dump_that_changes_while_a_slice_is_read_is_told(dump, web, store, configure):
    content = dump.read_bytes()
    answers = [file(content, ETag='"1"')] * 3 + [file(content, ETag='"2"')]
    web.answers["/dump.xml.bz2"] = answers
    with pytest.raises(UserError, match="has changed while it was read in parts"):
        stage.run(configure(f"{web.url}/dump.xml.bz2", store), store)


def test_a_bad_connection_costs_time_and_nothing_else(dump, web, store, configure, outcome, reference):
    content = dump.read_bytes()
    answers = [file(content, ETag='"1"')]
    for _ in range(12):
        answers += [file(content, ETag='"1"', breaks_after=20_000), status(503), file(content, ETag='"1"', most=30_000)]
    web.answers["/dump.xml.bz2"] = [*answers, file(content, ETag='"1"', pause_s=0.05)]
    assert outcome(stage.run(configure(f"{web.url}/dump.xml.bz2", store), store)) == reference(dump)


def test_a_server_without_ranges_is_asked_for_the_whole_once(dump, web, store, configure, outcome, reference):
    web.answers["/dump.xml.bz2"] = [file(dump.read_bytes(), ranges="none", ETag='"1"')]
    corpus = stage.run(configure(f"{web.url}/dump.xml.bz2", store), store)
    assert outcome(corpus) == reference(dump)
    assert len(web.requests) == 2, "a look, and the whole"
    digest = hashlib.sha256(dump.read_bytes()).hexdigest()
    assert corpus.manifest.measurements["downloads"] == {f"{web.url}/dump.xml.bz2": digest}


def test_a_file_with_a_checksum_that_moves_is_checked_again(dump, web, store, configure, outcome, reference):
    content = dump.read_bytes()
    web.answers |= {"/old": [file(content, ETag='"1"')], "/new": [file(content, ETag='"2"')]}
    sha256 = hashlib.sha256(content).hexdigest()
    map_part(configure({"url": f"{web.url}/old", "sha256": sha256}, store), store, 0)
    corpus = stage.run(configure({"url": f"{web.url}/new", "sha256": sha256}, store), store)
    assert outcome(corpus) == reference(dump)
    assert web.sent["/new"] > len(content)


def test_the_stores_copy_of_a_dump_is_read_in_parts(dump, gs_uri, configure, outcome, reference, monkeypatch):
    """What `submit` puts there of a file on somebody's disk."""
    ranges._bucket.cache_clear()
    store = connect(gs_uri)
    source = Source(url=str(dump)).pinned()
    files.upload([source], store)
    config = configure(source.by_name().model_dump(), store)
    whole = []
    download = type(store).download
    monkeypatch.setattr(
        type(store), "download", lambda self, name, *rest: (whole.append(name), download(self, name, *rest))
    )
    for index in reversed(range(PODS)):
        assert not [name for name in whole if name.startswith("sources/")], "by the one that checks it"
        map_part(config, store, index)
    assert len([name for name in whole if name.startswith("sources/")]) == 1
    assert outcome(stage.run(config, store)) == reference(dump)
    for each in (store, ranges._bucket(store.uri.rpartition("/")[0])):
        close_store(each)
    ranges._bucket.cache_clear()


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_a_dump_in_a_bucket_is_read_in_parts(kind, dump, store, request, configure, outcome, reference, monkeypatch):
    ranges._bucket.cache_clear()
    bucket = connect(request.getfixturevalue(f"{kind}_uri"))
    bucket.upload(dump, "dump.xml.bz2")
    read = type(bucket).read
    lengths = []
    monkeypatch.setattr(type(bucket), "read", lambda *asked: lengths.append(len(found := read(*asked))) or found)
    monkeypatch.setattr(type(bucket), "download", None)
    config = configure(f"{bucket.uri}/dump.xml.bz2", store)
    map_part(config, store, 1)
    assert sum(lengths) < dump.stat().st_size / 2
    assert outcome(stage.run(config, store)) == reference(dump)
    for each in (bucket, ranges._bucket(bucket.uri.rpartition("/")[0])):
        close_store(each)
    ranges._bucket.cache_clear()
