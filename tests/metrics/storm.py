"""A thousand scrapers at once. Not a test: the tests start it.

Usage: storm.py PORT. Says when all have begun, and at the end how many answers were complete.
"""

import selectors
import socket
import sys
import time

CLIENTS = 1000
SECONDS = 2.5
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n"


def storm(port):
    """Each asks and reads to the end, again and again; how many were answered."""
    selector, answered, until = selectors.DefaultSelector(), 0, time.monotonic() + SECONDS

    def begin():
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        selector.register(connection, selectors.EVENT_WRITE, bytearray())

    for _ in range(CLIENTS):
        begin()
    print("begun", flush=True)  # noqa: T201
    while time.monotonic() < until:
        for key, events in selector.select(0.05):
            connection, read = key.fileobj, key.data
            try:
                if events & selectors.EVENT_WRITE:
                    connection.send(REQUEST)
                    selector.modify(connection, selectors.EVENT_READ, read)
                    continue
                part = connection.recv(1 << 16)
                read += part
                if part:
                    continue
                answered += read.startswith(b"HTTP/1.0 200 OK") and b"bertline_training_steps_total" in read
            except OSError:
                pass
            selector.unregister(connection)
            connection.close()
            begin()
    return answered


if __name__ == "__main__":
    print(storm(int(sys.argv[1])))  # noqa: T201
