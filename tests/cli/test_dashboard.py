"""`bertline dashboard` on the terminal: from what tasks serve, from the store, and what is wrong said in a sentence."""

import pytest

from bertline.store.objects import connect
from bertline_cli import glances, sparklines
from support.experiments_at_work import Work
from support.exporters import Exporter
from support.histories import EXPERIMENT


def show(url):
    live = glances.Live(EXPERIMENT, [url])
    return live, "\n".join(live.look())


@pytest.mark.parametrize("gpu", [True, False])
def test_what_tasks_serve(gpu):
    with Exporter(3600, gpu=gpu) as exporter:
        live, shown = show(f"http://{exporter.address}/metrics")
    assert live.answered
    assert "6L" in shown
    assert "loss" in shown
    assert ("GPU" in shown) == gpu, "no invented GPU"


def test_a_task_that_is_gone_is_said(bertline):
    result = bertline("dashboard", "nano", "--metrics", "http://127.0.0.1:9/metrics", "--once")
    assert result.returncode == 75
    assert "does the task run" in result.stderr
    assert "Traceback" not in result.stderr


def test_from_the_store(bertline, tmp_path):
    work = Work(connect(str(tmp_path / "store")))
    work.attempt("6L-pretrain-1", event="checkpoint", step=4000).alive(step=4321)
    shown = bertline("dashboard", "small", "--store", str(tmp_path / "store"), "--once")
    assert shown.returncode == 0, shown.stderr
    assert "4,321" in shown.stdout
    assert "6L" in shown.stdout
    unknown = bertline("dashboard", "other", "--store", str(tmp_path / "store"), "--once")
    assert unknown.returncode == 2
    assert "small" in unknown.stderr, "names those there are"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prometheus", "http://127.0.0.1:9"), "--out FILE.html"),
        (("--prometheus", "http://127.0.0.1:9", "--out", "x.html", "--since", "soon"), "90m, 6h or 7d"),
    ],
)
def test_bad_options(bertline, arguments, said):
    result = bertline("dashboard", "nano", *arguments)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_line_of_history_rises_and_falls():
    assert sparklines.sparkline([1, 2, 3, 2, 1]) == "▁▅█▅▁"
    assert sparklines.sparkline([1, float("nan"), 2]) == "▁ █"
    assert sparklines.sparkline([1]) == ""
