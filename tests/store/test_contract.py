"""What every ObjectStore promises."""

import hashlib
import os
import pickle
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bertline.errors import UserError
from bertline.store.backends import connect
from bertline.store.objects import ConflictError, NotFoundError, ObjectStore

ACTORS = Path(__file__).with_name("actors.py")
MB = 1 << 20


def test_what_was_put_is_got(store: ObjectStore) -> None:
    version = store.put("a/b.json", b"{}")
    assert store.get("a/b.json") == (b"{}", version)
    assert store.put("a/b.json", b"") != version
    assert store.get("a/b.json")[0] == b""


def test_names_and_content_are_taken_as_they_are(store: ObjectStore) -> None:
    name, content = "objects/a b/100 %/é#?&+.txt", bytes(range(256))
    store.create(name, content)
    assert store.get(name)[0] == content
    assert [found.name for found in store.list("objects/")] == [name]


def test_get_and_download_of_nothing_name_the_object(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nothing/here\.json is not there"):
        store.get("nothing/here.json")
    with pytest.raises(NotFoundError, match="nothing/here"):
        store.download("nothing/here", tmp_path / "target")
    assert store.stat("nothing/here") is None
    assert not (tmp_path / "target").exists()


def test_an_object_is_no_folder_and_a_folder_no_object(store: ObjectStore) -> None:
    store.put("a/b", b"1")
    assert store.stat("a") is None
    assert store.stat("a/b/c") is None
    for name in ("a", "a/b/c"):
        with pytest.raises(NotFoundError):
            store.get(name)


def test_stat_tells_size_and_time(store: ObjectStore) -> None:
    store.put("a", b"12345")
    found = store.stat("a")
    assert found is not None
    assert (found.name, found.size) == ("a", 5)
    assert abs(found.modified - time.time()) < 60


def test_delete_is_content_with_nothing(store: ObjectStore) -> None:
    store.put("a/b/c", b"1")
    store.delete("a/b/c")
    store.delete("a/b/c")
    assert list(store.list("")) == []
    store.put("a/b", b"a folder before, an object now")


def test_list_goes_by_prefix_in_the_order_of_names(store: ObjectStore) -> None:
    names = ["a/1", "a/10", "a/2/x", "a/2.json", "a-b", "ab/1", "b", "a.txt"]
    for name in names:
        store.put(name, name.encode())
    assert [found.name for found in store.list("")] == sorted(names)
    assert [found.name for found in store.list("a/")] == ["a/1", "a/10", "a/2.json", "a/2/x"]
    assert [found.name for found in store.list("a/1")] == ["a/1", "a/10"]
    assert list(store.list("c/")) == []


def test_create_refuses_what_is_there(store: ObjectStore) -> None:
    store.create("a", b"1")
    with pytest.raises(ConflictError, match=r"/a exists already"):
        store.create("a", b"1")
    with pytest.raises(ConflictError):
        store.create("a", b"2")
    assert store.get("a")[0] == b"1"


def test_replace_refuses_a_stale_version(store: ObjectStore) -> None:
    first = store.create("a", b"1")
    second = store.replace("a", b"2", first)
    with pytest.raises(ConflictError, match="changed by another process"):
        store.replace("a", b"3", first)
    assert store.get("a") == (b"2", second)


def test_replace_refuses_what_is_gone(store: ObjectStore) -> None:
    version = store.create("a", b"1")
    store.delete("a")
    with pytest.raises(ConflictError):
        store.replace("a", b"2", version)
    assert store.stat("a") is None


def test_of_many_threads_that_create_one_name_exactly_one_wins(store: ObjectStore) -> None:
    # SeaweedFS lets each loser wait for up to a second.
    racers, turns = (4, 2) if store.uri.startswith("s3:") else (12, 8)
    barrier = threading.Barrier(racers)

    def create(number: int, name: str) -> bool:
        barrier.wait()
        try:
            store.create(name, str(number).encode())
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(racers) as pool:
        for turn in range(turns):
            name = f"race/{turn}"
            won = list(pool.map(lambda number, name=name: create(number, name), range(racers)))
            assert won.count(True) == 1
            assert store.get(name)[0] == str(won.index(True)).encode()


def test_of_several_processes_that_create_one_name_exactly_one_wins(store: ObjectStore, tmp_path: Path) -> None:
    go = tmp_path / "go"
    racers = [_start("create", store.uri, str(go), str(number)) for number in range(2)]
    while len(list(tmp_path.glob("go.*"))) < len(racers):
        time.sleep(0.01)
    go.touch()
    won = [set(filter(None, racer.communicate(timeout=60)[0].strip().split(","))) for racer in racers]
    assert sorted(number for numbers in won for number in numbers) == sorted(map(str, range(20)))
    for racer, numbers in enumerate(won):
        assert all(store.get(f"race/{number}")[0] == str(racer).encode() for number in numbers)


def test_counting_with_replace_alone_loses_nothing(store: ObjectStore) -> None:
    store.create("counter", b"0")
    counters = [_start("count", store.uri, str(number)) for number in range(2)]
    assert [counter.wait(90) for counter in counters] == [0, 0]
    for counter in counters:
        counter.communicate()
    assert store.get("counter")[0] == b"50"


@pytest.mark.parametrize("size", [0, 1, 30 * MB + 7])
def test_a_file_goes_up_and_down_with_the_right_progress(store: ObjectStore, tmp_path: Path, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    up: list[int] = []
    down: list[int] = []
    store.upload(source, "big/file.bin", up.append)
    found = store.stat("big/file.bin")
    assert found is not None
    assert found.size == size
    store.download("big/file.bin", target, down.append)
    assert _sha256(target) == _sha256(source)
    assert sum(up) == sum(down) == size
    if size > MB:
        assert len(up) > 3, "progress is told on the way"
        assert len(down) > 3, "progress is told on the way"


def test_memory_does_not_grow_with_the_file(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(64 * MB)
    store.upload(source, "big")
    actor = _start("download", store.uri, "big", str(tmp_path / "target"))
    megabytes = int(actor.communicate(timeout=120)[0])
    assert megabytes < 40, f"{megabytes} MB for a file of 64 MB"


def test_a_store_goes_to_another_process(store: ObjectStore) -> None:
    store.put("a", b"1")
    assert pickle.loads(pickle.dumps(store)).get("a") == store.get("a")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_its_own_connection(store: ObjectStore) -> None:
    """Over a shared socket both would read each other's answers, or wait for their own for ever."""
    store.put("parent", b"parent's")
    store.put("child", b"child's")
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if all(store.get("child")[0] == b"child's" for _ in range(200)) else 1)
        finally:
            os._exit(2)
    assert all(store.get("parent")[0] == b"parent's" for _ in range(200))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert time.monotonic() - began < 20


def test_the_uri_leads_back_to_the_store(store: ObjectStore) -> None:
    store.put("a", b"1")
    assert connect(store.uri).get("a")[0] == b"1"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "is incomplete"),
        ("file://", "is incomplete"),
        ("file://host/dir", "three slashes"),
        ("s3x://b/p", "unknown scheme 's3x'"),
        ("gs://", "bucket's name is missing"),
        ("gs:///prefix", "bucket's name is missing"),
        ("s3://", "bucket's name is missing"),
        ("s3:///prefix", "bucket's name is missing"),
    ],
)
def test_a_uri_that_leads_nowhere_is_the_users_mistake(uri: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        connect(uri)


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, ACTORS, *arguments], stdout=subprocess.PIPE, text=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Parts of an object


def test_a_range_is_read_as_it_was_asked_for(store: ObjectStore) -> None:
    content = bytes(range(256)) * 20
    store.put("a", content)
    for begin, end in ((0, 1), (0, 5120), (17, 4000), (5119, 5120)):
        assert store.read("a", begin, end) == content[begin:end]
    # what isn't there is left out
    assert store.read("a", 5000, 6000) == content[5000:]
    assert store.read("a", 5120, 5130) == store.read("a", 6000, 6010) == store.read("a", 7, 7) == b""
    with pytest.raises(NotFoundError):
        store.read("b", 0, 10)


def test_a_range_of_another_state_is_refused(store: ObjectStore) -> None:
    store.put("a", b"first")
    before = store.stat("a")
    assert before is not None
    assert store.read("a", 1, 3, before.state) == b"ir"
    store.put("a", b"other")
    with pytest.raises(ConflictError):
        store.read("a", 1, 3, before.state)
    after = store.stat("a")
    assert after is not None
    assert store.read("a", 1, 3, after.state) == b"th"
