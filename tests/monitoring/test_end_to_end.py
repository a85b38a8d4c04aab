"""A real training and a real evaluation, scraped by a real Prometheus: every question of the dashboard has an answer.

What a made-up exporter shows may be what the questions expect and nobody says. Here nothing is made up.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
import yaml

from bertline import samples
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment.schedules import Constant
from bertline.experiment.specs import Checkpoints
from bertline.store.backends import connect
from bertline.store.derivations import Derivation
from bertline.store.realizations import Outcome, realize
from bertline.vocabulary import training as vocabularies
from bertline_pipelines.monitoring import expressions, manifests, sections
from support import held, prometheus, scrapes, tiny_corpora

pytestmark = [prometheus.needs_prometheus, pytest.mark.slow]

RULES = manifests.FOLDER / manifests.RULES
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]
RECORDS = [rule for group in GROUPS for rule in group["rules"] if "record" in rule]
QUERIES = [pytest.param(panel, query, id=f"{panel.title}: {query.name or query.legend}")
           for _, panel, query in sections.all_queries()]  # fmt: skip
STEPS, EPOCHS = 200, 5000  # of the training: it doesn't end by itself


@dataclass
class Scraped:
    """The server, and what the machine has."""

    server: prometheus.Prometheus
    experiment: str

    def ask(self, query):
        expr = expressions.bind(query.expr, experiment=self.experiment, window="8s", span="5m")
        now = time.time()
        return self.server.queries.at(expr, now) if query.instant else self.server.queries.over(expr, now - 60, now, 1)

    def lacks(self):
        """Keys of `panels.NEEDS` that this machine can't have."""
        gpu = self.server.query("bertline_gpu_present > 0")
        known = self.server.query("bertline_model_flop_utilization_ratio")
        limit = self.server.query("bertline_host_memory_limit_bytes")
        return (
            {"dcgm"}
            | (set() if gpu else {"gpu"})
            | (set() if known else {"gpu peak"})
            | (set() if limit else {"memory limit"})
        )


def start(store, config, folder, **environment):
    """The task of a config as a process."""
    file = folder / f"{config.STAGE}-{config.derivation().key[:8]}.json"
    file.write_text(config.model_dump_json())
    command = [sys.executable, held.__file__, config.STAGE, "--store", store.uri, "--config", f"@{file}"]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, env=os.environ | quiet | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def training(store):
    """A model that is trained until somebody stops it, with checkpoints every few seconds."""
    config = tiny_corpora.config(*tiny_corpora.write(store), STEPS)
    total = EPOCHS * STEPS
    schedule = Constant(schedule="constant", peak=1e-3, warmup_steps=5)
    return config.model_copy(
        update={
            "end_epoch": EPOCHS,
            "learning_rate": schedule.of_round(0, total, [total]),
            "checkpoints": Checkpoints(every_steps=STEPS // 2, every_minutes=1),
            "label": config.label.model_copy(update={"epoch": EPOCHS}),
        }
    )


def evaluation(store, folder, model, label):
    """The fine-tuning of a milestone of that model, which nobody has trained, on a hundred pairs."""
    from bertline.models import encoders

    texts = {name: samples.write(f"nli/{name}", folder).read_text() for name in ("train", "dev")}
    pieces = vocabularies.train(iter(texts["train"].splitlines()), tiny_corpora.PIECES, lower_case=True)

    def write_vocabulary(build):
        (build.payload / "vocab.txt").write_text(pieces.text)
        return Outcome({"pieces": pieces.size}, {})

    def write_milestone(build):
        encoder = encoders.build(model, pieces.size)
        variables = encoders.named(encoder.trainable_variables)
        encoders.initialize(variables, model.initializer_range, seed=1)
        encoders.save(build.payload / "encoder.safetensors", encoders.arrays(variables))
        return Outcome({"vocabulary_size": pieces.size}, {})

    files = {name: {"url": str(folder / f"{name}.tsv")} for name in texts}
    for name, text in texts.items():
        (folder / f"{name}.tsv").write_text("".join(text.splitlines(keepends=True)[:101]))
    return EvaluateConfig(
        task="sample-nli",
        files=files,
        model=model,
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        warmup_share=0.1,
        optimizer={},
        sequence_length=tiny_corpora.LENGTH,
        max_train_examples=None,
        seed=1,
        lower_case=True,
        milestone=realize(store, Derivation("pretrain", 1, {}), write_milestone).manifest.key,
        vocabulary=realize(store, Derivation("vocabulary", 1, {}), write_vocabulary).manifest.key,
        label=label,
    )


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """Both tasks, after a few scrapes: the training goes on, the evaluation has ended and its process stays."""
    folder = tmp_path_factory.mktemp("end-to-end")
    store = connect(str(folder / "store"))
    asked = {"BERTLINE_METRICS_ADDRESS": "127.0.0.1:0"}
    trained = training(store)
    tasks = [start(store, trained, folder, **asked)]
    try:
        tasks.append(start(store, evaluation(store, folder, trained.model, trained.label), folder, **asked))
        rules = folder / "rules.yaml"
        rules.write_text(RULES.read_text().replace("interval: 30s", "interval: 1s"))
        addresses = [scrapes.url(task).removeprefix("http://") for task in tasks]
        with prometheus.Prometheus(folder / "prometheus", {"bertline": addresses}, rules=[rules]) as server:
            for waited in (
                "count_over_time(bertline_evaluation_accuracy[1m]) >= 2",
                "count_over_time(bertline_held_out_loss[1m]) >= 2",
                "count_over_time(bertline_checkpoint_last_success_timestamp_seconds[1m]) >= 2",
                'rate(bertline_training_steps_total{stage="pretrain"}[8s]) > 0',
            ):
                server.wait_for(waited, 120)
            yield Scraped(server, trained.label.experiment)
    finally:
        for task in tasks:
            with task:
                task.kill()


@pytest.mark.parametrize(("panel", "query"), QUERIES)
def test_every_query_has_data_or_says_why_not(scraped, panel, query):
    found = scraped.ask(query)
    assert bool(found) == (query.needs not in scraped.lacks())
    for series in found:
        assert all(label in series.labels for label in query.by if label != "task")


@pytest.mark.parametrize("rule", RECORDS, ids=lambda rule: rule["record"])
def test_every_recording_rule_records(scraped, rule):
    lacks = {"bertline:gpu_memory:ratio": "gpu", "bertline:host_memory:ratio": "memory limit"}.get(rule["record"])
    found = scraped.server.query(rule["expr"])
    assert bool(found) == (lacks not in scraped.lacks())
    assert bool(scraped.server.query(rule["record"])) == bool(found)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_looks_at_something_and_is_silent(scraped, rule):
    lacks = scraped.lacks()
    for metric in re.findall(r"\b(?:bertline[\w:]+|up)\b(?=[{\[) ])", f"{rule['expr']} "):
        absent = ("gpu" in metric and "gpu" in lacks) or ("host_memory:ratio" in metric and "memory limit" in lacks)
        assert bool(scraped.server.query(metric)) == (not absent), metric
    firing = {alert["labels"]["alertname"] for alert in scraped.server.alerts() if alert["state"] == "firing"}
    assert rule["alert"] not in firing


def test_prometheus_evaluates_every_rule_without_complaint(scraped):
    rules = scraped.server.rules()
    assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in ALERTS + RECORDS}
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}


def test_both_tasks_are_one_target_each_and_up(scraped):
    targets = scraped.server.targets()
    assert [target["health"] for target in targets] == ["up", "up"]
    assert {series.labels["stage"] for series in scraped.server.query("bertline_info")} == {"pretrain", "evaluate"}
