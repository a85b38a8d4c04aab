"""Complete or not there: whatever happens on the way to a manifest."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertline.errors import DamagedError, ExitCode, TransientError, UserError
from bertline.process.signals import Stopped
from bertline.store import attempts, realizations
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.objects import ConflictError, ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, find, realize, require

ACTORS = Path(__file__).with_name("actors.py")
ASKED = Derivation("numbers", 1, {"n": 3})  # as the actors'


def build(work: Build) -> Outcome:
    (work.payload / "deep").mkdir()
    (work.payload / "deep/numbers.txt").write_text("1 2 3\n")
    (work.payload / "empty").touch()
    return Outcome({"sum": 6}, {"seconds": 0.1})


def never(work: Build) -> Outcome:
    raise AssertionError("built again")


@pytest.fixture(autouse=True)
def _scratch_of_killed_actors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # nobody cleans up after kill -9


@pytest.fixture
def made(store: ObjectStore) -> Realization:
    return realize(store, ASKED, build)


# Keys


def test_the_key_does_not_depend_on_order_or_hash_seed() -> None:
    code = (
        "from bertline.store.derivations import Derivation;"
        "s = {'x', 'y', 'z', 'é'};"
        "print(Derivation('corpus', 2, {k: {'b': 1.5, 'a': [None, True, k]} for k in s}, {k: '0' * 64 for k in s}).key)"
    )
    keys = set()
    for seed in ("0", "1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        keys.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
    assert len(keys) == 1


def test_the_key_is_pinned() -> None:
    """Every store there is depends on it."""
    key = Derivation("corpus", 2, {"language": "é", "rate": 0.15}, {"vocabulary": "0" * 64}).key
    assert key == "f10a0981969289612e75e79c42b588dd1c02ef0bb60cd1e78bdcdac149d15578"


def test_each_component_changes_the_key() -> None:
    derivations = [
        Derivation("corpus", 1, {"n": 1}, {"a": "0" * 64}),
        Derivation("pretrain", 1, {"n": 1}, {"a": "0" * 64}),
        Derivation("corpus", 2, {"n": 1}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"n": 2}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"n": "1"}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"m": 1}, {"a": "0" * 64}),
        Derivation("corpus", 1, {"n": 1}, {"a": "1" * 64}),
        Derivation("corpus", 1, {"n": 1}, {"b": "0" * 64}),
        Derivation("corpus", 1, {"n": 1}),
    ]
    assert len({derivation.key for derivation in derivations}) == len(derivations)


def test_what_is_not_json_has_no_key() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = Derivation("corpus", 1, {"rate": float("nan")}).key


# The good way


def test_a_realization_is_built_once(made: Realization, store: ObjectStore, tmp_path: Path) -> None:
    assert realize(store, ASKED, never) == made
    assert find(store, "numbers", ASKED.key) == require(store, "numbers", ASKED.key) == made
    assert made.paths() == ["deep/numbers.txt", "empty"]
    assert made.manifest.results == {"sum": 6}
    assert made.manifest.provenance["attempts"] == 1
    (local,) = made.stage(["deep/numbers.txt"], tmp_path / "staged")
    assert local.read_text() == "1 2 3\n"
    assert made.verify() == []


def test_what_lies_in_the_store_afterwards(made: Realization, store: ObjectStore) -> None:
    names = [found.name.removeprefix(ASKED.prefix) for found in store.list("")]
    assert names == ["attempts/0001.jsonl", "deep/numbers.txt", "derivation.json", "empty", "manifest.json"]
    (attempt,) = attempts.read(store, ASKED.prefix)
    start, finished = attempt.events
    assert (start["event"], finished["event"]) == ("start", "finished")
    assert start["pid"] == os.getpid()


def test_the_manifest_comes_last(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    for place, method in itertools.product({store, store.hasty()}, ("put", "create", "upload")):
        original = getattr(place, method)

        def recording(*arguments, original=original, position=int(method == "upload")):  # type: ignore[no-untyped-def]
            written.append(str(arguments[position]))
            return original(*arguments)

        monkeypatch.setattr(place, method, recording)
    realize(store, ASKED, build)
    assert written[-1].endswith("/manifest.json")
    assert len(written) >= 6


def test_rolling_documents_reach_the_next_attempt_and_go_with_the_manifest(directory: ObjectStore) -> None:
    def breaks_off(work: Build) -> Outcome:
        work.add(_file(work, "shard-0", "zero"), "shard-0")
        work.roll("done.json", {"files": [work.files()[0].model_dump()]})
        raise Stopped("told to stop")

    def goes_on(work: Build) -> Outcome:
        document = work.rolling("done.json")
        assert document is not None
        assert work.rolling("other.json") is None
        work.keep(realizations.File(**document["files"][0]))
        work.add(_file(work, "shard-1", "one"), "shard-1")
        return Outcome({}, {})

    with pytest.raises(Stopped):
        realize(directory, ASKED, breaks_off)
    assert find(directory, "numbers", ASKED.key) is None
    made = realize(directory, ASKED, goes_on)
    assert made.paths() == ["shard-0", "shard-1"]
    assert made.verify() == []
    assert list(directory.list(f"{ASKED.prefix}rolling/")) == []
    assert [each.events[-1]["event"] for each in attempts.read(directory, ASKED.prefix)] == ["preempted", "finished"]


@pytest.mark.parametrize("name", ["manifest.json", "derivation.json", "lease.json", "rolling/x", "attempts/0001.jsonl"])
def test_a_payload_cannot_take_the_stores_own_names(directory: ObjectStore, name: str) -> None:
    def takes(work: Build) -> Outcome:
        work.add(_file(work, "x", "x"), name)
        return Outcome({}, {})

    with pytest.raises(ValueError, match="the store has that name for itself"):
        realize(directory, ASKED, takes)
    assert find(directory, "numbers", ASKED.key) is None


# Two at once


def test_of_two_processes_at_once_one_builds_and_both_have_the_result(store: ObjectStore) -> None:
    actors = [_start("build", store.uri, "slow") for _ in range(2)]
    said = [actor.communicate(timeout=60)[0] for actor in actors]
    assert [actor.returncode for actor in actors] == [0, 0]
    assert sum("building" in lines for lines in said) == 1
    builder = actors[0 if "building" in said[0] else 1].pid
    assert all(f"result {builder}" in lines for lines in said)
    assert len(attempts.read(store, ASKED.prefix)) == 1


def test_who_was_overtaken_takes_the_others_result(directory: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease was lost unnoticed and another committed first: `create` is what decides."""
    monkeypatch.setattr("bertline.store.leases.Lease.check", lambda _: None)

    def overtaken(work: Build) -> Outcome:
        directory.delete(f"{ASKED.prefix}lease.json")
        realize(directory, ASKED, build)
        (work.payload / "mine").touch()
        return Outcome({"sum": -1}, {})

    assert realize(directory, ASKED, overtaken).manifest.results == {"sum": 6}


def test_a_frozen_attempt_that_was_overtaken_harms_nothing(directory: ObjectStore) -> None:
    # GIVEN an attempt that is stopped in mid-work, and so doesn't renew its lease
    frozen = _start("build", directory.uri, "frozen")
    assert frozen.stdout is not None
    assert frozen.stdout.readline() == "building\n"
    _wait_until(lambda: "T" in Path(f"/proc/{frozen.pid}/stat").read_text().rpartition(")")[2][:3])
    # WHEN another takes the lease, as after the time of expiry, and is still at work when the first one wakes up
    lease = f"{ASKED.prefix}lease.json"
    version = directory.get(lease)[1]
    directory.replace(lease, b'{"host": "elsewhere", "owner": "another"}', version)
    os.kill(frozen.pid, signal.SIGCONT)
    # THEN whatever the first one does, it can't make the other's work wrong: it commits whole or not at all
    output = frozen.communicate(timeout=60)[0]
    found = find(directory, "numbers", ASKED.key)
    assert (found is None) == (frozen.returncode != 0), output
    assert found is None or found.verify() == []
    assert directory.get(lease)[0].startswith(b'{"host": "elsewhere"')


# Killed


def test_after_a_kill_the_next_attempt_starts_at_once_and_clean(store: ObjectStore) -> None:
    # GIVEN an attempt that was killed (kill -9) between its payload and its manifest
    killed = _start("build", store.uri, "killed")
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert store.stat(f"{ASKED.prefix}half.txt") is not None
    assert store.stat(f"{ASKED.prefix}lease.json") is not None
    # THEN nothing is taken for done
    assert find(store, "numbers", ASKED.key) is None
    # AND the next one doesn't wait for the dead one's lease, finds its rolling document, has a clean payload
    rolled = []

    def again(work: Build) -> Outcome:
        rolled.append(work.rolling("progress.json"))
        assert list(work.payload.iterdir()) == []
        return build(work)

    began = time.monotonic()
    made = realize(store, ASKED, again)
    assert time.monotonic() - began < 10
    assert rolled == [{"step": 7}]
    assert made.paths() == ["deep/numbers.txt", "empty"]
    assert made.manifest.provenance["attempts"] == 2
    assert [found.name[-10:] for found in store.list(f"{ASKED.prefix}attempts/")] == ["0001.jsonl", "0002.jsonl"]
    assert store.stat(f"{ASKED.prefix}lease.json") is None


def test_killed_at_any_write_it_is_whole_or_not_there(directory: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break off before the first write, the second one, …: never is there a manifest without all it lists."""

    class Killed(BaseException):
        pass

    for patience in range(30):
        left = [patience]

        def breaking(original, *arguments, left=left):  # type: ignore[no-untyped-def]
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return original(*arguments)

        derivation = Derivation("numbers", 1, {"patience": patience})
        with monkeypatch.context() as patch:
            for method in ("put", "create", "upload", "delete"):
                original = getattr(directory, method)
                patch.setattr(directory, method, lambda *a, o=original, breaking=breaking: breaking(o, *a))
            try:
                realize(directory, derivation, build)
                completed = True
            except Killed:
                completed = False
        found = find(directory, "numbers", derivation.key)
        assert found is None or found.verify() == []
        lease = f"{derivation.prefix}lease.json"
        directory.delete(lease)
        assert realize(directory, derivation, build).verify() == []
        if completed:
            break
    assert completed
    assert patience > 5


def test_a_failure_is_the_attempts_last_event(directory: ObjectStore) -> None:
    def fails(error: BaseException):  # type: ignore[no-untyped-def]
        def build(work: Build) -> Outcome:
            raise error

        return build

    for error in (UserError("no such file"), KeyboardInterrupt(), ZeroDivisionError("oops")):
        with pytest.raises(type(error)):
            realize(directory, ASKED, fails(error))
    last = [each.events[-1] for each in attempts.read(directory, ASKED.prefix)]
    assert [event["event"] for event in last] == ["failed", "preempted", "failed"]
    assert [event["exit_code"] for event in last] == [ExitCode.USER_ERROR, ExitCode.INTERRUPTED, ExitCode.BUG]
    assert "ZeroDivisionError: oops" in last[2]["message"]
    assert directory.stat(f"{ASKED.prefix}lease.json") is None


# Damage


def test_a_flipped_byte_is_found_and_named(made: Realization, store: ObjectStore, tmp_path: Path) -> None:
    name = f"{made.prefix}deep/numbers.txt"
    store.put(name, b"1 2 4\n")
    (damage,) = made.verify()
    assert name in damage
    assert "is damaged" in damage
    with pytest.raises(DamagedError, match=r"deep/numbers\.txt is damaged: its manifest says 6 bytes"):
        made.stage(["empty", "deep/numbers.txt"], tmp_path / "staged")


def test_truncated_and_missing_payload_is_found_and_named(
    made: Realization, store: ObjectStore, tmp_path: Path
) -> None:
    name = f"{made.prefix}deep/numbers.txt"
    store.put(name, b"1 2")
    assert "found 3 bytes" in made.verify()[0]
    store.delete(name)
    assert made.verify() == [f"{store.uri}/{name} is missing, though its manifest lists it"]
    with pytest.raises(DamagedError, match=r"deep/numbers\.txt is missing"):
        made.stage(["deep/numbers.txt"], tmp_path / "staged")
    with pytest.raises(DamagedError, match="lists no file nothing"):
        made.stage(["nothing"], tmp_path / "staged")


def test_a_derivation_that_is_not_the_keys_is_damage(made: Realization, store: ObjectStore) -> None:
    name = f"{made.prefix}derivation.json"
    store.put(name, store.get(name)[0].replace(b'"n": 3', b'"n": 4'))
    assert "derivation.json is damaged: its key would be" in made.verify()[0]
    store.put(name, b"{")
    assert "derivation.json is damaged" in made.verify()[0]
    store.delete(name)
    assert "derivation.json is missing" in made.verify()[0]


def test_a_manifest_is_never_half_believed(made: Realization, store: ObjectStore) -> None:
    name = f"{made.prefix}manifest.json"
    content = store.get(name)[0]
    document = json.loads(content)
    outside = document | {"files": [{"path": "../../../etc/passwd", "size": 1, "sha256": "0" * 64}]}
    for garbage in (
        b"",
        content[: len(content) // 2],
        b"[]",
        json.dumps(document | {"more": 1}).encode(),
        json.dumps(document | {"key": "0" * 64}).encode(),
        json.dumps(outside).encode(),
    ):
        store.put(name, garbage)
        with pytest.raises(DamagedError, match=r"manifest\.json is"):
            realize(store, ASKED, never)


def test_any_flipped_bit_of_a_payload_is_found(directory: ObjectStore) -> None:
    def big(work: Build) -> Outcome:
        (work.payload / "big").write_bytes(random.Random(1).randbytes(5000))
        return Outcome({}, {})

    made = realize(directory, ASKED, big)
    name = f"{made.prefix}big"
    content = directory.get(name)[0]
    for position in random.Random(2).sample(range(5000), 20):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        directory.put(name, bytes(flipped))
        assert len(made.verify()) == 1


def test_a_missing_input_says_what_to_do(store: ObjectStore) -> None:
    with pytest.raises(DamagedError, match="this task needs that corpus; run the experiment again"):
        require(store, "corpus", "0" * 64)


# Disks


def test_a_file_size_limit_is_a_full_disk(directory: ObjectStore) -> None:
    actor = _start("write_beyond_the_limit", directory.uri, "100000")
    output = actor.communicate(timeout=60)[0]
    assert actor.returncode == ExitCode.TRANSIENT
    assert "TransientError: no space left to write" in output
    assert "MiB free" in output
    _assert_nothing_is_done(directory)


def test_a_full_disk_is_transient_and_nothing_is_taken_for_done(tmp_path: Path) -> None:
    # GIVEN a real file system of 1 MB
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs here")
    try:
        store = connect(str(mount / "store"))
        actor = _start("write", store.uri, str(4 << 20))
        output = actor.communicate(timeout=60)[0]
        assert actor.returncode == ExitCode.TRANSIENT
        assert f"TransientError: no space left to write {mount}/store/{ASKED.prefix}big.bin" in output
        assert "run the same command again" in output
        _assert_nothing_is_done(store)
        # AND when there is space (here: less is needed) the same works
        assert realize(store, ASKED, build).verify() == []
    finally:
        subprocess.run(["umount", mount], check=True)


def _assert_nothing_is_done(store: ObjectStore) -> None:
    assert find(store, "numbers", ASKED.key) is None
    assert list(store.leftovers()) == []
    (attempt,) = attempts.read(store, ASKED.prefix)
    assert attempt.events[-1]["event"] in ("failed", "start")


def test_a_store_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file/store", tmp_path / ("long" * 100)):
        with pytest.raises(UserError, match=r"can't (write|read) .*check the path and its permissions"):
            realize(connect(str(place)), ASKED, never)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_read_only_file_system_is_the_users_mistake(tmp_path: Path) -> None:
    mount = tmp_path / "readonly"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("no right to mount a tmpfs here")
    try:
        with pytest.raises(UserError, match="Read-only file system; check the path"):
            realize(connect(str(mount / "store")), ASKED, never)
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(UserError, match="Permission denied; check the path"):
        realize(connect(str(tmp_path / "closed/store")), ASKED, never)


def test_a_file_system_without_hard_links_says_so(directory: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(UserError, match="has no hard links"):
        directory.create("a", b"")


def test_a_staging_disk_that_is_full_is_transient(gs_uri: str, tmp_path: Path) -> None:
    made = realize(connect(gs_uri), ASKED, build)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't write"):
        made.stage(["empty"], tmp_path / "file/below")
    made.store._connected[1].client.close()  # type: ignore[attr-defined]


# Attempts


def test_attempts_never_share_a_log(directory: ObjectStore) -> None:
    logs = [attempts.Attempt(directory, "p/") for _ in range(3)]
    for log in reversed(logs):
        log.record("checkpoint", step=log.number)
        log.close()
    assert [[told["event"] for told in each.events] for each in attempts.read(directory, "p/")] == [
        ["start", "checkpoint"]
    ] * 3
    directory.delete("p/attempts/0001.jsonl")  # so that the number of logs is a number already taken
    assert attempts.Attempt(directory, "p/").number == 4


def test_a_conflict_is_transient() -> None:
    assert ConflictError.exit_code == TransientError.exit_code


def _file(work: Build, name: str, content: str) -> Path:
    path = work.work / name
    path.write_text(content)
    return path


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, ACTORS, *arguments], stdout=subprocess.PIPE, text=True)


def _wait_until(condition) -> None:  # type: ignore[no-untyped-def]
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")
