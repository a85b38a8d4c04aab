"""What a bucket refuses, or where none is, is told in a sentence that says what to do."""

import datetime
import threading
import uuid
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from bertline.errors import BertlineError, TransientError, UserError
from bertline.store import s3
from bertline.store.backends import connect
from bertline.store.objects import OutageError
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
    with pytest.raises(UserError, match="must not contain credentials") as caught:
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


def _error(code: str, message: str = "a message") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
