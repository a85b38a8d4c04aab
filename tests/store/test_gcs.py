"""What goes wrong with a bucket. A proxy stands before the emulator and does what networks and services do."""

import gc
import http.client
import http.server
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bertline.errors import BertlineError, TransientError, UserError
from bertline.store.gcs import GoogleCloudStore
from bertline.store.objects import ConflictError, NotFoundError

BUCKET = "bertline-tests"
# After the last try the client forgets the answer, which it never read, together with its socket.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

Fault = Callable[["Proxy"], bool]
"""Looks at a request; True if it dealt with it."""


class Proxy(http.server.BaseHTTPRequestHandler):
    """Passes requests on, unless the server's next fault wants them."""

    protocol_version = "HTTP/1.1"

    def pass_on(self, *, answer: bool = True) -> None:
        server: Any = self.server
        upstream = urlsplit(server.upstream)
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port)
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        connection.request(self.command, self.path, self.body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if not answer:
            self.cut()
            return
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value.replace(server.upstream, f"http://127.0.0.1:{server.server_port}"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def answer(self, status: int, content: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def handle_request(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server: Any = self.server
        server.requests.append((self.command, self.path))
        if not any(fault(self) for fault in list(server.faults)):
            self.pass_on()

    do_GET = do_POST = do_PUT = do_DELETE = handle_request

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxy(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # a cut connection is what we wanted
    server.upstream, server.faults, server.requests = emulator, [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    yield server
    gc.collect()  # what is to be said about sockets is said here, and not in a test of somebody else
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def store(proxy: Any) -> Iterator[GoogleCloudStore]:
    store = GoogleCloudStore(BUCKET, uuid.uuid4().hex, patience_s=5, timeout_s=(1, 1), chunk=1 << 18)
    yield store
    _close(store)


def times(count: int, method: str, deed: Callable[[Proxy], object]) -> Fault:
    """Do it to the first `count` requests of a method."""
    left = [count]

    def fault(request: Proxy) -> bool:
        if request.command != method or left[0] == 0:
            return False
        left[0] -= 1
        deed(request)
        return True

    return fault


def test_a_create_whose_answer_was_lost_has_been_made(store: GoogleCloudStore, proxy: Any) -> None:
    # GIVEN that the object is written, and the connection cut before the answer: the client tries again and gets 412
    proxy.faults.append(times(1, "POST", lambda request: request.pass_on(answer=False)))
    # WHEN it is created, THEN that is a success,
    version = store.create("manifest.json", b"mine")
    assert [method for method, _ in proxy.requests].count("POST") == 2
    assert store.get("manifest.json") == (b"mine", version)
    # AND for everybody else it is there already, even with the same content.
    with pytest.raises(ConflictError):
        store.create("manifest.json", b"mine")


def test_a_replace_whose_answer_was_lost_has_been_made(store: GoogleCloudStore, proxy: Any) -> None:
    version = store.create("lease.json", b"1")
    proxy.faults.append(times(1, "POST", lambda request: request.pass_on(answer=False)))
    version = store.replace("lease.json", b"2", version)
    assert store.replace("lease.json", b"3", version) != version


def test_a_service_that_stumbles_is_asked_again(store: GoogleCloudStore, proxy: Any) -> None:
    proxy.faults += [times(1, "POST", lambda request: request.answer(503)), times(1, "GET", Proxy.cut)]
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
    proxy: Any, operation: str, status: int, family: type[BertlineError], sentence: str
) -> None:
    store = GoogleCloudStore(BUCKET, "p", patience_s=0.2, timeout_s=(1, 1))
    proxy.faults.append(lambda request: request.answer(status) is None)
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
    _close(store)


def test_nobody_listening_is_transient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    store = GoogleCloudStore(BUCKET, "p", patience_s=0.2, timeout_s=(1, 1))
    with pytest.raises(TransientError, match="can't reach gs://bertline-tests/p/a now"):
        store.get("a")
    _close(store)


def test_a_silent_service_is_transient(proxy: Any) -> None:
    silence = threading.Event()
    proxy.faults.append(lambda request: silence.wait(20) is None or request.cut() is None)
    store = GoogleCloudStore(BUCKET, "p", patience_s=0.2, timeout_s=(1, 0.3))
    with pytest.raises(TransientError, match=r"can't reach .*timed out"):
        store.get("a")
    silence.set()
    _close(store)


def test_a_missing_bucket_is_the_users_mistake(emulator: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
    _close(store)


def test_whether_the_bucket_is_there_is_asked_once(store: GoogleCloudStore, proxy: Any) -> None:
    for name in ("a", "b", "c"):
        with pytest.raises(NotFoundError):
            store.get(name)
    assert len(proxy.requests) == 4


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


def test_a_cut_upload_goes_on_where_it_was(store: GoogleCloudStore, proxy: Any, tmp_path: Path) -> None:
    # GIVEN a file of 40 chunks, and a connection that is cut in its middle (before the chunk arrives, and after)
    content = bytes(range(256)) * (40 << 10)
    (tmp_path / "source").write_bytes(content)
    turn = iter(range(1000))

    def fault(request: Proxy) -> bool:
        if request.command == "PUT" and next(turn) in (15, 30):
            request.cut()
            return True
        return False

    proxy.faults.append(fault)
    moved: list[int] = []
    store.upload(tmp_path / "source", "big", moved.append)
    # THEN the file is whole, and only the cut chunks were sent again
    assert store.get("big")[0] == content
    assert sum(moved) == len(content)
    assert [method for method, _ in proxy.requests].count("PUT") <= 44


def test_a_cut_download_goes_on_where_it_was(store: GoogleCloudStore, proxy: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * (12 << 10)
    (tmp_path / "source").write_bytes(content)
    store.upload(tmp_path / "source", "big")
    turn = iter(range(1000))

    def fault(request: Proxy) -> bool:
        if "alt=media" in request.path and next(turn) in (3, 7):
            request.cut()
            return True
        return False

    proxy.faults.append(fault)
    moved: list[int] = []
    store.download("big", tmp_path / "target", moved.append)
    assert (tmp_path / "target").read_bytes() == content
    assert sum(moved) == len(content)


def _close(store: GoogleCloudStore) -> None:
    if store._connected:
        store._connected[1].client.close()
