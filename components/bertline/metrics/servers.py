"""HTTP for metrics and health: one thread, and never more work than training can spare.

Connections are served by an event loop, so a client that reads or writes a byte a minute holds up nobody, and its time
is over after `DEADLINE_S`. They are accepted one every `PAUSE_S`, at most `CONNECTIONS` at a time; whoever comes in a
storm waits in the kernel's queue, which costs nothing here. A page is made at most once a second.
"""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from bertline.metrics.gauges import Gauges

CONNECTIONS = 64
DEADLINE_S = 5.0
PAUSE_S = 0.01
FRESH_S = 1.0
LOOK_S = 0.05
"""Between two looks whether a page was sent."""
REQUEST_BYTES = 1 << 13
QUEUE = 128


@dataclass(frozen=True)
class Answer:
    """To one request."""

    status: str
    kind: str
    body: bytes
    made_at: float | None = None
    """Of metrics: when, on the monotonic clock."""

    def content(self, *, head: bool) -> bytes:
        """As it goes over the wire."""
        header = (
            f"HTTP/1.1 {self.status}\r\nContent-Type: {self.kind}\r\nContent-Length: {len(self.body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return header.encode() + (b"" if head else self.body)


class Pages:
    """`/metrics`, as text or as OpenMetrics, and `/healthz`."""

    def __init__(self, registry: Collector, find: Callable[[], Gauges | None]) -> None:
        self._registry, self._find = registry, find
        self._made: dict[str, Answer] = {}
        self._seen_at: float | None = None
        """When the newest metrics that somebody has were made; None if nobody has any."""

    def answer(self, path: str, accept: str) -> Answer:
        """A page by its path."""
        match path.partition("?")[0]:
            case "/metrics":
                return self._metrics(accept)
            case "/healthz":
                return self._health()
            case _:
                return Answer("404 Not Found", "text/plain; charset=utf-8", b"/metrics and /healthz are here\n")

    def sent(self, answer: Answer) -> None:
        """Note that somebody has it."""
        if answer.made_at is not None:
            self._seen_at = max(answer.made_at, self._seen_at or answer.made_at)

    def wait_until_seen(self, seconds: float, told: threading.Event) -> None:
        """Until somebody has the metrics as they are now; not at all if nobody ever had any.

        Args:
            seconds: At most.
            told: Ends it.
        """
        now = time.monotonic()
        self._made = {}  # what was made before isn't what is wanted
        while self._seen_at is not None and self._seen_at < now and time.monotonic() < now + seconds:
            if told.wait(LOOK_S):
                return

    def _metrics(self, accept: str) -> Answer:
        encode, kind = choose_encoder(accept)
        answer, now = self._made.get(kind), time.monotonic()
        if answer is None or answer.made_at is None or now - answer.made_at > FRESH_S:
            answer = self._made[kind] = Answer("200 OK", kind, encode(self._registry), now)
        return answer

    def _health(self) -> Answer:
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
        return Answer(status, "application/json", json.dumps(document).encode() + b"\n")


class Server:
    """Listens as soon as it is made. Raises OSError if it can't."""

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self._pages = pages
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=QUEUE)
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._serving = self._loop.create_task(self._serve())
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._serving.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._serving)
        self._loop.close()

    async def _serve(self) -> None:
        slots = asyncio.Semaphore(CONNECTIONS)
        with self._socket:
            async with asyncio.TaskGroup() as group:
                while True:
                    await slots.acquire()
                    try:
                        connection, _ = await self._loop.sock_accept(self._socket)
                    except OSError:  # it is gone already, or this process has too many files open
                        slots.release()
                    else:
                        task = group.create_task(self._attend(connection))
                        task.add_done_callback(lambda _: slots.release())
                    await asyncio.sleep(PAUSE_S)

    async def _attend(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(Exception):  # a client's trouble is its own
            connection.setblocking(False)
            async with asyncio.timeout(DEADLINE_S):
                request = await self._request(connection)
                if request:
                    answer, content = self._respond(request)
                    await self._loop.sock_sendall(connection, content)
                    self._pages.sent(answer)

    async def _request(self, connection: socket.socket) -> bytes:
        """Up to the empty line; nothing if it doesn't come."""
        read = b""
        while b"\r\n\r\n" not in read:
            part = await self._loop.sock_recv(connection, REQUEST_BYTES)
            read += part
            if not part or len(read) > REQUEST_BYTES:
                return b""
        return read

    def _respond(self, request: bytes) -> tuple[Answer, bytes]:
        """The answer, and as it goes over the wire."""
        line, *headers = request.decode("latin-1").split("\r\n")
        method, path, *_ = [*line.split(" "), "", ""]
        fields = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in headers)}
        if method not in ("GET", "HEAD"):
            answer = Answer("405 Method Not Allowed", "text/plain; charset=utf-8", b"GET only\n")
            return answer, answer.content(head=False)
        try:
            answer = self._pages.answer(path, fields.get("accept", ""))
        except Exception as error:  # noqa: BLE001 - a page that can't be made ends neither server nor training
            answer = Answer("500 Internal Server Error", "text/plain; charset=utf-8", f"{error!r}\n".encode())
        if method == "HEAD":  # who asks for that has no metrics
            answer = replace(answer, made_at=None)
        return answer, answer.content(head=method == "HEAD")
