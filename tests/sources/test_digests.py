"""Digests of local files: read once, and never wrong."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertline.process import progress
from bertline.sources import digests
from bertline.sources.files import Source

SIZE = digests.WORTH_NOTING + 5


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "YOUNG_S", 0.3)
    return tmp_path / "cache" / "bertline" / "digests"


@pytest.fixture
def path(tmp_path):
    """A file that hasn't been changed for a while."""
    path = tmp_path / "dump.bz2"
    write(path, b"a" * SIZE)
    return path


def write(path, content):
    path.write_bytes(content)
    time.sleep(0.4)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def bytes_read():
    """By this process, from files."""
    return int(Path("/proc/self/io").read_text().split("rchar: ")[1].split()[0])


def cost(action):
    before = bytes_read()
    result = action()
    return result, bytes_read() - before


def test_the_second_time_nothing_is_read(path, cache):
    digest, read = cost(lambda: digests.known(path, "sha256"))
    assert digest == sha256(b"a" * SIZE)
    assert read > SIZE
    digest, read = cost(lambda: Source(url=str(path)).pinned().sha256)
    assert digest == sha256(b"a" * SIZE)
    assert read < 10_000
    assert len(list(cache.iterdir())) == 1
    # each algorithm for itself
    assert digests.known(path, "sha1") == hashlib.sha1(b"a" * SIZE).hexdigest()


def test_what_is_read_for_work_is_read_whole(path, tmp_path):
    source = Source(url=str(path)).pinned()
    assert cost(lambda: source.look(tmp_path))[1] < 10_000
    assert cost(lambda: source.fetch(tmp_path))[1] > SIZE


def set_back(path):
    """Other bytes, and the old time: only the inode's change tells."""
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(b"b" * SIZE)
    os.utime(path, ns=times)


def exchange(path):
    """Another file of the same size and time in its place."""
    other = path.with_name("other")
    other.write_bytes(b"b" * SIZE)
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    os.replace(other, path)


@pytest.mark.parametrize("change", [lambda path: path.write_bytes(b"b" * SIZE), set_back, exchange])
def test_a_changed_file_is_read_again(path, change):
    digests.known(path, "sha256")
    change(path)
    assert digests.known(path, "sha256") == sha256(b"b" * SIZE)


def test_a_file_just_written_isnt_noted(path, cache):
    path.write_bytes(b"b" * SIZE)
    assert digests.known(path, "sha256") == sha256(b"b" * SIZE)
    assert not cache.exists()
    time.sleep(0.4)
    digests.known(path, "sha256")
    assert cache.exists()


def test_a_file_that_changes_while_it_is_read_isnt_noted(path, cache, monkeypatch):
    def read(*arguments):
        digest = sha256(path.read_bytes())
        os.utime(path)
        return digest

    monkeypatch.setattr(digests, "read", read)
    digests.known(path, "sha256")
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"digest": "no"}', b"\xff"])
def test_a_damaged_entry_is_none(path, cache, content):
    digests.known(path, "sha256")
    [entry] = cache.iterdir()
    entry.write_bytes(content)
    assert digests.known(path, "sha256") == sha256(b"a" * SIZE)
    assert len(entry.read_bytes()) > 100  # and is written anew


def no_folder(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")


def nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")


def no_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/dev/null")


@pytest.mark.parametrize("spoil", [no_folder, nowhere, no_home])
def test_without_a_place_for_a_cache_all_goes_on_in_silence(path, tmp_path, monkeypatch, capsys, spoil):
    spoil(tmp_path, monkeypatch)
    for _ in range(2):
        assert digests.known(path, "sha256") == sha256(b"a" * SIZE)
    assert capsys.readouterr() == ("", "")


ASK = """
import sys
from pathlib import Path
from bertline.sources import digests
digests.YOUNG_S = 0.3
print({digests.known(Path(sys.argv[1]), "sha256") for _ in range(20)})
"""


def test_several_processes_at_once(path, cache):
    asking = [
        subprocess.Popen([sys.executable, "-c", ASK, str(path)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    told = {process.communicate(timeout=60)[0].strip() for process in asking}
    assert told == {str({sha256(b"a" * SIZE)})}
    assert len(list(cache.iterdir())) == 1  # no temporary file is left


def test_a_long_reading_is_shown(path, monkeypatch):
    told = []
    with progress.listening(told.append):
        digests.read(path, "sha256")
        assert not told
        monkeypatch.setattr(digests, "WORTH_SHOWING", SIZE)
        digests.read(path, "sha256")
    assert told[0]["label"] == "checking dump.bz2"
    assert (told[-1]["done"], told[-1]["total"]) == (SIZE, SIZE)
