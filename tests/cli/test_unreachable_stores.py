"""A store whose server doesn't answer: the command says so within seconds, whatever it would have asked."""

import socket
import time

import pytest


@pytest.fixture
def silent(request):
    """Port of a server that is there and does nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0 if request.param == "accepts no connection" else 100)
        waiting = []
        while request.param == "accepts no connection" and len(waiting) < 2:  # fills the queue: the next one hangs
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for each in waiting:
            each.close()


@pytest.mark.parametrize(
    ("silent", "command", "code"),
    [
        ("accepts no connection", ["plan", "nano.yaml", "--store", "s3://bucket/p"], 0),  # it plans without
        ("accepts and never answers", ["store", "ls", "--store", "gs://bucket/p"], 75),
    ],
    ids=["plan, no connection", "store ls, no answer"],
    indirect=["silent"],
)
def test_it_is_told_within_seconds(bertline, silent, command, code):
    assert bertline("init", "nano.yaml").returncode == 0
    url = f"http://127.0.0.1:{silent}"
    begun = time.monotonic()
    result = bertline(
        *command, AWS_ENDPOINT_URL=url, AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b", STORAGE_EMULATOR_HOST=url
    )
    assert result.returncode == code, result.stderr
    assert "can't reach" in result.stderr + result.stdout
    assert f"127.0.0.1:{silent}" in result.stderr + result.stdout or "gs://bucket/p" in result.stderr
    assert time.monotonic() - begun < 30
