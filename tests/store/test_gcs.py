"""What goes wrong with a bucket. A proxy stands before the emulator and does what networks and services do."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.auth import exceptions as auth

from bertline.errors import BertlineError, TransientError, UserError
from bertline.store.gcs import GoogleCloudStore
from bertline.store.objects import ConflictError, NotFoundError, OutageError

BUCKET = "bertline-tests"
# After the last try the client forgets the answer, which it never read, together with its socket.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def store(gs_proxy: Any, close: Any) -> Iterator[GoogleCloudStore]:
    store = GoogleCloudStore(BUCKET, uuid.uuid4().hex, patience_s=5, timeout_s=(1, 1), chunk=1 << 18)
    yield store
    close(store)


def test_a_create_whose_answer_was_lost_has_been_made(store: GoogleCloudStore, gs_proxy: Any) -> None:
    # GIVEN that the object is written, and the connection cut before the answer: the client tries again and gets 412
    gs_proxy.times(1, "POST", lambda request: request.pass_on(answer=False))
    # WHEN it is created, THEN that is a success,
    version = store.create("manifest.json", b"mine")
    assert gs_proxy.count("POST") == 2
    assert store.get("manifest.json") == (b"mine", version)
    # AND for everybody else it is there already, even with the same content.
    with pytest.raises(ConflictError):
        store.create("manifest.json", b"mine")


def test_a_replace_whose_answer_was_lost_has_been_made(store: GoogleCloudStore, gs_proxy: Any) -> None:
    version = store.create("lease.json", b"1")
    gs_proxy.times(1, "POST", lambda request: request.pass_on(answer=False))
    version = store.replace("lease.json", b"2", version)
    assert store.replace("lease.json", b"3", version) != version


def test_a_service_that_stumbles_is_asked_again(store: GoogleCloudStore, gs_proxy: Any) -> None:
    gs_proxy.times(1, "POST", lambda request: request.answer(503))
    gs_proxy.times(1, "GET", lambda request: request.cut())
    store.put("a", b"1")
    assert store.get("a")[0] == b"1"


@pytest.mark.parametrize(
    ("status", "family", "sentence"),
    [
        (503, TransientError, "can't reach gs://.*/a now"),
        (429, TransientError, "can't reach gs://.*/a now"),
        (403, UserError, "no permission for gs://.*/a: .*roles/storage.objectAdmin"),
        (401, UserError, "no (permission|credentials) for gs://"),
        (400, UserError, "was refused"),
    ],
)
@pytest.mark.parametrize("operation", ["get", "put", "create", "list", "delete", "stat"])
def test_a_refusal_is_told_in_a_sentence(
    gs_proxy: Any, close: Any, operation: str, status: int, family: type[BertlineError], sentence: str
) -> None:
    store = GoogleCloudStore(BUCKET, "p", patience_s=0.2, timeout_s=(1, 1))
    gs_proxy.always(lambda request: request.answer(status))
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("a"),
        "put": lambda: store.put("a", b""),
        "create": lambda: store.create("a", b""),
        "list": lambda: list(store.list("a")),
        "delete": lambda: store.delete("a"),
        "stat": lambda: store.stat("a"),
    }
    with pytest.raises(family, match=sentence):
        calls[operation]()
    close(store)


REASONS = [
    (403, "rateLimitExceeded", "The project exceeded the rate limit", OutageError, "rate limit"),
    (403, "quotaExceeded", "The quota was exceeded", OutageError, "quota"),
    (403, "accountDisabled", "The billing account is disabled in state absent", UserError, "was refused.*billing"),
    (403, "retentionPolicyNotMet", "Object is subject to bucket's retention policy", UserError, "retention policy"),
    (403, "forbidden", "does not have storage.objects.get access", UserError, "no permission.*objectAdmin"),
]


@pytest.mark.parametrize(("status", "reason", "message", "family", "word"), REASONS)
def test_a_403_is_not_always_a_permission(
    gs_proxy: Any, close: Any, status: int, reason: str, message: str, family: type[BertlineError], word: str
) -> None:
    store = GoogleCloudStore(BUCKET, "p", patience_s=0.2, timeout_s=(1, 1))
    errors = [{"message": message, "domain": "global", "reason": reason}]
    content = json.dumps({"error": {"code": status, "message": message, "errors": errors}}).encode()
    gs_proxy.always(lambda request: request.answer(status, content, {"Content-Type": "application/json"}))
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
        assert ("no permission" in str(caught.value)) == (reason == "forbidden")
    close(store)


@pytest.mark.parametrize(
    ("said", "family", "word"),
    [
        (
            "invalid_grant: Invalid JWT: Token must be a short-lived token and in a reasonable timeframe.",
            OutageError,
            "clock",
        ),
        ("invalid_grant: Token has been expired or revoked.", UserError, "session .* has ended"),
        ("Reauthentication is needed. Please run `gcloud auth application-default login`", UserError, "has ended"),
        ("deleted_client: The OAuth client was deleted.", UserError, "aren't accepted"),
    ],
)
def test_why_signing_in_failed_is_told(said: str, family: type[BertlineError], word: str) -> None:
    store = GoogleCloudStore(BUCKET, "p")
    with pytest.raises(BertlineError, match=word) as caught, store._sentences("a"):
        raise auth.RefreshError(said)
    assert type(caught.value) is family


def test_nobody_listening_is_transient(monkeypatch: pytest.MonkeyPatch, close: Any) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    store = GoogleCloudStore(BUCKET, "p", patience_s=0.2, timeout_s=(1, 1))
    with pytest.raises(TransientError, match="can't reach gs://bertline-tests/p/a now"):
        store.get("a")
    close(store)


def test_a_silent_service_is_transient(gs_proxy: Any, close: Any) -> None:
    silence = threading.Event()
    gs_proxy.always(lambda request: silence.wait(20) and request.cut())
    store = GoogleCloudStore(BUCKET, "p", patience_s=0.2, timeout_s=(1, 0.3))
    with pytest.raises(TransientError, match=r"can't reach .*timed out"):
        store.get("a")
    silence.set()
    close(store)


def test_a_missing_bucket_is_the_users_mistake(
    emulator: str, monkeypatch: pytest.MonkeyPatch, close: Any, tmp_path: Path
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    store = GoogleCloudStore("no-such-bucket", "p")
    (tmp_path / "file").write_bytes(b"1")
    for call in (
        lambda: store.get("a"),
        lambda: store.stat("a"),
        lambda: store.put("a", b""),
        lambda: store.create("a", b""),
        lambda: list(store.list("")),
        lambda: store.upload(tmp_path / "file", "a"),
        lambda: store.download("a", tmp_path / "target"),
    ):
        with pytest.raises(UserError, match="bucket 'no-such-bucket' doesn't exist; create it with `gcloud"):
            call()
    close(store)


def test_whether_the_bucket_is_there_is_asked_once(store: GoogleCloudStore, gs_proxy: Any) -> None:
    for name in ("a", "b", "c"):
        with pytest.raises(NotFoundError):
            store.get(name)
    assert len(gs_proxy.requests) == 4


def test_no_credentials_are_told_before_any_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # GIVEN a machine without credentials, and without the metadata server of Google's own machines
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    with pytest.raises(UserError, match=r"no credentials for gs://bertline-tests/p: run `gcloud auth"):
        GoogleCloudStore(BUCKET, "p").get("a")


def test_an_impossible_bucket_name_is_the_users_mistake(gs_uri: str) -> None:
    with pytest.raises(UserError, match="was refused: Bucket names must start and end"):
        GoogleCloudStore("-", "p").get("a")


def test_a_cut_upload_goes_on_where_it_was(store: GoogleCloudStore, gs_proxy: Any, tmp_path: Path) -> None:
    # GIVEN a file of 40 chunks, and a connection that is cut in its middle (before the chunk arrives, and after)
    content = bytes(range(256)) * (40 << 10)
    (tmp_path / "source").write_bytes(content)
    turn = iter(range(1000))

    def fault(request: Any) -> bool:
        if request.command == "PUT" and next(turn) in (15, 30):
            request.cut()
            return True
        return False

    gs_proxy.faults.append(fault)
    moved: list[int] = []
    store.upload(tmp_path / "source", "big", moved.append)
    # THEN the file is whole, and only the cut chunks were sent again
    assert store.get("big")[0] == content
    assert sum(moved) == len(content)
    assert gs_proxy.count("PUT") <= 44


def test_a_cut_download_goes_on_where_it_was(store: GoogleCloudStore, gs_proxy: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * (12 << 10)
    (tmp_path / "source").write_bytes(content)
    store.upload(tmp_path / "source", "big")
    turn = iter(range(1000))

    def fault(request: Any) -> bool:
        if "alt=media" in request.path and next(turn) in (3, 7):
            request.cut()
            return True
        return False

    gs_proxy.faults.append(fault)
    moved: list[int] = []
    store.download("big", tmp_path / "target", moved.append)
    assert (tmp_path / "target").read_bytes() == content
    assert sum(moved) == len(content)
