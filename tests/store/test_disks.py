"""Disks that are full or not to be written to: a sentence, and nothing is taken for done."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bertline.errors import ExitCode, UserError
from bertline.store import attempts
from bertline.store.backends import connect
from bertline.store.objects import ObjectStore
from bertline.store.realizations import find, realize
from support.number_builds import ASKED, build, never

ACTORS = Path(__file__).with_name("actors.py")


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


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, ACTORS, *arguments], stdout=subprocess.PIPE, text=True)
