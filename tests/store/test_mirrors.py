"""Copies of outside files in the store: one a checksum, checked both ways, on every kind of store."""

import hashlib
import os
from pathlib import Path

import pytest

from bertline.errors import DamagedError, UserError
from bertline.store import mirrors
from bertline.store.objects import ObjectStore

CONTENT = bytes(range(256)) * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "dump.bz2"
    path.write_bytes(CONTENT)
    return path


def test_a_file_goes_in_once_and_comes_out_checked(store: ObjectStore, file: Path, tmp_path: Path) -> None:
    assert mirrors.fetch(store, SHA256, tmp_path, "dump") is None
    assert mirrors.send(store, file, SHA256, "dump")
    assert [found.name for found in store.list("")] == [f"sources/{SHA256}"]
    assert not mirrors.send(store, file, SHA256, "dump")
    fetched = mirrors.fetch(store, SHA256, tmp_path / "work", "dump")
    assert fetched is not None
    assert fetched.read_bytes() == CONTENT
    # no copy of a dump where it lies on this disk anyway
    assert fetched == (store.local_path(f"sources/{SHA256}") or tmp_path / "work" / SHA256)


def test_an_upload_that_broke_off_is_done_again(store: ObjectStore, file: Path) -> None:
    store.put(f"sources/{SHA256}", CONTENT[:-1])
    assert mirrors.send(store, file, SHA256, "dump")
    assert store.get(f"sources/{SHA256}")[0] == CONTENT


def test_what_is_damaged_is_neither_used_nor_kept_quiet(store: ObjectStore, file: Path, tmp_path: Path) -> None:
    mirrors.send(store, file, SHA256, "dump")
    store.put("sources/notes.txt", b"of somebody else")
    read: list[int] = []
    assert mirrors.damages(store, tmp_path, read.append) == []
    assert sum(read) == len(CONTENT)
    store.put(f"sources/{SHA256}", CONTENT[:-1] + b"?")
    with pytest.raises(DamagedError, match=rf"sources/{SHA256} is damaged.*`bertline submit`"):
        mirrors.fetch(store, SHA256, tmp_path, "dump")
    [sentence] = mirrors.damages(store, tmp_path)
    assert sentence.startswith(f"{store.uri}/sources/{SHA256} is damaged")


def test_a_file_that_changed_before_the_upload_is_refused(directory: ObjectStore, file: Path) -> None:
    file.write_bytes(CONTENT[::-1])
    with pytest.raises(UserError, match=rf"dump \(.*dump.bz2\) has changed since .* was {SHA256}"):
        mirrors.send(directory, file, SHA256, "dump")
    assert list(directory.list("")) == []


def test_a_file_that_changes_during_the_upload_leaves_nothing(
    directory: ObjectStore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = directory.upload

    def meanwhile(path: Path, *arguments: object) -> None:
        upload(path, *arguments)  # type: ignore[arg-type]
        os.utime(path, (1, 1))

    monkeypatch.setattr(directory, "upload", meanwhile)
    with pytest.raises(UserError, match="while it was uploaded"):
        mirrors.send(directory, file, SHA256, "dump")
    assert list(directory.list("")) == []
