"""Where the metrics are served, how long, and that they never fail a task."""

import contextlib
import http.client
import signal
import socket
import time
import urllib.error

import pytest

from bertline.errors import UserError
from bertline.metrics import tasks
from bertline.stage.configs import Label
from support import scrapes

LABEL = Label(experiment="test", run="6L", model="6L", epoch=10)
ACCURACY = "bertline_evaluation_accuracy{seed=1}"
LONG = {"BERTLINE_METRICS_LINGER_S": "60"}


def test_nobody_asked_no_port_and_no_word(start):
    process = start("ends", address="")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.startswith("pretrain ")
    assert len(output.splitlines()) == 1
    assert errors == ""


def test_a_port_in_use_is_told_and_the_work_goes_on(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = start("ends", address=f"127.0.0.1:{other.getsockname()[1]}", **LONG)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "continuing without metrics" in output
    assert "in use" in output


@pytest.mark.parametrize("address", ["9109", "localhost", "127.0.0.1:", "127.0.0.1:70000", ":9109"])
def test_an_address_that_is_none_is_the_users_mistake(monkeypatch, address):
    monkeypatch.setenv("BERTLINE_METRICS_ADDRESS", address)
    with pytest.raises(UserError, match=f"BERTLINE_METRICS_ADDRESS is '{address}'; expected host and port"):
        tasks.begin("pretrain", LABEL, "0" * 64)


def test_seconds_that_are_none_are_the_users_mistake(monkeypatch):
    monkeypatch.setenv("BERTLINE_METRICS_ADDRESS", "127.0.0.1:0")
    monkeypatch.setenv("BERTLINE_METRICS_LINGER_S", "soon")
    with pytest.raises(UserError, match="BERTLINE_METRICS_LINGER_S is 'soon'"):
        tasks.begin("pretrain", LABEL, "0" * 64)


@pytest.fixture
def ready(start):
    """A task of that kind that was scraped and then has its last figure; its process and URL."""

    def ready(kind, *, scraped=True, **environment):
        process = start(kind, **LONG | environment)
        url = scrapes.url(process)
        if scraped:
            scrapes.wait(lambda: scrapes.values(scrapes.get(url)[2]).get(ACCURACY) == 0.75)
        process.stdin.write("\n")
        process.stdin.flush()
        return process, url

    return ready


@pytest.mark.parametrize(("kind", "code"), [("ends", 0), ("fails", 2)])
def test_what_is_in_the_manifest_and_a_failure_end_at_once(start, kind, code):
    process = start(kind, **LONG)
    url = scrapes.url(process)
    with contextlib.suppress(OSError):  # it may be gone already
        scrapes.get(url)
    assert process.wait(20) == code


@pytest.mark.parametrize(("kind", "code"), [("gauges", 0), ("diverges", 2)])
def test_a_last_figure_waits_for_the_scrape_that_sees_it(ready, kind, code):
    process, url = ready(kind)
    scrapes.wait(lambda: scrapes.health(url)[1]["phase"] == "finishing")  # which is no scrape
    time.sleep(1)
    assert process.poll() is None
    # the scrape that sees it is the last one, however soon it comes after one that didn't
    assert scrapes.values(scrapes.get(url)[2])[ACCURACY] == 0.875
    assert process.wait(10) == code


def test_a_page_that_was_made_before_the_last_figure_does_not_count(ready):
    process, url = ready("gauges")
    found = []
    while process.poll() is None:  # faster than pages are made anew
        with contextlib.suppress(OSError, http.client.HTTPException):
            found.append(scrapes.values(scrapes.get(url)[2])[ACCURACY])
    assert found[-1] == 0.875
    assert process.returncode == 0


def test_nobody_has_scraped_nobody_is_waited_for(ready):
    process, _ = ready("gauges", scraped=False)
    assert process.wait(20) == 0


def test_a_scraper_that_is_gone_is_waited_for_as_long_as_was_said(ready):
    process, _ = ready("gauges", BERTLINE_METRICS_LINGER_S="2")
    began = time.monotonic()
    assert process.wait(30) == 0
    assert time.monotonic() - began > 1.5


@pytest.mark.parametrize(("kind", "code"), [("gauges", 0), ("diverges", 2)])
def test_waiting_ends_with_sigterm_and_the_tasks_own_code(ready, kind, code):
    process, url = ready(kind)
    scrapes.wait(lambda: scrapes.health(url)[1]["phase"] == "finishing")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == code


def test_nothing_lingers_after_sigterm(start):
    process = start("stops", **LONG)
    url = scrapes.url(process)
    scrapes.wait(lambda: scrapes.values(scrapes.get(url)[2])["bertline_phase{phase=staging}"])
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 76
    with pytest.raises(urllib.error.URLError):
        scrapes.get(url)


def test_a_task_without_linger_ends_at_once(start):
    process = start("ends")
    process.communicate(timeout=20)
    assert process.returncode == 0
