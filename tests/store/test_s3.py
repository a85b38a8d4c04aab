"""What goes wrong with a bucket. A proxy stands before SeaweedFS and does what networks and services do."""

import datetime
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from bertline.errors import BertlineError, TransientError, UserError
from bertline.store import s3
from bertline.store.backends import connect
from bertline.store.objects import ConflictError, NotFoundError, OutageError
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
    with pytest.raises(ConflictError, match="changed by somebody else"):
        store.replace("a", b"1", first)
    store.replace("a", b"1", store.replace("a", b"2", second))
    with pytest.raises(ConflictError, match="changed by somebody else"):
        store.replace("a", b"3", second)


def test_replacing_what_vanishes_under_the_hand_is_a_conflict(store: S3Store, s3_proxy: Any) -> None:
    version = store.create("a", b"1")
    s3_proxy.times(1, "PUT", lambda request: request.answer(404, _error("NoSuchKey")))  # as AWS says it
    with pytest.raises(ConflictError, match="changed by somebody else"):
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


REFUSALS = [
    (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large."),
    (403, "RequestExpired", "Request has expired."),
    (403, "AccessDenied", "Request has expired"),
    (403, "QuotaExceeded", "Bucket quota exceeded"),
    (403, "AccessDenied", "Cannot upload files, storage cap exceeded."),
    (400, "XMinioAdminBucketQuotaExceeded", "Bucket quota exceeded"),
    (507, "XMinioStorageFull", "Storage backend has reached its minimum free drive threshold."),
    (400, "ExpiredToken", "The provided token has expired."),
    (403, "ExpiredToken", "The provided token has expired."),
    (403, "InvalidObjectState", "The operation is not valid for the object's storage class"),
    (403, "AccessDenied", "Access Denied."),
]
SAID = {
    "RequestTimeTooSkewed": (OutageError, "clock"),
    "Request has expired": (OutageError, "clock"),
    "quota": (OutageError, "takes no more"),
    "storage cap": (OutageError, "takes no more"),
    "Full": (OutageError, "takes no more"),
    "ExpiredToken": (UserError, "AWS_SESSION_TOKEN"),
    "InvalidObjectState": (UserError, "was refused"),
    "Access Denied": (UserError, "no permission"),
}


@pytest.mark.parametrize(("status", "code", "message"), REFUSALS)
def test_a_403_is_not_always_a_permission(
    s3_proxy: Any, monkeypatch: pytest.MonkeyPatch, close: Any, status: int, code: str, message: str
) -> None:
    store = S3Store(BUCKET, "p", attempts=1)
    monkeypatch.setattr(s3, "_atomic", {(s3_proxy.url, BUCKET)})
    # GIVEN a server that refuses everything; as HTTP has it, without a body where HEAD asks
    s3_proxy.always(lambda request: request.answer(status, _error(code, message) if request.command != "HEAD" else b""))
    family, word = next(found for text, found in SAID.items() if text in f"{code} {message}")
    # WHEN anything is asked, THEN the cause is told, and its family is that of the cause
    calls: list[Callable[[], object]] = [
        lambda: store.get("a"),
        lambda: store.stat("a"),
        lambda: list(store.list("a")),
        lambda: store.put("a", b""),
    ]
    for call in calls:
        with pytest.raises(BertlineError, match=word) as caught:
            call()
        assert type(caught.value) is family
        assert ("no permission" in str(caught.value)) == (word == "no permission")
    close(store)


@pytest.mark.parametrize(
    ("hours", "said"), [(-3, r"(3:00|2:59):\d\d ahead of"), (2, r"(2:00|1:59):\d\d behind"), (0, "agrees")]
)
def test_a_wrong_clock_is_told_with_the_difference(s3_proxy: Any, close: Any, hours: int, said: str) -> None:
    theirs = format_datetime(datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours), usegmt=True)
    content = _error("RequestTimeTooSkewed", "too large")
    s3_proxy.always(lambda request: request.answer(403, content, {"Date": theirs}))
    store = S3Store(BUCKET, "p", attempts=1)
    with pytest.raises(OutageError, match=said):
        list(store.list("a"))
    close(store)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("AWS_ACCESS_KEY_ID", "unknown", "InvalidAccessKeyId"),
        ("AWS_SECRET_ACCESS_KEY", "wrong-secret", "SignatureDoesNotMatch"),
    ],
)
def test_wrong_credentials_are_told_without_telling_them(
    s3_uri: str, monkeypatch: pytest.MonkeyPatch, close: Any, name: str, value: str, code: str
) -> None:
    monkeypatch.setenv(name, value)
    store = connect(s3_uri)
    with pytest.raises(UserError, match=f"the credentials for s3://.* aren't accepted: {code}") as caught:
        store.get("a")
    assert value not in str(caught.value)
    close(store)


def test_no_credentials_are_told_before_any_request(no_aws: None) -> None:
    with pytest.raises(UserError, match=r"no credentials for s3://bertline-tests/p: .*set AWS_ACCESS_KEY_ID and"):
        S3Store(BUCKET, "p").get("a")


@pytest.mark.parametrize(
    "uri",
    ["s3://key:hush@bucket/prefix", "gs://hush@bucket", "https://key:hush@host/bucket", "file://key:hush@host/dir"],
)
def test_credentials_in_a_uri_are_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(UserError, match="no place for credentials") as caught:
        connect(uri)
    assert "hush" not in str(caught.value)


def test_a_password_in_the_endpoint_is_not_repeated(s3_uri: str, monkeypatch: pytest.MonkeyPatch, close: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:hush@127.0.0.1:1")
    store = S3Store(BUCKET, "p", attempts=1)
    with pytest.raises(BertlineError) as caught:
        store.get("a")
    assert "hush" not in str(caught.value)
    close(store)


def test_an_endpoint_that_is_no_url_is_the_users_mistake(s3_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "seaweedfs.kubeflow")
    with pytest.raises(UserError, match="AWS_ENDPOINT_URL looks like http://host:port"):
        connect(s3_uri).get("a")


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_REGION": "eu-north-1"}, "eu-north-1"),
        ({"AWS_DEFAULT_REGION": "sa-east-1"}, "sa-east-1"),
    ],
)
def test_the_region_comes_from_the_environment(
    no_aws: None, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], region: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert S3Store(BUCKET, "p")._client().meta.region_name == region


def test_nobody_listening_is_transient(s3_uri: str, monkeypatch: pytest.MonkeyPatch, close: Any) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    store = S3Store(BUCKET, "p", attempts=1)
    with pytest.raises(TransientError, match="can't reach s3://bertline-tests/p/a now"):
        store.get("a")
    close(store)


def test_a_silent_service_is_transient(s3_proxy: Any, close: Any) -> None:
    silence = threading.Event()
    s3_proxy.always(lambda request: silence.wait(20) and request.cut())
    store = S3Store(BUCKET, "p", attempts=1, timeout_s=(1, 0.3))
    with pytest.raises(TransientError, match=r"can't reach .*timeout"):
        store.get("a")
    silence.set()
    close(store)


def test_a_missing_bucket_is_the_users_mistake(s3_uri: str, close: Any, tmp_path: Path) -> None:
    store = S3Store("no-such-bucket", "p")
    (tmp_path / "file").write_bytes(b"1")
    for call in (
        lambda: store.get("a"),
        lambda: store.stat("a"),
        lambda: store.put("a", b""),
        lambda: store.create("a", b""),
        lambda: store.replace("a", b"", "x y"),
        lambda: list(store.list("")),
        lambda: store.upload(tmp_path / "file", "a"),
        lambda: store.download("a", tmp_path / "target"),
    ):
        with pytest.raises(UserError, match="bucket 'no-such-bucket' doesn't exist; create it with `aws s3 mb"):
            call()
    close(store)


def test_whether_the_bucket_is_there_is_asked_once(store: S3Store, s3_proxy: Any) -> None:
    for name in ("a", "b", "c"):
        assert store.stat(name) is None
    assert len(s3_proxy.requests) == 4


def test_an_impossible_bucket_name_is_the_users_mistake(s3_uri: str) -> None:
    with pytest.raises(UserError, match=r"was refused: .*Invalid bucket name"):
        S3Store("a b", "p").get("a")


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
    with pytest.raises(TransientError, match=r"upload of s3://.*/big was broken off"):
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
