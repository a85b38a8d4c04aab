"""A web server that misbehaves as told: bytes on a real socket, request by request."""

import contextlib
import email.message
import email.parser
import email.utils
import socketserver
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO


@dataclass
class Request:
    method: str
    path: str
    headers: email.message.Message

    @property
    def range(self) -> tuple[int, int | None]:
        """The first byte that is asked for, and the one after the last; all without a range."""
        begin, _, last = self.headers.get("Range", "bytes=0-")[6:].partition("-")
        return int(begin), int(last) + 1 if last else None

    @property
    def begin(self) -> int:
        """Where the range begins; 0 without one."""
        return self.range[0]


Answer = Callable[[Request, BinaryIO], None]


class WebServer:
    """`answers[path]` are given one a request, the last one again and again; other paths are 404."""

    def __init__(self, certificate: str | None = None) -> None:
        self.requests: list[Request] = []
        self.sent: dict[str, int] = {}
        """Bytes of bodies, by path."""
        self.answers: dict[str, list[Answer]] = {}
        web = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    web._serve(self.rfile, self.wfile)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

            def get_request(self):
                connection, address = super().get_request()
                if certificate:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    context.load_cert_chain(certificate)
                    connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                return connection, address

            def handle_error(self, request, client_address):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, reader: BinaryIO, writer: BinaryIO) -> None:
        """One request a connection: every answer ends by closing it."""
        line = reader.readline().decode("latin-1").split()
        if len(line) < 2:
            return
        head = b""
        while (more := reader.readline()) not in (b"\r\n", b""):
            head += more
        request = Request(line[0], line[1], email.parser.Parser().parsestr(head.decode("latin-1")))
        self.requests.append(request)
        left = self.answers.get(request.path, [status(404)])
        (left.pop(0) if len(left) > 1 else left[0])(request, _Counting(writer, self.sent, request.path))


class _Counting:
    """A writer that counts what is written after the head."""

    def __init__(self, writer: BinaryIO, sent: dict[str, int], path: str) -> None:
        self._writer, self._sent, self._path = writer, sent, path
        self._is_head = True

    def write(self, content: bytes) -> None:
        self._writer.write(content)
        if not self._is_head:
            self._sent[self._path] = self._sent.get(self._path, 0) + len(content)
        self._is_head = False


def _head(writer: BinaryIO, code: int, headers: dict[str, str], version: str = "1.1") -> None:
    dated = {"Date": email.utils.formatdate(usegmt=True), "Connection": "close"} | headers
    lines = [f"HTTP/{version} {code} Said", *(f"{name}: {value}" for name, value in dated.items())]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def status(code: int, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request, writer: _head(writer, code, {"Content-Length": "0"} | named)


def raw(content: bytes) -> Answer:
    def answer(request: Request, writer: BinaryIO) -> None:
        writer.write(content)

    return answer


def file(
    content: bytes,
    *,
    breaks_after: int | None = None,
    ranges: str = "proper",
    pause_s: float = 0.0,
    most: int | None = None,
    **headers: str,
) -> Answer:
    """A file with its length.

    Args:
        content: The file.
        breaks_after: Bytes of the answer's body, after which the connection ends.
        ranges: "proper": with If-Range and If-Match; "if-range": without the latter; "careless": a part in any case;
            "none": always the whole.
        pause_s: Before the body.
        most: Bytes of a part at most, though more was asked for.
        **headers: Such as ETag and Last_Modified.
    """
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(request: Request, writer: BinaryIO) -> None:
        states = (named.get("ETag"), named.get("Last-Modified"))
        must = request.headers.get("If-Match") or request.headers.get("If-Unmodified-Since")
        if ranges == "proper" and must and must not in states:
            _head(writer, 412, {"Content-Length": "0"})
            return
        condition = request.headers.get("If-Range")
        is_part = "Range" in request.headers and ranges != "none"
        if ranges in ("proper", "if-range") and condition and condition not in states:
            is_part = False
        begin, end = request.range if is_part else (0, None)
        if is_part and begin >= len(content):
            _head(writer, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        body = content[begin:end]
        if is_part:
            body = body[:most]
        part = {"Content-Range": f"bytes {begin}-{begin + len(body) - 1}/{len(content)}"} if is_part else {}
        _head(writer, 206 if is_part else 200, {"Content-Length": str(len(body))} | part | named)
        time.sleep(pause_s)
        writer.write(body[:breaks_after])

    return answer


def without_length(content: bytes) -> Answer:
    """HTTP/1.0, ended by closing."""

    def answer(request: Request, writer: BinaryIO) -> None:
        _head(writer, 200, {}, version="1.0")
        writer.write(content)

    return answer


def chunked(content: bytes, *, breaks_after: int | None = None, **headers: str) -> Answer:
    """In chunks of 1,000 bytes; broken off: within a chunk, or between two, if it is a multiple of 1,000."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(request: Request, writer: BinaryIO) -> None:
        _head(writer, 200, {"Transfer-Encoding": "chunked"} | named)
        sent = content[:breaks_after]
        for begin in range(0, len(sent), 1000):
            chunk, size = sent[begin : begin + 1000], len(content[begin : begin + 1000])
            writer.write(b"%x\r\n" % size + chunk + (b"\r\n" if len(chunk) == size else b""))
        if breaks_after is None:
            writer.write(b"0\r\n\r\n")

    return answer


def slowly(content: bytes, pause_s: float) -> Answer:
    """A byte, a pause, the rest."""

    def answer(request: Request, writer: BinaryIO) -> None:
        _head(writer, 200, {"Content-Length": str(len(content))})
        writer.write(content[:1])
        time.sleep(pause_s)
        writer.write(content[1:])

    return answer
