"""When a request is sent again: the same rule whoever asks."""

import time

import pytest

from bertline import retries
from bertline.errors import TransientError, UserError
from bertline.retries import Pauses
from bertline_pipelines.monitoring.queries import Prometheus
from support.web_servers import WebServer, file, status


@pytest.fixture
def web():
    server = WebServer()
    yield server
    server.close()


def test_pauses_grow_up_to_the_longest_and_are_drawn():
    pauses = Pauses(0.5, 10.0)
    drawn = {failures: [pauses.after(failures) for _ in range(200)] for failures in (1, 2, 5, 6, 1000)}
    for failures, longest in ((1, 0.5), (2, 1.0), (5, 8.0), (6, 10.0), (1000, 10.0)):
        assert longest / 2 <= min(drawn[failures]) < max(drawn[failures]) <= longest


@pytest.mark.parametrize(
    ("code", "passes"),
    [(code, True) for code in (408, 425, 429, 500, 502, 503, 504, 520)]
    + [(code, False) for code in (200, 301, 400, 401, 403, 404, 409, 410, 412, 501, 505)],
)
def test_which_statuses_may_pass(code, passes):
    assert retries.may_pass(code) is passes


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (" 12 ", 12.0), ("soon", 0.0), ("", 0.0), ("-3", 0.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_what_a_server_asks_for(header, seconds):
    assert retries.asked_s({"Retry-After": header}) == seconds
    assert retries.asked_s({}) == 0.0


def test_a_failure_that_may_pass_is_tried_again_so_often_and_no_oftener(quick_retries):
    sent = []

    def send(good_after):
        sent.append(time.monotonic())
        if len(sent) <= good_after:
            raise TransientError("not now")
        return "good"

    assert retries.repeated(lambda: send(2), attempts=3) == "good"
    sent.clear()
    with pytest.raises(TransientError, match="not now"):
        retries.repeated(lambda: send(3), attempts=3)
    assert len(sent) == 3


def test_a_pause_that_the_server_asks_for_is_kept_within_reason(monkeypatch):
    monkeypatch.setattr(retries, "PAUSES", Pauses(0.001, 0.3))
    answers = [TransientError("not now", asked_s=0.2), TransientError("not now", asked_s=3600.0), None]

    def send():
        if problem := answers.pop(0):
            raise problem

    began = time.monotonic()
    retries.repeated(send, attempts=3)
    assert 0.5 <= time.monotonic() - began < 5


def test_a_prometheus_that_stumbles_is_asked_again(web, quick_retries):
    document = b'{"status": "success", "data": {"resultType": "vector", "result": []}}'
    web.answers["/api/v1/query?query=up&time=1.0"] = [status(503), status(502), file(document)]
    assert Prometheus(web.url).at("up", 1.0) == []
    assert len(web.requests) == 3
    web.answers["/api/v1/query?query=up&time=1.0"] = [status(503)]
    with pytest.raises(TransientError, match=r"503"):
        Prometheus(web.url).at("up", 1.0)
    web.answers["/api/v1/query?query=up&time=1.0"] = [file(b"<html>hello</html>")]
    with pytest.raises(UserError, match="isn't a Prometheus"):
        Prometheus(web.url).at("up", 1.0)
    web.answers["/api/v1/query?query=up&time=1.0"] = [file(b'["up"]')]
    with pytest.raises(UserError, match="isn't a Prometheus"):
        Prometheus(web.url).at("up", 1.0)
    with pytest.raises(UserError, match="isn't a Prometheus"):
        Prometheus("localhost:9090").at("up", 1.0)
