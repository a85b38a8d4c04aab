"""Stands between a client and a server, byte by byte, and is an outage when it is told to."""

import contextlib
import select
import socket
import threading


class TcpProxy:
    """Passes connections on to a port of this machine.

    cut()       nobody listens any more, and connections are broken off
    hang()      connections are accepted, and nothing is ever answered, on the old ones neither
    restore()   as if nothing had been
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._hangs = False
        self.port = 0
        self.restore()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def restore(self) -> None:
        self._hangs = False
        self._break_off()  # what hung is lost
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind(("127.0.0.1", self.port))
            self.port = self._listener.getsockname()[1]
            self._listener.listen(100)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            self._listener.close()
            self._listener = None
        self._break_off()

    def hang(self) -> None:
        self._hangs = True

    def close(self) -> None:
        self.cut()

    def _break_off(self) -> None:
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._upstream))
            with self._lock:
                self._open += [client, server]
            threading.Thread(target=self._pass_on, args=(client, server), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with contextlib.suppress(OSError, ValueError):
            while True:
                for ready in select.select([client, server], [], [], 0.2)[0]:
                    if self._hangs:
                        threading.Event().wait(0.1)
                        continue
                    data = ready.recv(1 << 16)
                    if not data:
                        raise OSError
                    other[ready].sendall(data)
        for each in (client, server):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
