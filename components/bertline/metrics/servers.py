"""HTTP for metrics and health: prometheus_client's WSGI app with /healthz beside it, on a few threads.

Any number of clients costs training little: `THREADS` clients are served at a time, one more is accepted every
`PAUSE_S` and closed after `DEADLINE_S`, and a page of metrics is made at most once in `FRESH_S`. Other clients wait in
the kernel's queue, which costs nothing.
"""

import contextlib
import io
import json
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bertline.metrics.gauges import Gauges

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

THREADS = 16
DEADLINE_S = 5.0
PAUSE_S = 0.01
FRESH_S = 1.0
LOOK_S = 0.05
"""Seconds between two checks whether a page was sent."""
QUEUE = 128


@dataclass(frozen=True)
class Page:
    """The answer to one request."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    made_at: float | None = None
    """When the metrics were made, by the monotonic clock; None for other pages."""


class Pages:
    """The WSGI app: `/metrics`, as text or as OpenMetrics, and `/healthz`."""

    def __init__(self, registry: Collector, find: Callable[[], Gauges | None]) -> None:
        self._app, self._find = make_wsgi_app(registry, disable_compression=True), find
        self._lock = threading.Lock()
        self._made: dict[str, Page] = {}
        """Content type → page."""
        self._seen_at: float | None = None
        """When the newest sent metrics were made; None if none were sent."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterator[bytes]:
        """Answer one request."""
        try:
            page = self._page(environ)
        except Exception as error:  # noqa: BLE001 - no error of a page may end server or training
            page = _page("500 Internal Server Error", "text/plain; charset=utf-8", f"{error!r}\n".encode())
        start_response(page.status, [*page.headers, ("Content-Length", str(len(page.body)))])
        yield page.body
        # The server asks for the next part after it has sent this one.
        if page.made_at is not None:
            self._seen_at = max(page.made_at, self._seen_at or page.made_at)

    def wait_until_seen(self, seconds: float, told: threading.Event) -> None:
        """Wait until the current metrics were scraped; returns at once if no metrics were ever scraped.

        Args:
            seconds: Wait so long at most.
            told: Ends the wait.
        """
        now = time.monotonic()
        self._made = {}  # forget older pages
        while self._seen_at is not None and self._seen_at < now and time.monotonic() < now + seconds:
            if told.wait(LOOK_S):
                return

    def _page(self, environ: "WSGIEnvironment") -> Page:
        path = environ["PATH_INFO"]
        if path == "/healthz":
            return self._health()
        if path != "/metrics":
            return _page("404 Not Found", "text/plain; charset=utf-8", b"/metrics and /healthz are here\n")
        if environ["REQUEST_METHOD"] != "GET":
            return self._metrics(environ)
        kind = choose_encoder(environ.get("HTTP_ACCEPT", ""))[1]
        with self._lock:
            made = self._made.get(kind)
            if made is None or made.made_at is None or time.monotonic() - made.made_at > FRESH_S:
                made = self._made[kind] = self._metrics(environ | {"QUERY_STRING": ""}, time.monotonic())
            return made

    def _metrics(self, environ: "WSGIEnvironment", made_at: float | None = None) -> Page:
        """The answer of prometheus_client."""
        heads: list[tuple[str, list[tuple[str, str]]]] = []
        body = b"".join(self._app(environ, lambda status, headers: heads.append((status, headers))))
        ((status, headers),) = heads
        return Page(status, tuple(headers), body, made_at)

    def _health(self) -> Page:
        now = self._find()
        document: dict[str, object] = {"status": "ok"}
        stalled = False
        if now is not None:
            stalled = now.stalled
            document = {
                "status": "stalled" if stalled else "ok",
                "phase": now.phase,
                "step": now.step,
                "inactive_s": round(now.inactive_s, 3),
                "stall_limit_s": round(now.stall_limit_s, 3),
            }
        status = "503 Service Unavailable" if stalled else "200 OK"
        return _page(status, "application/json", json.dumps(document).encode() + b"\n")


def _page(status: str, kind: str, body: bytes) -> Page:
    return Page(status, (("Content-Type", kind),), body)


class Server(WSGIServer):
    """Listens from its creation; raises OSError if it can't."""

    request_queue_size = QUEUE

    def __init__(self, host: str, port: int, app: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.set_app(app)
        self.port: int = self.server_port
        self._accepting, self._closed = threading.Lock(), False
        self._threads = [threading.Thread(target=self._serve, name="metrics", daemon=True) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def server_bind(self) -> None:
        """Bind without looking up this machine's name."""
        socketserver.TCPServer.server_bind(self)
        host, self.server_port = self.server_address[:2]
        self.server_name = str(host)
        self.setup_environ()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        self.socket.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        for thread in self._threads:
            thread.join()
        self.server_close()

    def _serve(self) -> None:
        """Serve one client after the other; runs in each thread."""
        while True:
            with self._accepting:
                if self._closed:
                    return
                try:
                    connection, address = self.get_request()
                except OSError:  # the client has left, or this process has too many open files
                    continue
                finally:
                    time.sleep(PAUSE_S)
            with contextlib.suppress(Exception):  # an error of a client must not affect others
                self.finish_request(connection, address)
            self.shutdown_request(connection)


class _Handler(WSGIRequestHandler):
    """Handles one request; writes nothing into the task's log."""

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BufferedReader(_Received(self.connection))

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Received(io.RawIOBase):
    """The bytes that a client sends within `DEADLINE_S`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._until = connection, time.monotonic() + DEADLINE_S

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(max(0.001, self._until - time.monotonic()))
        return self._connection.recv_into(buffer)
