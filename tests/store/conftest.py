"""Three stores that keep one contract: a directory, and buckets of the real fake-gcs-server and the real SeaweedFS."""

import contextlib
import gc
import http.client
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from bertline.store.backends import connect
from bertline.store.objects import ObjectStore
from bertline.store.realizations import Realization, realize
from support.number_builds import ASKED, build

BUCKET = "bertline-tests"
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}


def pytest_configure(config: pytest.Config) -> None:
    # TensorFlow brings grpcio without grpcio-status, and google-api-core remarks on it. Storage speaks HTTP, not gRPC.
    config.addinivalue_line("filterwarnings", "ignore:Please install grpcio-status:ImportWarning")


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running SeaweedFS with one bucket."""
    directory = tmp_path_factory.mktemp("seaweed")
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
    services = ["master", "volume", "filer", "s3", "admin"]
    http_ports, grpc_ports = _free_ports(len(services)), _free_ports(len(services))
    ports = dict(zip(services, http_ports, strict=True))
    sockets = [f"-{service}.localSocket={directory / service}.sock" for service in ("filer", "s3")]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                Path(sys.executable).with_name("weed"),
                "mini",
                f"-dir={directory}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
                *(f"-{service}.port={port}" for service, port in ports.items()),
                *(f"-{service}.port.grpc={port}" for service, port in zip(services, grpc_ports, strict=True)),
                *sockets,
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.config={directory / 's3.json'}",
                "-s3.autoCreateBucket=false",
                f"-bucket={BUCKET}",
                "-admin.ui=false",
                "-webdav=false",
                "-master.telemetry=false",
            ],
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{ports['s3']}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            _set_environment(patch, url)
            _wait_for_the_bucket(process, directory / "log")
        yield url
    finally:
        process.kill()  # its data goes as well
        process.wait(20)
        for port in grpc_ports:  # it makes them there, whatever its flags, and leaves them
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait_for_the_bucket(process: subprocess.Popen[bytes], log: Path) -> None:
    from bertline.errors import BertlineError
    from bertline.store.s3 import S3Store

    for _ in range(300):
        assert process.poll() is None, f"SeaweedFS ended at once: {log.read_text()}"
        store = S3Store(BUCKET, "", attempts=1)
        try:
            list(store.list(""))
            return
        except BertlineError:
            time.sleep(0.1)
        finally:
            _close(store)
    raise AssertionError(f"SeaweedFS doesn't answer: {log.read_text()}")


def _set_environment(patch: pytest.MonkeyPatch, url: str | None) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):  # of whoever runs the tests
        patch.setenv(name, os.devnull)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if url is not None:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": url}.items():
            patch.setenv(name, value)


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without anything of AWS's."""
    _set_environment(monkeypatch, None)


@pytest.fixture
def s3_uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh prefix in SeaweedFS's bucket."""
    _set_environment(monkeypatch, request.getfixturevalue("seaweed"))
    return f"s3://{BUCKET}/{uuid.uuid4().hex}"


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
    _close(store)


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
    return _close


def _close(store: ObjectStore) -> None:
    if hasty := getattr(store, "_hasty", None):
        _close(hasty)
    connected = getattr(store, "_connected", None)
    if connected:
        getattr(connected[1], "client", connected[1]).close()  # of a bucket, or itself


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
        _set_environment(monkeypatch, proxy.url)
        yield proxy
