"""Whatever clients do, training doesn't notice."""

import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from bertline.metrics import servers
from bertline.metrics.gauges import Gauges, Labels
from support import scrapes

STORM = Path(__file__).with_name("storm.py")
REQUEST = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n"


@pytest.fixture
def server(monkeypatch):
    """In this process, impatient; its `made` counts the pages that were made."""
    monkeypatch.setattr(servers, "DEADLINE_S", 0.5)
    gauges = Gauges(Labels("test", "6L", "6L", "pretrain", "10"), "0" * 64)
    registry = Counting()
    made = servers.Server("127.0.0.1", 0, servers.Pages(registry, lambda: gauges))
    made.url, made.registry = f"http://127.0.0.1:{made.port}", registry
    yield made
    made.close()


class Counting(CollectorRegistry):
    made = 0

    def collect(self):
        self.made += 1
        return super().collect()


def connect(server, content=b""):
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(content)
    return connection


def test_clients_that_say_nothing_or_a_byte_a_minute_are_hung_up_on(server):
    """Twice as many as there may be connections: the next one is served all the same."""
    slow = [connect(server, b"GET /met"[: number % 8]) for number in range(2 * servers.THREADS)]
    assert scrapes.get(server.url)[0] == 200
    for connection in slow:
        with connection:
            assert connection.recv(1) == b""


def test_a_client_that_doesnt_read_holds_up_nobody(server):
    silent = [connect(server, REQUEST) for _ in range(servers.THREADS)]
    assert scrapes.get(server.url)[0] == 200
    for connection in silent:
        connection.close()


def test_clients_that_are_killed_in_the_middle(server):
    for content in (b"", b"GET", REQUEST):
        for _ in range(10):
            connection = connect(server, content)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, as by kill -9
            connection.close()
    assert scrapes.get(server.url)[0] == 200


def test_a_page_is_made_once_a_second(server):
    began = time.monotonic()
    for _ in range(20):
        assert scrapes.get(server.url)[0] == 200
    assert 1 <= server.registry.made <= 2 + (time.monotonic() - began) / servers.FRESH_S


@pytest.mark.parametrize("path", ["/", "/metrics/x", "/favicon.ico"])
def test_other_pages_arent_there(server, path):
    assert scrapes.get(server.url, path)[0] == 404


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", b"405"),
        (b"OPTIONS /metrics HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /metrics?name[]=up HTTP/1.1\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b"505"),
        (b"\xff\xfe nonsense\r\n\r\n", b"400"),
        (b"GET\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\n" + 70_000 * b"a" + b"\r\n\r\n", b"431"),
        (b"GET /metrics HTTP/1.1\r\n" + 9000 * b"a", b""),
        (b"", b""),
    ],
)
def test_odd_requests(server, request_, status):
    with connect(server, request_) as connection:
        found = b""
        while part := _received(connection):
            found += part
    if status:
        assert status in found.partition(b"\r\n\r\n")[0]
    else:
        assert found == b""
    assert scrapes.get(server.url)[0] == 200


def _received(connection):
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:  # hung up on in the middle of its request
        return b""


def test_a_page_that_cant_be_made_is_an_error_and_no_more(server):
    server.registry.collect = lambda: 1 / 0
    assert scrapes.get(server.url)[0] == 500
    assert scrapes.health(server.url)[0] == 200


def test_a_thousand_scrapes_at_once_dont_slow_training_down(start):
    """The server can take from training only what it computes itself: a small share of one core, in one thread.

    That is what is measured, and steps a second with and without the storm only roughly: others use this machine too.
    """
    process = start("trains", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    url = scrapes.url(process)
    scrapes.wait(lambda: scrapes.values(scrapes.get(url)[2])["bertline_training_steps_total"] > 100)

    def look():
        process.stdin.write("now\n")
        process.stdin.flush()
        return [float(word) for word in process.stdout.readline().split()]

    def watch(seconds):
        """Steps a second, the server's share of a core, threads."""
        before = look()
        time.sleep(seconds)
        steps, clock, server, threads = look()
        return (steps - before[0]) / (clock - before[1]), (server - before[2]) / (clock - before[1]), threads

    ratios, shares, answered = [], [], 0
    for _ in range(3):
        quiet, _, quiet_threads = watch(1)
        command = [sys.executable, STORM, url.rpartition(":")[2]]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as clients:
            clients.stdout.readline()  # they stand in the queue
            stormy, share, threads = watch(2)
            answered += json.loads(clients.communicate(timeout=60)[0])
        assert threads == quiet_threads
        ratios.append(stormy / quiet)
        shares.append(share)
    assert answered > 50
    assert min(shares) < 0.15
    assert max(ratios) > 0.5
    assert scrapes.get(url)[0] == 200
