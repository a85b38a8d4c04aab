"""Three stores that keep one contract: a directory, and buckets of the real fake-gcs-server and the real SeaweedFS."""

import contextlib
import gc
import http.client
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bertline.store.backends import connect
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Realization, realize
from support.number_builds import ASKED, build
from support.seaweed import close_store, s3_uri, seaweed, set_environment

__all__ = ["s3_uri", "seaweed"]


def pytest_configure(config: pytest.Config) -> None:
    # TensorFlow brings grpcio without grpcio-status, and google-api-core remarks on it. Storage speaks HTTP, not gRPC.
    config.addinivalue_line("filterwarnings", "ignore:Please install grpcio-status:ImportWarning")


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without anything of AWS's."""
    set_environment(monkeypatch, None)


@pytest.fixture(params=["file", "gs", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URI of an empty store, of each kind."""
    return (
        (tmp_path / "a store").as_uri() if request.param == "file" else request.getfixturevalue(f"{request.param}_uri")
    )


@pytest.fixture
def store(uri: str) -> Iterator[ObjectStore]:
    """An empty store, of each kind."""
    store = connect(uri)
    yield store
    close_store(store)


@pytest.fixture
def made(store: ObjectStore) -> Realization:
    """A result in it."""
    return realize(store, ASKED, build)


@pytest.fixture
def directory(tmp_path: Path) -> ObjectStore:
    """An empty store on disk, for what doesn't depend on the kind."""
    return connect(str(tmp_path / "store"))


@pytest.fixture
def close() -> Callable[[ObjectStore], None]:
    """Ends a store's connections; those left open are told of in a test of somebody else."""
    return close_store


class Request(http.server.BaseHTTPRequestHandler):
    """Passes a request on, unless the proxy's next fault wants it."""

    protocol_version = "HTTP/1.1"

    def forward(self) -> tuple[int, dict[str, str], bytes]:
        """What the server answers."""
        server: Any = self.server
        upstream = urlsplit(server.upstream)
        connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port)
        dropped = {"host"} if server.replaces_host else set()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
        connection.request(self.command, self.path, self.body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        answered = {
            name: value.replace(server.upstream, server.url)
            for name, value in response.getheaders()
            if name.lower() not in ("transfer-encoding", "connection")
        }
        return response.status, answered, content

    def pass_on(self, *, answer: bool = True, share: float = 1.0) -> None:
        """Forward it, and give the answer, none of it, or the first part of it."""
        status, headers, content = self.forward()
        if not answer:
            self.cut()
            return
        self.answer(status, content[: int(len(content) * share)], headers)
        if share < 1:
            self.cut()

    def cut(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()

    def answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        headers = {"Content-Length": str(len(content))} | (headers or {})
        self.send_response_only(status)  # as the server that we stand for
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def handle_request(self) -> None:
        server: Any = self.server
        self.was_there = self.path in server.written  # when the headers came, which may be long before the body
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        server.requests.append((self.command, self.path))
        if not any(fault(self) for fault in list(server.faults)):
            self.pass_on()
        if self.command == "PUT":
            server.written.add(self.path)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    def log_message(self, *_: Any) -> None:
        pass


Fault = Callable[[Request], bool]
"""Looks at a request; True if it dealt with it."""


class Proxy(http.server.ThreadingHTTPServer):
    """Stands before a server, and does what networks and services do."""

    daemon_threads = True

    def __init__(self, upstream: str, *, replaces_host: bool) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.upstream, self.url = upstream, f"http://127.0.0.1:{self.server_port}"
        self.replaces_host = replaces_host
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        """Method and path."""
        self.written: set[str] = set()

    def handle_error(self, *_: Any) -> None:
        """A cut connection is what we wanted."""

    def count(self, method: str) -> int:
        return [found for found, _ in self.requests].count(method)

    def times(self, count: int, method: str, deed: Callable[[Request], object]) -> None:
        """Do it to the next `count` requests of a method."""
        left = [count]

        def fault(request: Request) -> bool:
            if request.command != method or left[0] == 0:
                return False
            left[0] -= 1
            deed(request)
            return True

        self.faults.append(fault)

    def always(self, deed: Callable[[Request], object]) -> None:
        """Do it to every request."""
        self.faults.append(lambda request: deed(request) is None or True)


@contextlib.contextmanager
def _serving(proxy: Proxy) -> Iterator[Proxy]:
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield proxy
    gc.collect()  # what is to be said about sockets is said here, and not in a test of somebody else
    proxy.shutdown()
    proxy.server_close()
    thread.join()


@pytest.fixture
def gs_proxy(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before fake-gcs-server, where the environment leads to."""
    with _serving(Proxy(emulator, replaces_host=True)) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def s3_proxy(seaweed: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """A proxy before SeaweedFS, where the environment leads to."""
    with _serving(Proxy(seaweed, replaces_host=False)) as proxy:  # S3 signs the host's name
        set_environment(monkeypatch, proxy.url)
        yield proxy
