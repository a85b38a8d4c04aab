"""What nothing refers to: found, spared when young, deleted without ever looking complete."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from bertline.errors import DamagedError, UserError
from bertline.report.config import ReportConfig
from bertline.store import garbage, references
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.leases import Lease
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Build, Outcome, find, realize

NOW = garbage.GRACE_S * 3  # the tests' files are of 1970


def made(store: ObjectStore, n: int) -> Derivation:
    def build(work: Build) -> Outcome:
        (work.payload / "a.txt").write_text("a" * 100)
        (work.payload / "z.txt").touch()
        return Outcome({}, {})

    derivation = Derivation("numbers", 1, {"n": n})
    realize(store, derivation, build)
    return derivation


def unfinished(store: ObjectStore, n: int) -> Derivation:
    derivation = Derivation("numbers", 1, {"n": n})
    for name in ("derivation.json", "half.txt", "rolling/state.json"):
        store.put(derivation.prefix + name, b"{}")
    return derivation


def refer(store: ObjectStore, name: str, *derivations: Derivation) -> None:
    references.write(store, name, {"models": [{"rounds": {"10": derivation.key}} for derivation in derivations]})
    time.sleep(0.002)


def grow_old(store: ObjectStore, derivation: Derivation, age_s: float) -> None:
    for found in list(store.list(derivation.prefix)):
        path = store.local_path(found.name)
        assert path is not None
        os.utime(path, (NOW - age_s, NOW - age_s))


# References


def test_an_experiment_is_read_back(store: ObjectStore) -> None:
    references.write(store, "small", {"a": 1})
    second = references.write(store, "small", {"a": 2})
    assert references.current(store, "small") == second
    assert [version.graph for version in references.read(store, "small")] in (
        [{"a": 1}, {"a": 2}],
        [{"a": 2}, {"a": 1}],
    )
    again = references.write(store, "small", {"a": 1})
    assert references.current(store, "small") == again
    assert len(list(references.read(store))) == 2


def test_an_unknown_experiment_is_told_with_those_there_are(store: ObjectStore) -> None:
    with pytest.raises(UserError, match="it has none yet: `bertline run"):
        references.current(store, "small")
    references.write(store, "large", {})
    with pytest.raises(UserError, match="has no experiment 'small'; it has large"):
        references.current(store, "small")


def test_the_newest_version_goes_by_the_stores_clock(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a machine whose clock is an hour ahead, and after it another one that submits a newer version
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda now=time.time: now() + 3600)
        old = references.write(store, "small", {"key": made(store, 1).key})
    time.sleep(1.1)  # some servers tell whole seconds
    new = references.write(store, "small", {"key": made(store, 2).key})
    # THEN the newer one counts, for reading and for what is superseded
    assert references.current(store, "small") == new
    (item,) = garbage.collect(store, grace_s=0, superseded=True)
    assert item.names >= {old.graph["key"]}
    # AND what the first machine submits again is the newest again
    time.sleep(1.1)
    references.write(store, "small", old.graph)
    assert references.current(store, "small") == old


def test_other_documents_of_an_experiment_are_no_versions(directory: ObjectStore) -> None:
    references.write(directory, "small", {})
    directory.put("experiments/small/report/index.html", b"<html>")
    assert len(list(references.read(directory))) == 1


# Garbage


def test_what_an_experiment_refers_to_is_kept(store: ObjectStore) -> None:
    kept, lost = made(store, 1), made(store, 2)
    refer(store, "small", kept)
    (item,) = garbage.collect(store, grace_s=0)
    assert (item.place, item.reason) == (lost.prefix, "no experiment needs it")
    assert item.size > 100


def test_an_older_version_keeps_until_superseded_goes_too(store: ObjectStore) -> None:
    # GIVEN an experiment whose second version no longer needs the first one's result, and another one
    first, second, other = made(store, 1), made(store, 2), made(store, 3)
    refer(store, "small", first)
    refer(store, "small", second)
    refer(store, "large", other)
    # THEN what somebody has paid for is no garbage, until it is asked for
    assert garbage.collect(store, grace_s=0) == []
    (item,) = garbage.collect(store, grace_s=0, superseded=True)
    assert (item.place, item.reason) == (first.prefix, "only older versions of an experiment need it")
    # AND what the current version of another experiment needs stays
    refer(store, "large", other, first)
    assert garbage.collect(store, grace_s=0, superseded=True) == []


def reported(store: ObjectStore, version: references.Reference) -> Derivation:
    """A report as `bertline run` makes it: its key follows from the graph's digest, so no graph holds it."""
    derivation = ReportConfig(name=version.name, graph=version.digest).derivation()
    realize(store, derivation, lambda work: Outcome({}, {}))
    return derivation


def test_a_report_is_kept_as_long_as_the_version_that_it_is_of(store: ObjectStore) -> None:
    first = references.write(store, "small", {"key": made(store, 1).key})
    old = reported(store, first)
    assert garbage.collect(store, grace_s=0) == []
    time.sleep(1.1)
    kept = made(store, 2)
    second = references.write(store, "small", {"key": kept.key})
    reported(store, second)
    assert garbage.collect(store, grace_s=0) == []
    # WHEN older versions may go, THEN their reports go, and only they
    found = garbage.collect(store, grace_s=0, superseded=True)
    assert old.prefix in {item.place for item in found}
    assert {item.reason for item in found} == {"only older versions of an experiment need it"}
    assert len(found) == 2
    # AND not if the version is submitted again in the meantime
    time.sleep(1.1)
    references.write(store, "small", first.graph)
    assert garbage.delete(store, found) == []
    # AND a report of no version goes
    for reference in list(store.list("experiments/")):
        if second.digest in reference.name:
            store.delete(reference.name)
    assert len(garbage.collect(store, grace_s=0)) == 2


def test_inputs_are_kept_by_the_graph_and_not_followed(directory: ObjectStore) -> None:
    corpus = made(directory, 1)
    model = Derivation("pretrain", 1, {}, {"corpus": corpus.key})
    realize(directory, model, lambda work: Outcome({}, {}))
    refer(directory, "small", model)
    assert [item.place for item in garbage.collect(directory, grace_s=0)] == [corpus.prefix]


def test_the_young_is_spared_by_the_stores_clock(directory: ObjectStore) -> None:
    # GIVEN a store whose clock is half a century behind ours: by our clock all of it is old
    young, old, kept = made(directory, 1), unfinished(directory, 2), made(directory, 3)
    refer(directory, "small", kept)
    for reference in directory.list("experiments/"):
        os.utime(directory.local_path(reference.name), (NOW, NOW))  # type: ignore[arg-type]
    grow_old(directory, kept, 0)
    grow_old(directory, young, 23 * 3600)
    grow_old(directory, old, 25 * 3600)
    (item,) = garbage.collect(directory)
    assert (item.place, item.reason) == (old.prefix, "never finished, and no experiment needs it")
    assert len(garbage.collect(directory, grace_s=22 * 3600)) == 2


def test_one_young_object_keeps_its_realization(directory: ObjectStore) -> None:
    derivation = unfinished(directory, 1)
    grow_old(directory, derivation, 1000 * 3600)
    directory.put(f"{derivation.prefix}attempts/0002.jsonl", b"")
    assert garbage.collect(directory) == []


def test_an_attempt_at_work_is_spared_whatever_the_grace(store: ObjectStore) -> None:
    derivation = unfinished(store, 1)
    with Lease(store, derivation.prefix):
        assert garbage.collect(store, grace_s=0) == []
    assert [item.place for item in garbage.collect(store, grace_s=0)] == [derivation.prefix]


def test_a_dead_lease_protects_nothing(directory: ObjectStore) -> None:
    derivation = unfinished(directory, 1)
    with Lease(directory, derivation.prefix):
        lease = directory.get(f"{derivation.prefix}lease.json")[0]
    # a process of this machine that is gone: at once
    dead = json.loads(lease) | {"pid": 4_000_000}
    directory.put(f"{derivation.prefix}lease.json", json.dumps(dead).encode())
    assert len(garbage.collect(directory, grace_s=0)) == 1
    # one of another machine: when it is old
    directory.put(f"{derivation.prefix}lease.json", json.dumps(dead | {"host": "elsewhere"}).encode())
    assert garbage.collect(directory, grace_s=0) == []
    grow_old(directory, derivation, 3600)
    refer(directory, "small")
    assert len(garbage.collect(directory, grace_s=0)) == 1


def test_rolling_documents_are_garbage_only_when_the_work_is_complete(store: ObjectStore) -> None:
    complete, going_on = made(store, 1), unfinished(store, 2)
    store.put(f"{complete.prefix}rolling/state.json", b"{}")
    refer(store, "small", complete, going_on)
    (item,) = garbage.collect(store)
    assert item.place == f"{complete.prefix}rolling/"
    garbage.delete(store, [item])
    found = find(store, "numbers", complete.key)
    assert found is not None
    assert found.verify() == []


def test_what_a_kill_left_on_disk_is_found(directory: ObjectStore, tmp_path: Path) -> None:
    kept = made(directory, 1)
    refer(directory, "small", kept)
    leftover = tmp_path / "store" / kept.prefix / ".tmp-0123456789abcdef"
    leftover.write_bytes(b"half")
    assert garbage.collect(directory) == []  # it may be written right now
    (item,) = garbage.collect(directory, grace_s=0)
    assert (item.size, item.reason) == (4, "left by a killed writer")
    garbage.delete(directory, [item])
    assert not leftover.exists()


def test_a_source_goes_when_no_experiment_names_its_checksum(store: ObjectStore) -> None:
    # GIVEN copies of three files: one of the experiment, one of its older version, one of nobody
    new, old, lost = (f"{n}" * 64 for n in (1, 2, 3))
    for sha256 in (new, old, lost):
        store.put(f"sources/{sha256}", b"dump")
    store.put("sources/notes.txt", b"of somebody else")
    for sha256 in (old, new):
        references.write(store, "small", {"experiment": {"corpus": {"dump": {"url": "a.bz2", "sha256": sha256}}}})
        time.sleep(0.002)
    # THEN the young are spared, what is referred to is kept
    assert garbage.collect(store) == []
    [item] = garbage.collect(store, grace_s=0)
    assert (item.place, item.reason, item.size) == (f"sources/{lost}", "no experiment needs it", 4)
    found = garbage.collect(store, grace_s=0, superseded=True)
    assert {item.place: item.reason for item in found} == {
        f"sources/{old}": "only older versions of an experiment need it",
        f"sources/{lost}": "no experiment needs it",
    }
    # AND one that becomes needed in the meantime as well
    references.write(store, "large", {"dump": lost})
    assert [item.place for item in garbage.delete(store, found)] == [f"sources/{old}"]
    assert [each.name for each in store.list("sources/")] == [
        f"sources/{new}",
        f"sources/{lost}",
        "sources/notes.txt",
    ]


def test_an_old_source_that_nobody_needs_is_garbage_by_the_stores_clock(directory: ObjectStore) -> None:
    for age_h, name in ((25, "1" * 64), (23, "2" * 64), (0, "3" * 64)):
        directory.put(f"sources/{name}", b"")
        os.utime(directory.local_path(f"sources/{name}"), (NOW - age_h * 3600,) * 2)  # type: ignore[arg-type]
    assert [item.place for item in garbage.collect(directory)] == [f"sources/{'1' * 64}"]


def test_what_is_not_a_realization_is_left_alone(store: ObjectStore) -> None:
    for name in ("objects/readme.txt", "objects/corpus/short/manifest.json", "mine/notes.txt", "lease.json"):
        store.put(name, b"")
    assert garbage.collect(store, grace_s=0, superseded=True) == []


def test_an_experiment_that_cannot_be_read_stops_it(store: ObjectStore) -> None:
    lost = made(store, 1)
    for content in (b"{", b"[]", b'{"submitted": 1, "graph": 5}', b'{"graph": {}}'):
        store.put("experiments/small/0123456789abcdef.json", content)
        with pytest.raises(DamagedError, match=r"experiments/small/0123456789abcdef\.json isn't a version"):
            garbage.collect(store, grace_s=0)
    assert find(store, "numbers", lost.key) is not None


def test_the_manifest_is_deleted_first(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = made(store, 1)
    names: list[str] = []
    delete = store.delete
    monkeypatch.setattr(store, "delete", lambda name: (names.append(name), delete(name)))
    counted: list[int] = []
    (item,) = garbage.delete(store, garbage.collect(store, grace_s=0), counted.append)
    assert names[0] == f"{lost.prefix}manifest.json"
    assert len(names) == len(item.objects) == sum(counted) == 5
    assert list(store.list("")) == []


def test_what_became_needed_in_the_meantime_is_spared(store: ObjectStore) -> None:
    lost, needed = made(store, 1), made(store, 2)
    found = garbage.collect(store, grace_s=0)
    refer(store, "small", needed)
    assert [item.place for item in garbage.delete(store, found)] == [lost.prefix]
    assert find(store, "numbers", needed.key) is not None


def test_collecting_while_others_write_and_delete(directory: ObjectStore) -> None:
    """Listings race with commits and releases; nothing is thrown, nothing referred to is listed."""
    stop = threading.Event()
    derivations = [Derivation("numbers", 1, {"n": n}) for n in range(1000)]
    references.write(directory, "small", {"keys": [derivation.key for derivation in derivations]})

    def work() -> None:
        store = connect(directory.uri)
        for n in range(1000):
            if stop.is_set():
                return
            made(store, n)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(20):
            assert [item for item in garbage.collect(directory, grace_s=0) if item.names] == []
    finally:
        stop.set()
        thread.join()
