"""Every question of the dashboard, put to a real Prometheus that scrapes a made-up training."""

import time

import pytest

from bertline_pipelines.monitoring import expressions, panels, sections
from support import prometheus
from support.exporters import Exporter
from support.histories import EXPERIMENT

pytestmark = prometheus.needs_prometheus

# Both models' second rounds are at work, and the evaluations of the first have two seeds done.
MOMENT = 6500.0
QUERIES = [pytest.param(panel, query, id=f"{panel.title}: {query.name or query.legend}")
           for _, panel, query in sections.all_queries()]  # fmt: skip


def scraped(tmp_path_factory, gpu):
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        Exporter(MOMENT, gpu=gpu) as exporter,
        prometheus.Prometheus(folder, scrape_configs=[honoring("bertline", exporter.address)]) as server,
    ):
        server.wait_for("count_over_time(bertline_training_step[1m]) >= 4")
        yield server


def honoring(job, address):
    """Here the exporter itself says pod and namespace."""
    return {"job_name": job, "honor_labels": True, "static_configs": [{"targets": [address]}]}


@pytest.fixture(scope="module")
def with_gpu(tmp_path_factory):
    yield from scraped(tmp_path_factory, gpu=True)


@pytest.fixture(scope="module")
def without_gpu(tmp_path_factory):
    yield from scraped(tmp_path_factory, gpu=False)


def ask(server, query):
    expr = expressions.bind(query.expr, experiment=EXPERIMENT, window="10s", span="5m")
    now = time.time()
    if query.instant:
        return server.queries.at(expr, now)
    return server.queries.over(expr, now - 60, now, 1)


@pytest.mark.parametrize(("panel", "query"), QUERIES)
def test_every_query_has_data_on_a_gpu(with_gpu, panel, query):
    found = ask(with_gpu, query)
    assert found
    # What the panel tells series apart by is there, and tells them apart.
    told = [tuple(each.labels.get(label, "") for label in query.by) for each in found]
    if panel.kind not in ("table",):
        assert len(set(told)) == len(told)
        assert all(values[0] for values in told if values)


@pytest.mark.parametrize(("panel", "query"), QUERIES)
def test_without_a_gpu_only_what_says_so_has_none(without_gpu, panel, query):
    found = ask(without_gpu, query)
    assert bool(found) == (query.needs not in ("gpu", "gpu peak", "dcgm"))
    assert found or "GPU" in panels.NEEDS[query.needs]


def test_values_are_what_was_shown(with_gpu):
    by_title = {(panel.title, query.name): query for _, panel, query in sections.all_queries()}

    def values(title, name=""):
        found = ask(with_gpu, by_title[title, name])
        return {(each.labels["run"], each.labels.get("task")): each.value for each in found}

    assert values("State")["3L", None] == expressions.PHASES.index("training") + 1
    assert 0 < values("Progress of the round")["6L", None] < 1
    left = values("Time to finish the round")
    # 3L's round: what is left of its 50,000 steps at 8.7 steps a second.
    progress = values("Progress of the round")["3L", None]
    assert left["3L", None] == pytest.approx((1 - progress) * (5400 - 120) / 0.93, rel=0.15)
    assert values("Peak GPU memory")["6L", None] == pytest.approx(7 * 2**30 / (23034 * 2**20))
    assert values("GPU memory, as DCGM's exporter sees it")["3L", None] == (5 * 1024 + 400) * 2**20
    assert values("Sequences a second")["3L", None] == pytest.approx(128 * 8.8, rel=0.2)
    assert 0 < values("Time spent waiting for data")["6L", None] < 0.2
    assert values("Accuracy of each round", "accuracy")["3L", "MNLI-m"] == pytest.approx(0.605 + 0.003)
    assert values("Pods", "attempts")["3L", None] == 1


def test_a_query_of_one_run_leaves_the_others_out(with_gpu):
    for _, panel, query in sections.all_queries():
        expr = expressions.bind(query.expr, experiment=EXPERIMENT, runs="6L", window="10s", span="5m")
        found = with_gpu.queries.at(expr, time.time())
        assert found, panel.title
        assert {each.labels["run"] for each in found if "run" in each.labels} <= {"6L"}
        expr = expressions.bind(query.expr, experiment="another", window="10s", span="5m")
        assert with_gpu.queries.at(expr, time.time()) == []


def test_names_are_quoted_for_promql(with_gpu):
    expr = expressions.bind(sections.SECTIONS[0].panels[0].queries[0].expr, experiment='a"b\\', window="10s", span="5m")
    assert with_gpu.queries.at(expr, time.time()) == []
