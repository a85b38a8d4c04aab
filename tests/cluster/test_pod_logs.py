"""A pod's log over connections that break off: no line is lost, none is repeated."""

import datetime
import itertools
import subprocess
import sys
import threading
import time

import pytest

from bertline.errors import TransientError
from bertline_pipelines.cluster import pod_logs
from support import kubernetes_api
from support.kubernetes_api import NOW, Log, pod

NS = "kubeflow"
POD = "bertline-nano-x7k2p-system-container-impl-1"


def terminated(code, reason="Error", message=""):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def written(count, *, every_s=0.4, begin=0):
    return [(NOW + datetime.timedelta(seconds=every_s * n), f"line {begin + n}") for n in range(count)]


def logged(api, log, *, state=None):
    document = pod(phase="Running", node="a", main=state or {"running": {}})
    api.pods(document)
    api.logs[POD] = log
    return document


def end(document):
    document["status"]["phase"] = "Succeeded"
    document["status"]["containerStatuses"][1]["state"] = terminated(0, "Completed")


def texts(lines):
    return [text for _, text in lines]


def test_a_log_and_its_tail(api, connected):
    log = Log(written(30))
    end(logged(api, log))
    assert list(pod_logs.lines(connected, NS, POD)) == texts(log.lines)
    assert list(pod_logs.lines(connected, NS, POD, follow=True)) == texts(log.lines)
    assert list(pod_logs.lines(connected, NS, POD, tail=3)) == ["line 27", "line 28", "line 29"]


@pytest.mark.timeout(60)
def test_a_log_is_followed_until_the_container_ends(api, connected):
    log = Log(written(3))
    document = logged(api, log)
    lines = pod_logs.lines(connected, NS, POD, follow=True)
    assert list(itertools.islice(lines, 3)) == texts(log.lines)
    log.lines += [(NOW + datetime.timedelta(seconds=9), "late"), (NOW + datetime.timedelta(seconds=9), "last")]
    assert next(lines) == "late"
    end(document)
    assert list(lines) == ["last"]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("every_s", "drops"),
    [
        (0.0, [100, 333, 350, 1000, 1001, 1700, 2000, 2200]),
        (0.3, [100, 333, 500, 480, 501, 600]),
        (1.7, [100, 333, 350, 180, 181, 300, 250]),
    ],
)
def test_dropped_connections_neither_lose_nor_repeat_lines(api, connected, every_s, drops):
    # Some lines are equal, at equal times; drops fall into the middle of lines.
    lines = [(at, text if n % 5 else "again") for n, (at, text) in enumerate(written(60, every_s=every_s))]
    log = Log(lines, drops=list(drops))
    document = logged(api, log)
    found = pod_logs.lines(connected, NS, POD, follow=True)
    begun = list(itertools.islice(found, 50))
    end(document)
    assert begun + list(found) == texts(lines)
    assert not log.drops


@pytest.mark.timeout(60)
def test_lines_out_of_order_survive_a_drop(api, connected):
    later, sooner = NOW + datetime.timedelta(seconds=5), NOW + datetime.timedelta(seconds=4)
    log = Log([(NOW, "first"), (later, "stderr"), (sooner, "stdout")], drops=[2 * 36 + len("firststderr")])
    end(logged(api, log))
    assert list(pod_logs.lines(connected, NS, POD, follow=True)) == ["first", "stderr", "stdout"]
    assert not log.drops


@pytest.mark.timeout(60)
def test_a_stream_that_ends_early_isnt_the_end(api, connected):
    log = Log(written(10), ends=[4, 2, 0 + 7])
    document = logged(api, log)
    found = pod_logs.lines(connected, NS, POD, follow=True)
    begun = list(itertools.islice(found, 10))
    end(document)
    assert begun + list(found) == texts(log.lines)


@pytest.mark.timeout(60)
def test_a_dead_connection_is_noticed(api, connected, monkeypatch):
    monkeypatch.setattr(pod_logs, "SILENCE_S", 0.3)
    log = Log(written(5), hang=True)
    document = logged(api, log)
    found = pod_logs.lines(connected, NS, POD, follow=True)
    assert len(list(itertools.islice(found, 5))) == 5
    end(document)
    log.lines.append((NOW + datetime.timedelta(seconds=60), "last"))
    threading.Timer(1.0, lambda: setattr(log, "hang", False)).start()
    assert list(found) == ["last"]


@pytest.mark.timeout(60)
def test_following_waits_for_the_container_to_start(api, connected):
    log = Log(written(2))
    document = logged(api, log, state={"waiting": {"reason": "PodInitializing"}})
    with pytest.raises(TransientError, match=r"has no log, it hasn't started \(its node is starting it\); -f waits"):
        list(pod_logs.lines(connected, NS, POD))

    def start():
        document["status"]["containerStatuses"][1]["state"] = {"running": {}}
        time.sleep(0.2)
        end(document)

    threading.Timer(0.3, start).start()
    assert list(pod_logs.lines(connected, NS, POD, follow=True)) == ["line 0", "line 1"]


@pytest.mark.timeout(60)
def test_a_pod_that_is_deleted_ends_its_log_with_an_error(api, connected):
    logged(api, Log(written(2), hang=False))
    found = pod_logs.lines(connected, NS, POD, follow=True)
    assert next(found) == "line 0"
    api.objects.clear()
    api.logs[POD].hang = True
    api.logs[POD].lines.append((NOW, "x"))
    api.closing.set()  # connections end, as with the node
    with pytest.raises(TransientError, match="was deleted, and its last lines are lost"):
        list(found)
    with pytest.raises(TransientError, match=r"pod .* was deleted, with its log"):
        list(pod_logs.lines(connected, NS, POD))


def test_a_log_that_its_node_lost(api, connected, monkeypatch):
    document = logged(api, Log([]))
    end(document)
    api.logs[POD].lines = []
    monkeypatch.setattr(kubernetes_api.Handler, "_log", lambda self, *_: _plain(self))
    with pytest.raises(TransientError, match="isn't on its node any more"):
        list(pod_logs.lines(connected, NS, POD))


def _plain(handler):
    text = b"unable to retrieve container logs for containerd://b95e10f2c555"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    handler.wfile.write(text)


@pytest.mark.timeout(60)
def test_a_log_that_always_breaks_off_is_given_up(api, connected, monkeypatch):
    monkeypatch.setattr(pod_logs, "DROPS", 3)
    log = Log(written(5), drops=[0] * 50)
    logged(api, log)
    with pytest.raises(TransientError, match="breaks repeatedly"):
        list(pod_logs.lines(connected, NS, POD, follow=True))


def test_neither_kfp_nor_the_client_is_imported_before_it_connects():
    code = (
        "import sys; from bertline_pipelines.cluster import failures, pending, pod_logs, reader\n"
        "print([name for name in ('kfp', 'kubernetes', 'tensorflow') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
