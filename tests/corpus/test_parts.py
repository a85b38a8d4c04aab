"""However many pods share a corpus, and whatever happens to them, the same bytes come out and nothing is done twice."""

import bz2
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from pydantic import ValidationError

from bertline.corpus import component, parts, passes, stage, units, workers
from bertline.corpus.config import CorpusPartConfig
from bertline.errors import ExitCode, UserError
from bertline.store import attempts, realizations
from bertline.store.backends import connect
from bertline.store.derivations import canonical_json
from support.web_servers import WebServer, file

SLICES, BUCKETS = 9, 5  # of the sample, cut into 10 kB; 4 shards and one that is held out


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    monkeypatch.setattr(units, "SMALLEST_SLICE", 10_000)


@pytest.fixture
def threads(monkeypatch):
    """Units run in this process: a worker process costs a second, and here are many pools."""
    monkeypatch.setattr(workers, "pool", lambda: ThreadPoolExecutor(1))


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


@pytest.fixture
def config(pydoc, configure, store):
    return configure(pydoc, store)


def part(config, work, index=0, count=1):
    return CorpusPartConfig(corpus=config, work=work, index=index, count=count)


def run_all(config, store, work, count):
    """The parts' realizations, last part first: their order doesn't matter."""
    return [parts.run(part(config, work, index, count), store) for index in reversed(range(count))]


def receipts(store, config, work):
    """Number of each unit that is done → when that was."""
    found = store.list(f"{config.derivation().prefix}rolling/{work}/")
    return {int(each.name[-10:-5]): each.modified for each in found if each.name.endswith(".json")}


@contextmanager
def no_units():
    """Doing a unit is a failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "map_slice", None)
        patch.setattr(passes, "reduce_bucket", None)
        yield


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_parts_makes_the_same_bytes(
    count, pydoc, configure, store, outcome, reference, threads, tmp_path
):
    """The reference had none. When all parts have finished, the corpus task needs neither workers nor the dump."""
    dump = tmp_path / "dump.xml.bz2"
    dump.write_bytes(pydoc.read_bytes())
    config = configure(dump, store)
    made = run_all(config, store, "map", count)
    assert receipts(store, config, "map").keys() == set(range(SLICES))
    dump.unlink()
    made += run_all(config, store, "reduce", count)
    assert receipts(store, config, "reduce").keys() == set(range(BUCKETS))
    with no_units():
        corpus = stage.run(config, store)
    assert outcome(corpus) == reference(pydoc)
    assert corpus.manifest.measurements["units"] == 0
    assert sum(each.manifest.measurements["units"] for each in made) == SLICES + BUCKETS
    assert not list(store.list(f"{corpus.prefix}rolling/"))


def test_a_part_does_its_share_and_no_more(config, store, threads):
    parts.run(part(config, "map", 1, 4), store)
    assert receipts(store, config, "map").keys() == {1, 5}
    for index in (0, 2, 3):
        parts.run(part(config, "map", index, 4), store)
    realization = parts.run(part(config, "reduce", 2, 3), store)
    assert receipts(store, config, "reduce").keys() == {2}
    assert realization.manifest.files == ()
    assert realizations.find(store, "corpus", config.derivation().key) is None


def test_more_parts_than_units_is_no_mistake(config, store, threads):
    realization = parts.run(part(config, "map", SLICES, SLICES + 1), store)
    assert realization.manifest.measurements["units"] == 0
    assert not receipts(store, config, "map")


@pytest.mark.parametrize(
    ("asked", "missing"),
    [([("map", 0, 1)], BUCKETS), ([("map", 1, 2)], SLICES - SLICES // 2 + BUCKETS)],
    ids=["all slices", "half of the slices"],
)
def test_what_no_part_did_the_corpus_task_does(asked, missing, config, store, outcome, reference, pydoc, threads):
    for each in asked:
        parts.run(part(config, *each), store)
    corpus = stage.run(config, store)
    assert outcome(corpus) == reference(pydoc)
    assert corpus.manifest.measurements["units"] == missing


@pytest.mark.parametrize(
    ("lost", "again"),
    [
        ("rolling/map/00003.buckets", 1),
        ("rolling/map/00003.json", 1),
        ("train-00002-of-00004.tfrecord", 1),
        ("rolling/reduce/00002.json", 1),
        ("rolling/", SLICES + BUCKETS),
    ],
)
def test_what_was_lost_costs_time_and_nothing_else(lost, again, config, store, outcome, reference, pydoc, threads):
    for work in ("map", "reduce"):
        run_all(config, store, work, 2)
    gone = [found.name for found in store.list(f"{config.derivation().prefix}{lost}")]
    assert gone
    for name in gone:
        store.delete(name)
    corpus = stage.run(config, store)
    assert outcome(corpus) == reference(pydoc)
    assert corpus.manifest.measurements["units"] == again


def test_a_receipt_of_another_program_does_not_count(config, store, outcome, reference, pydoc, threads):
    parts.run(part(config, "map"), store)
    name = f"{config.derivation().prefix}rolling/map/00003.json"
    document = json.loads(store.get(name)[0])
    del document["receipt"]["dump_bytes"]
    document["sha256"] = hashlib.sha256(canonical_json(document["receipt"]).encode()).hexdigest()
    store.put(name, json.dumps(document).encode())
    corpus = stage.run(config, store)
    assert outcome(corpus) == reference(pydoc)
    assert corpus.manifest.measurements["units"] == 1 + BUCKETS


def test_slices_that_leave_a_gap_are_not_taken_for_the_whole_dump(
    config, store, outcome, reference, pydoc, threads, monkeypatch
):
    """A program that slices otherwise went on from this one's: all numbers are there, and part of the dump is not."""
    parts.run(part(config, "map"), store)
    store.delete(f"{config.derivation().prefix}rolling/map/00001.json")
    with monkeypatch.context() as patch:
        patch.setattr(units, "SMALLEST_SLICE", 21_000)
        parts.run(part(config, "map", 1, 2), store)
    assert receipts(store, config, "map").keys() == set(range(SLICES))
    assert outcome(stage.run(config, store)) == reference(pydoc)


def test_a_part_that_reduces_leaves_missing_slices_to_the_corpus_task(
    config, store, outcome, reference, pydoc, threads, capsys
):
    """Doing them would be the same work in every one of the parts."""
    parts.run(part(config, "map", 0, 2), store)
    parts.run(part(config, "reduce"), store)
    assert "slices are missing: this part leaves them, and its shards, to the corpus task" in capsys.readouterr().out
    assert not receipts(store, config, "reduce")
    assert outcome(stage.run(config, store)) == reference(pydoc)


@pytest.mark.parametrize("work", ["map", "reduce"])
def test_a_part_after_the_corpus_does_nothing(work, config, store, threads, capsys):
    corpus = stage.run(config, store)
    before = list(store.list(corpus.prefix))
    with no_units():
        parts.run(part(config, work), store)
    assert "the corpus is complete" in capsys.readouterr().out
    assert list(store.list(corpus.prefix)) == before


def test_a_finished_part_is_not_run_again(config, store, threads, monkeypatch):
    first = parts.run(part(config, "map", 0, 2), store)
    monkeypatch.setattr(parts, "_build", None)
    assert parts.run(part(config, "map", 0, 2), store) == first


def test_another_number_of_parts_goes_on_from_the_same_units(config, store, threads):
    run_all(config, store, "map", 2)
    before = receipts(store, config, "map")
    for realization in run_all(config, store, "map", 3):
        assert realization.manifest.measurements["units"] == 0
    assert receipts(store, config, "map") == before


def test_a_part_that_failed_half_way_goes_on_there(config, store, threads, monkeypatch):
    upload = type(store).upload

    def fail(store, path, name, *rest):
        if name.endswith("map/00004.buckets"):
            raise OSError("the network is gone")
        upload(store, path, name, *rest)

    wanted = part(config, "map", 0, 2)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "upload", fail)
        with pytest.raises(OSError, match="the network is gone"):
            parts.run(wanted, store)
    before = receipts(store, config, "map")
    assert before.keys() == {0, 2}, "a receipt comes after its data"
    realization = parts.run(wanted, store)
    assert before.items() <= receipts(store, config, "map").items()
    assert realization.manifest.measurements["units"] == 3
    assert realization.manifest.provenance["attempts"] == 2


def test_two_processes_at_the_same_units_do_no_harm(config, store, outcome, reference, pydoc, threads):
    """A part whose node was taken for dead, and the corpus task."""
    together = threading.Barrier(2)

    def run(function, config):
        together.wait()
        return function(config, store)

    with ThreadPoolExecutor(2) as pool:
        stale = pool.submit(run, parts.run, part(config, "map"))
        corpus = pool.submit(run, stage.run, config)
        assert outcome(corpus.result()) == reference(pydoc)
        stale.result()
    assert corpus.result().verify() == []


START = (
    "import sys; from bertline.corpus import config, parts; from bertline.stage.entrypoints import main;"
    "sys.exit(main(config.CorpusPartConfig, parts.run))"
)


def test_a_killed_part_does_nothing_again(pydoc, configure, store, outcome, reference, threads):
    """kill -9, then SIGTERM, as when a spot node goes; then to the end."""
    options = {"shards": 300}  # many small units, so that most are left when two are done
    config = configure(pydoc, store, **options)
    parts.run(part(config, "map"), store)
    wanted = part(config, "reduce")
    command = [sys.executable, "-c", START, "--store", store.uri, "--config", wanted.model_dump_json()]
    known = {}
    for number, code in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, ExitCode.PREEMPTED)):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            while len(receipts(store, config, "reduce")) < len(known) + 2 and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(number)
            assert process.wait() == code, process.stderr.read()
        before, known = known, receipts(store, config, "reduce")
        assert before.items() <= known.items()
    assert not list(store.root.glob("objects/corpus-part/*/lease.json")), "SIGTERM gives the lease back"
    realization = parts.run(wanted, store)
    assert known.items() <= receipts(store, config, "reduce").items()
    assert realization.manifest.measurements["units"] == 300 + 30 - len(known) > 0
    recorded = attempts.read(store, realization.prefix)
    assert [each.events[-1]["event"] for each in recorded] == ["start", "preempted", "finished"]
    with no_units():
        corpus = stage.run(config, store)
    assert outcome(corpus) == reference(pydoc, **options)


def test_pods_without_a_common_disk_meet_in_the_bucket(
    pydoc, gs_uri, configure, outcome, reference, threads, monkeypatch
):
    monkeypatch.setattr(units, "SMALLEST_SLICE", 25_000)
    store = connect(gs_uri)
    config = configure(pydoc, store)
    for work in ("map", "reduce"):
        run_all(config, store, work, 2)
    downloaded = []
    download = store.download
    monkeypatch.setattr(store, "download", lambda name, *rest: (downloaded.append(name), download(name, *rest)))
    with no_units():
        corpus = stage.run(config, store)
    assert downloaded == [], "no slice is needed to see that all shards are there"
    assert outcome(corpus) == reference(pydoc)
    assert corpus.verify() == []
    store._connected[1].client.close()


def test_each_pod_reads_its_buckets_and_no_others(pydoc, gs_uri, configure, outcome, reference, threads, monkeypatch):
    options = {"shards": 20}
    store = connect(gs_uri)
    config = configure(pydoc, store, **options)
    run_all(config, store, "map", 2)
    slices = units.mapped(units.Job(config, store, None, lambda: None))
    heads, pieces = sum(receipt.head for receipt in slices), sum(receipt.size - receipt.head for receipt in slices)
    got, downloaded = [], []
    read, download = store.read, store.download
    monkeypatch.setattr(store, "read", lambda *asked: got.append(read(*asked)) or got[-1])
    monkeypatch.setattr(store, "download", lambda name, *rest: (downloaded.append(name), download(name, *rest)))
    shares = []
    for index in range(4):
        got.clear()
        parts.run(part(config, "reduce", index, 4), store)
        shares.append(sum(map(len, got)) - heads)
    assert sum(shares) == pieces, "each piece was read once"
    assert max(shares) < 0.45 * pieces
    assert {name.rpartition("/")[2] for name in downloaded} == {"vocab.txt"}
    expected = reference(pydoc, **options)
    with no_units():
        assert outcome(stage.run(config, store)) == expected
    store._connected[1].client.close()


def test_work_is_counted_whoever_did_it(config, store, threads):
    """Or a corpus of many pods would look as if its last task had made it in a second."""
    made = [*run_all(config, store, "map", 2), *run_all(config, store, "reduce", 2)]
    with no_units():
        corpus = stage.run(config, store).manifest
    worker_s = corpus.measurements["worker_s"]
    assert worker_s == pytest.approx(sum(each.manifest.measurements["worker_s"] for each in made))
    assert corpus.measurements["words_per_worker_s"] == corpus.results["words"] / worker_s
    assert 0 < worker_s < sum(each.manifest.measurements["seconds"] for each in made), "one worker each"
    assert corpus.measurements["seconds"] < worker_s


def test_a_mistake_in_the_input_ends_a_part_with_the_same_sentence(pydoc, configure, store, tmp_path):
    path = tmp_path / "cut.xml.bz2"
    path.write_bytes(pydoc.read_bytes()[:-20_000])
    with pytest.raises(UserError, match=r"cut\.xml\.bz2 is truncated"):
        parts.run(part(configure(path, store), "map"), store)


# Config and component


def test_its_config_is_json_and_its_key_follows_the_corpus(config):
    wanted = part(config, "map", 1, 2)
    assert CorpusPartConfig.model_validate_json(wanted.model_dump_json()) == wanted
    pinned = config.corpus.dump.pinned()
    keys = set()
    for url in ("here.xml.bz2", "https://example.org/there.xml.bz2"):
        moved = config.corpus.model_copy(update={"dump": pinned.model_copy(update={"url": url})})
        keys.add(part(config.model_copy(update={"corpus": moved}), "map").derivation().key)
    assert len(keys) == 1
    keys |= {part(config, *each).derivation().key for each in (("map", 0, 2), ("map", 1, 2), ("reduce", 0, 2))}
    keys.add(part(config.model_copy(update={"lower_case": False}), "map", 0, 2).derivation().key)
    assert len(keys) == 5


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_cannot_be_is_refused(index, count, config):
    with pytest.raises(ValidationError, match=r"index|count"):
        part(config, "map", index, count)


def test_the_component_runs_a_part_and_returns_its_key(config, store, threads):
    wanted = part(config, "map", 0, 2)
    assert component.corpus_part.python_func(store.uri, wanted.model_dump_json()) == wanted.derivation().key
    assert realizations.find(store, "corpus-part", wanted.derivation().key)


# A dump that changes


def test_two_states_of_a_dump_are_never_mixed(pydoc, configure, store, tmp_path, threads, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(units, "SMALLEST_SLICE", 100_000)
    old = bz2.decompress(pydoc.read_bytes())
    new = old.replace(b"string", b"strong")  # of the same size: its slices are cut at the same places
    web = WebServer()
    try:
        config = configure(f"{web.url}/latest.xml", store)
        # GIVEN one pod's slices of one state, and one pod's of the next one
        web.answers["/latest.xml"] = [file(old), file(old), file(new)]  # each is looked at, and then downloaded
        parts.run(part(config, "map", 0, 2), store)
        parts.run(part(config, "map", 1, 2), store)
        assert units.mapped(units.Job(config, store, tmp_path, lambda: None)) is None
        # WHEN the corpus is built THEN it is that of one state, and says which
        manifest = stage.run(config, store).manifest
    finally:
        web.close()
    (tmp_path / "new.xml").write_bytes(new)
    alone = stage.run(configure(tmp_path / "new.xml", store), store).manifest
    assert [each.sha256 for each in manifest.files] == [each.sha256 for each in alone.files]
    assert manifest.measurements["downloads"] == {f"{web.url}/latest.xml": hashlib.sha256(new).hexdigest()}
