"""Files on their way to a bucket and back, over connections that are cut."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bertline.errors import TransientError, UserError
from bertline.store import s3
from bertline.store.objects import ConflictError, NotFoundError
from bertline.store.s3 import S3Store

BUCKET = "bertline-tests"
MB = 1 << 20
# After the last try the client forgets the answer, which it never read, together with its socket.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def store(s3_proxy: Any, monkeypatch: pytest.MonkeyPatch, close: Any) -> Iterator[S3Store]:
    """A store whose server counts as tried out, so that the requests are those of the test."""
    monkeypatch.setattr(s3, "_atomic", {(s3_proxy.url, BUCKET)})
    store = S3Store(BUCKET, uuid.uuid4().hex, attempts=3, timeout_s=(1, 5), chunk=5 * MB)
    yield store
    close(store)


def test_a_cut_upload_goes_on_where_it_was(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    # GIVEN a file of three parts, and a connection that is cut before one arrives, and after another
    content = bytes(range(256)) * (12 * MB // 256)
    (tmp_path / "source").write_bytes(content)
    s3_proxy.times(1, "PUT", lambda request: request.cut())
    s3_proxy.times(1, "PUT", lambda request: request.pass_on(answer=False))
    moved: list[int] = []
    store.upload(tmp_path / "source", "big", moved.append)
    # THEN the file is whole, and only the cut parts were sent again
    assert store.get("big")[0] == content
    assert sum(moved) == len(content)
    assert s3_proxy.count("PUT") == 5
    assert list(store.leftovers()) == []


def test_an_upload_whose_last_answer_was_lost_has_been_made(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1" * (6 * MB))
    s3_proxy.faults.append(_once(_completes, lambda request: request.forward() and request.cut()))
    # What AWS says then; SeaweedFS repeats its answer.
    s3_proxy.faults.append(_once(_completes, lambda request: request.answer(404, _error("NoSuchUpload"))))
    store.upload(tmp_path / "source", "big")
    found = store.stat("big")
    assert found is not None
    assert found.size == 6 * MB


def test_an_upload_that_fails_leaves_nothing(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1" * (6 * MB))
    s3_proxy.faults.append(_once(_completes, lambda request: request.answer(404, _error("NoSuchUpload"))))
    with pytest.raises(TransientError, match=r"upload of s3://.*/big was interrupted"):
        store.upload(tmp_path / "source", "big")
    assert list(store.leftovers()) == []
    assert store.stat("big") is None


def test_parts_of_a_killed_upload_are_found_and_deleted(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1" * (6 * MB))
    s3_proxy.faults.append(_once(_completes, lambda request: request.answer(403)))
    s3_proxy.times(1, "DELETE", lambda request: request.answer(403))
    with pytest.raises(UserError):
        store.upload(tmp_path / "source", "a b/big")
    (left,) = store.leftovers()
    assert left.name.endswith("/a b/big")
    assert left.size == 6 * MB
    assert list(store.list("")) == []
    store.delete(left.name)
    store.delete(left.name)
    assert list(store.leftovers()) == []


def test_a_cut_download_goes_on_where_it_was(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * (6 * MB // 256)
    (tmp_path / "source").write_bytes(content)
    store.upload(tmp_path / "source", "big")
    for _ in range(4):  # more often than a request is repeated, but each time it got further
        s3_proxy.times(1, "GET", lambda request: request.pass_on(share=0.5))
    moved: list[int] = []
    store.download("big", tmp_path / "target", moved.append)
    assert (tmp_path / "target").read_bytes() == content
    assert sum(moved) == len(content)


def test_a_cut_range_goes_on_where_it_was_in_the_same_state(store: S3Store, s3_proxy: Any) -> None:
    content = bytes(range(256)) * (5 * MB // 256)
    store.put("a", content)
    for _ in range(4):  # more often than a request is repeated, but each time it got further
        s3_proxy.times(1, "GET", lambda request: request.pass_on(share=0.5))
    assert store.read("a", 100, 4 * MB) == content[100 : 4 * MB]

    def overwrite(request: Any) -> None:
        request.pass_on(share=0.5)
        store.put("a", content[::-1])

    s3_proxy.times(1, "GET", overwrite)
    with pytest.raises(ConflictError):
        store.read("a", 100, 4 * MB)


def test_a_download_that_gets_no_further_ends(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    store.put("a", b"12")
    s3_proxy.times(100, "GET", lambda request: request.pass_on(share=0))
    with pytest.raises(TransientError, match=r"can't reach s3://.*/a now"):
        store.download("a", tmp_path / "target")
    assert s3_proxy.count("GET") == 3


def test_a_download_is_of_one_state(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"1" * (3 * MB))
    store.upload(tmp_path / "source", "a")
    s3_proxy.times(1, "GET", lambda request: request.pass_on(share=0.5))
    with pytest.raises(TransientError, match="was overwritten while it was read"):
        store.download("a", tmp_path / "target", lambda _: store.put("a", b"2" * (3 * MB)) and None)


def test_an_object_that_vanishes_while_it_is_read_is_missing(store: S3Store, s3_proxy: Any, tmp_path: Path) -> None:
    store.put("a", b"1" * (3 * MB))
    s3_proxy.times(1, "GET", lambda request: request.pass_on(share=0.5))
    with pytest.raises(NotFoundError, match="/a is not there"):
        store.download("a", tmp_path / "target", lambda _: store.delete("a"))


def _completes(request: Any) -> bool:
    return request.command == "POST" and "uploadId=" in request.path


def _once(matches: Callable[[Any], bool], deed: Callable[[Any], object]) -> Callable[[Any], bool]:
    done: list[bool] = []

    def fault(request: Any) -> bool:
        if done or not matches(request):
            return False
        done.append(True)
        deed(request)
        return True

    return fault


def _error(code: str, message: str = "a message") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
