"""Complete or not there: whatever happens on the way to a manifest."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertline.errors import ExitCode, TransientError, UserError
from bertline.process.signals import Stopped
from bertline.store import attempts, realizations
from bertline.store.derivations import Derivation
from bertline.store.objects import ConflictError, ObjectStore
from bertline.store.realizations import Build, Outcome, Realization, find, realize, require
from support.number_builds import ASKED, build, never

ACTORS = Path(__file__).with_name("actors.py")


@pytest.fixture(autouse=True)
def _scratch_of_killed_actors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # nobody cleans up after kill -9


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

    with pytest.raises(ValueError, match="the store reserves this name"):
        realize(directory, ASKED, takes)
    assert find(directory, "numbers", ASKED.key) is None


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
