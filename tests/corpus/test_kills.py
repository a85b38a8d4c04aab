"""Whatever ends an attempt, the next one goes on, the same bytes come out, and no process is left behind."""

import random
import resource
import signal
import time
from pathlib import Path

import psutil
import pytest

from bertline.corpus import stage, workers
from bertline.errors import ExitCode
from bertline.store import attempts
from bertline.store.backends import connect

KILLS = 5
SHARDS = 40


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


def finished_units(store):
    """Name of each receipt → when it was written, and the same of each shard that has one."""
    times = {}
    for path in store.root.glob("objects/corpus/*/rolling/*/*.json"):
        times[path.relative_to(store.root).as_posix()] = path.stat().st_mtime_ns
    return times


def shard_times(store):
    return {path.name: path.stat().st_mtime_ns for path in store.root.glob("objects/corpus/*/*.tfrecord")}


def assert_all_end(processes):
    """A zombie has ended: only nobody asked for its exit code yet, as init is no relative of ours."""
    deadline = time.monotonic() + 10
    while left := [process for process in processes if is_alive(process)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def is_alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_units(process, store, count):
    """Until so many more units are finished, or the process is."""
    known = finished_units(store).keys()
    while len(finished_units(store).keys() - known) < count and process.poll() is None:
        time.sleep(0.005)


def test_killed_at_random_moments_the_bytes_are_those_of_an_uninterrupted_run(
    twelve_pydocs, configure, store, start, outcome, reference, monkeypatch
):
    """kill -9, five times, then finish. What was finished is never done again, and the workers end, too."""
    monkeypatch.setenv(workers.ENVIRONMENT, "2")
    options = {"shards": SHARDS, "duplicates": 1}
    expected = reference(twelve_pydocs, **options)
    config = configure(twelve_pydocs, store, **options)
    draw = random.Random(1)
    known = {}
    for _ in range(KILLS):
        process = start(config, store)
        # By units and not by seconds: on a busy machine seconds would all fall on imports, on an idle one on nothing.
        count = draw.randrange(8)
        wait_for_units(process, store, count)
        time.sleep(draw.uniform(0, 0.1 if count else 2))
        children = [] if process.poll() == 0 else psutil.Process(process.pid).children(recursive=True)
        process.kill()
        if process.wait() == 0:
            break  # through before the kill
        assert_all_end(children)
        units = finished_units(store)
        assert known.items() <= units.items()
        known = units
    shards_before = shard_times(store)
    assert start(config, store).wait() == 0
    realization = stage.run(config, store)
    assert outcome(realization) == expected
    numbers = {int(Path(name).stem) for name in known if "/reduce/" in name}
    done = {name for name in shards_before if bucket_of(name) in numbers}
    assert done
    assert all(shard_times(store)[name] == shards_before[name] for name in done)
    recorded = attempts.read(store, realization.prefix)
    assert realization.manifest.provenance["attempts"] == len(recorded) >= 3


def bucket_of(shard):
    number = int(shard.split("-of-")[0].rpartition("-")[2])
    return number if shard.startswith("train-") else SHARDS + number


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, ExitCode.PREEMPTED), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
def test_a_stop_is_obeyed_at_once_and_leaves_no_lease_and_no_process(
    number, code, twelve_pydocs, configure, store, start, monkeypatch
):
    monkeypatch.setenv(workers.ENVIRONMENT, "2")
    config = configure(twelve_pydocs, store)
    process = start(config, store)
    wait_for_units(process, store, 1)
    assert process.poll() is None, process.stderr.read()
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(number)
    began = time.monotonic()
    assert process.wait() == code, process.stderr.read()
    assert time.monotonic() - began < 5
    assert_all_end(children)
    assert not list(store.root.glob("objects/corpus/*/lease.json"))
    (attempt,) = attempts.read(store, config.derivation().prefix)
    assert attempt.failure.is_preempted


@pytest.mark.parametrize(("kibibytes", "units"), [(64, 0), (1024, 1)], ids=["of a slice", "of a shard"])
def test_a_full_disk_is_a_sentence_and_the_next_attempt_goes_on(
    kibibytes, units, pydoc, configure, store, start, outcome, reference
):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (kibibytes << 10, kibibytes << 10))

    options = {"shards": 1, "duplicates": 4}  # so that the shard is larger than the slice
    config = configure(pydoc, store, **options)
    process = start(config, store, preexec_fn=limit)
    _, messages = process.communicate()
    assert process.returncode == ExitCode.TRANSIENT, messages
    assert messages.startswith("error: no space left to write ")
    assert "Traceback" not in messages
    assert not list(store.root.glob("objects/corpus/*/manifest.json"))
    known = finished_units(store)
    assert len([name for name in known if "/map/" in name]) == units
    assert outcome(stage.run(config, store)) == reference(pydoc, **options)
