"""Writes to a bucket that depend on its state. A proxy before SeaweedFS does what networks and services do."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bertline.errors import BertlineError, TransientError, UserError
from bertline.store import s3
from bertline.store.objects import ConflictError
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


def test_a_create_whose_answer_was_lost_has_been_made(store: S3Store, s3_proxy: Any) -> None:
    # GIVEN that the object is written, and the connection cut before the answer: the client tries again and gets 412
    s3_proxy.times(1, "PUT", lambda request: request.pass_on(answer=False))
    # WHEN it is created, THEN that is a success,
    version = store.create("manifest.json", b"mine")
    assert s3_proxy.count("PUT") == 2
    assert store.get("manifest.json") == (b"mine", version)
    # AND for everybody else it is there already, even with the same content.
    with pytest.raises(ConflictError):
        store.create("manifest.json", b"mine")


def test_a_replace_whose_answer_was_lost_has_been_made(store: S3Store, s3_proxy: Any) -> None:
    version = store.create("lease.json", b"1")
    s3_proxy.times(1, "PUT", lambda request: request.pass_on(answer=False))
    version = store.replace("lease.json", b"2", version)
    assert store.replace("lease.json", b"3", version) != version


def test_a_write_that_meets_another_is_tried_again(store: S3Store, s3_proxy: Any) -> None:
    s3_proxy.times(1, "PUT", lambda request: request.answer(409))
    version = store.create("a", b"1")
    s3_proxy.times(1, "PUT", lambda request: request.answer(409))
    store.replace("a", b"2", version)
    assert s3_proxy.count("PUT") == 4


def test_replace_refuses_a_state_that_only_looks_the_same(store: S3Store) -> None:
    # A version that were the ETag alone would be current in both cases.
    first = store.create("a", b"1")
    second = store.replace("a", b"1", first)
    with pytest.raises(ConflictError, match="changed by another process"):
        store.replace("a", b"1", first)
    store.replace("a", b"1", store.replace("a", b"2", second))
    with pytest.raises(ConflictError, match="changed by another process"):
        store.replace("a", b"3", second)


def test_replacing_what_vanishes_under_the_hand_is_a_conflict(store: S3Store, s3_proxy: Any) -> None:
    version = store.create("a", b"1")
    s3_proxy.times(1, "PUT", lambda request: request.answer(404, _error("NoSuchKey")))  # as AWS says it
    with pytest.raises(ConflictError, match="changed by another process"):
        store.replace("a", b"2", version)


def test_a_service_that_stumbles_is_asked_again(store: S3Store, s3_proxy: Any) -> None:
    s3_proxy.times(1, "PUT", lambda request: request.answer(503))
    s3_proxy.times(1, "GET", lambda request: request.cut())
    s3_proxy.times(1, "GET", lambda request: request.pass_on(share=0.5))
    store.put("a", b"12")
    assert store.get("a")[0] == b"12"


def looks_first_and_writes_later(request: Any) -> bool:
    """Refuses what was there when the headers came; of what comes then, the last wins (SeaweedFS 4.0 to 4.16)."""
    if not (request.command == "PUT" and {"If-None-Match", "If-Match"} & set(request.headers)):
        return False
    if request.was_there and "If-None-Match" in request.headers:
        request.answer(412)
    else:
        succeed(request)
    return True


def ignores(header: str) -> Callable[[Any], bool]:
    """A server that doesn't know a header and does what it is told."""

    def fault(request: Any) -> bool:
        if request.command != "PUT" or header not in request.headers:
            return False
        succeed(request)
        return True

    return fault


def succeed(request: Any) -> None:
    status, headers, content = request.forward()
    if status == 412:
        status, headers, content = 200, headers | {"ETag": '"x"', "Content-Length": "0"}, b""
    request.answer(status, content, headers)


@pytest.mark.parametrize(
    ("fault", "header"),
    [
        (ignores("If-None-Match"), r"If-None-Match: \*"),
        (ignores("If-Match"), "If-Match"),
        (looks_first_and_writes_later, r"If-None-Match: \*"),
    ],
    ids=["If-None-Match ignored", "If-Match ignored", "looks first, writes later"],
)
@pytest.mark.parametrize("prefix", ["p", "with space/é"])
def test_a_server_that_lets_two_writers_win_is_refused(
    s3_proxy: Any, close: Any, fault: Any, header: str, prefix: str
) -> None:
    store = S3Store(BUCKET, prefix, attempts=1)
    s3_proxy.faults.append(fault)
    for operation in (lambda: store.create("a", b""), lambda: store.replace("a", b"", "x y")):  # and again
        with pytest.raises(UserError, match=rf"server \(SeaweedFS .*\) doesn't keep `{header}`: two writers could"):
            operation()
    # Nothing was written, nothing is left, and what needs no condition goes on.
    assert store.stat("a") is None
    assert list(store.leftovers()) == []
    close(store)


def test_a_server_that_looks_first_is_found_out_even_if_one_writer_is_late(s3_proxy: Any, close: Any) -> None:
    store = S3Store(BUCKET, uuid.uuid4().hex, attempts=1)
    s3_proxy.faults.append(looks_first_and_writes_later)
    turn = iter(range(100))
    store._client().meta.events.register("before-send.s3.PutObject", lambda **_: time.sleep(0.3 * next(turn)))
    with pytest.raises(UserError, match="two writers could create one object"):
        store.create("a", b"")
    close(store)


def test_the_server_is_tried_out_once_a_process(s3_proxy: Any, close: Any) -> None:
    stores = [S3Store(BUCKET, uuid.uuid4().hex) for _ in range(2)]
    for store in stores:
        store.create("a", b"")
        store.create("b", b"")
        assert [found.name for found in store.list("")] == ["a", "b"]
        close(store)
    assert s3_proxy.count("PUT") == 2 * 2 + 2 * 2  # two races of two, then two for each store


def test_a_server_that_refuses_everybody_is_transient(s3_proxy: Any, close: Any) -> None:
    s3_proxy.times(2, "PUT", lambda request: request.answer(412))
    store = S3Store(BUCKET, uuid.uuid4().hex, attempts=1)
    with pytest.raises(TransientError, match="neither of two writers"):
        store.create("a", b"")
    store.create("a", b"")
    close(store)


@pytest.mark.parametrize(
    ("status", "code", "family", "sentence"),
    [
        (503, "SlowDown", TransientError, "can't reach s3://.*/a now"),
        (429, "", TransientError, "can't reach s3://.*/a now"),
        (400, "RequestTimeout", TransientError, "can't reach s3://.*/a now"),
        (403, "AccessDenied", UserError, "no permission for s3://.*/a: .*s3:PutObject"),
        (401, "", UserError, "no permission for s3://.*/a"),
        (400, "MalformedXML", UserError, "was refused"),
    ],
)
def test_a_refusal_is_told_in_a_sentence(
    s3_proxy: Any,
    monkeypatch: pytest.MonkeyPatch,
    close: Any,
    status: int,
    code: str,
    family: type[BertlineError],
    sentence: str,
) -> None:
    store = S3Store(BUCKET, "p", attempts=1)
    monkeypatch.setattr(s3, "_atomic", {(s3_proxy.url, BUCKET)})
    s3_proxy.always(lambda request: request.answer(status, _error(code) if request.command != "HEAD" else b""))
    calls: list[Callable[[], object]] = [
        lambda: store.get("a"),
        lambda: store.put("a", b""),
        lambda: store.create("a", b""),
        lambda: list(store.list("a")),
        lambda: store.delete("a"),
        lambda: store.stat("a"),
    ]
    for call in calls:
        with pytest.raises(family, match=sentence):
            call()
    close(store)


def _error(code: str, message: str = "a message") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
