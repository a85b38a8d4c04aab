"""Why a plan's tasks are missing: what has changed since the version before, and what lies at their keys."""

import json
import os
import subprocess
import sys

import pytest
import yaml

import bertline_pipelines
from bertline.corpus.config import CorpusConfig
from bertline.errors import UserError
from bertline.experiment.specs import Experiment
from bertline.pretrain.config import PretrainConfig
from bertline.process.signals import Stopped
from bertline.store import attempts, references
from bertline.store.backends import connect
from bertline.store.leases import Lease
from bertline.store.realizations import Outcome, realize
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.planning import plans, unrolling
from bertline_pipelines.records import causes

NANO = (bertline_pipelines.experiment_files() / "nano.yaml").read_text()


def graph_of(**changes):
    """Nano with some values changed: `pretrain__learning_rate__peak=2e-3`."""
    document = yaml.safe_load(NANO)
    for path, value in changes.items():
        *sections, field = path.split("__")
        section = document
        for name in sections:
            section = section[name]
        section[field] = value
    return unrolling.build(Experiment.model_validate(document))


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


@pytest.fixture
def done(store):
    """A store with all of nano but the report."""
    graph = graph_of()
    references.write(store, "nano", graph.document)
    for task in plans.plan(graph, store).tasks[:-1]:
        for config in task.configs:
            realize(store, config.derivation(), lambda build: Outcome({}, {}))
    return store


def why(store, **changes):
    """The sentences of each task that is missing."""
    plan = plans.plan(graph_of(**changes), store)
    return {name: " | ".join(map(str, found)) for name, found in causes.explain(plan, store).items()}


def test_in_an_empty_store_nothing_was_begun(store):
    assert set(why(store).values()) == {"not begun"}
    assert not list(store.list(""))


def test_a_changed_field_is_told_by_its_name_before_and_now(done):
    found = why(done, pretrain__learning_rate__peak=2e-3)
    assert found["2L-pretrain-1"] == found["4L-pretrain-3"] == "learning_rate.peak 0.001 → 0.002"
    assert found["2L-evaluate-2-sample-nli"] == "2L-pretrain-2 has changed"
    assert "vocabulary" not in found
    assert "corpus" not in found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"evaluate__epochs": 3}, {"4L-evaluate-1-sample-nli": "epochs 2 → 3"}),
        ({"pretrain__optimizer": {"weight_decay": 0.02}}, {"2L-pretrain-1": "optimizer.weight_decay 0.01 → 0.02"}),
        (
            {"models__2L__dropout": 0.0},
            {"2L-pretrain-1": "model.dropout 0.1 → 0.0", "2L-evaluate-1-sample-nli": "model.dropout 0.1 → 0.0"},
        ),
        (
            {"vocabulary__train__size": 4000},
            {
                "vocabulary": "vocabulary.train.size 3,000 → 4,000",
                "corpus": "vocabulary has changed",
                "4L-pretrain-2": "vocabulary has changed",
                "2L-evaluate-3-sample-nli": "vocabulary has changed",
            },
        ),
        (
            {"corpus__duplicates": 6, "pretrain__learning_rate__warmup_steps": 40},
            {"corpus": "corpus.duplicates 5 → 6", "2L-pretrain-1": "learning_rate.warmup_steps 50 → 40"},
        ),
        ({"pretrain__epochs": 4}, {"2L-pretrain-4": "new in this version"}),
        ({"evaluate__seeds": [1, 2]}, {"2L-evaluate-1-sample-nli": "new in this version"}),
        ({"pretrain__seeds": [1, 2]}, {"2L-seed2-pretrain-1": "new in this version"}),
        ({"pretrain__steps_per_epoch": 100}, {"2L-pretrain-1": "steps_per_epoch 150 → 100"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_what_has_changed(changes, expected, done):
    found = why(done, **changes)
    for task, sentence in expected.items():
        assert found[task] == sentence


def test_a_schedule_that_is_stretched_tells_by_what(store):
    linear = {"schedule": "linear", "peak": 1e-3, "warmup_steps": 50}
    graph = graph_of(pretrain__learning_rate=linear)
    references.write(store, "nano", graph.document)
    for config in (
        graph.configs(VocabularyConfig)[0],
        graph.configs(CorpusConfig)[0],
        graph.configs(PretrainConfig)[0],
    ):
        realize(store, config.derivation(), lambda build: Outcome({}, {}))
    found = why(store, pretrain__learning_rate=linear, pretrain__epochs=5)
    assert found["2L-pretrain-1"] == "epochs 3 → 5"
    assert found["2L-pretrain-2"] == "not begun"  # that one wasn't there before either


def test_a_raised_algorithm_version_is_a_change(done, monkeypatch):
    from bertline.corpus.config import CorpusConfig

    monkeypatch.setattr(CorpusConfig, "ALGORITHM_VERSION", CorpusConfig.ALGORITHM_VERSION + 1)
    assert why(done)["corpus"].startswith("algorithm version ")
    assert why(done)["2L-pretrain-1"] == "corpus has changed"


def attempt(store, config, *events, error=None):
    def build(work):
        for name, step in events:
            work.attempt.record(name, step=step)
        if error:
            raise error
        return Outcome({}, {})

    realize(store, config.derivation(), build)


def test_steps_that_are_saved_and_why_it_stopped(store):
    rounds = graph_of().configs(PretrainConfig)
    with pytest.raises(Stopped):
        attempt(store, rounds[1], ("checkpoint", 200), ("checkpoint", 250), error=Stopped("SIGTERM"))
    with pytest.raises(UserError):
        attempt(store, rounds[0], error=UserError("the loss is NaN at step 5\nlower the learning rate"))
    found = why(store)
    assert found["2L-pretrain-2"] == "preempted, 100 of 150 steps saved"
    assert found["2L-pretrain-1"] == "failed: the loss is NaN at step 5"
    # an attempt that begins again from there, and is killed before it saves
    with pytest.raises(Stopped):
        attempt(store, rounds[1], ("resume", 250), error=Stopped("SIGTERM"))
    plan = plans.plan(graph_of(), store)
    [reason] = causes.explain(plan, store)["2L-pretrain-2"]
    document = json.loads(json.dumps(reason.document()))
    assert (document["state"], document["saved_steps"], document["steps"]) == ("preempted", 100, 150)


HOLD = """
import sys, time
from bertline.store.backends import connect
from bertline.store.realizations import realize, Outcome
from bertline.store.derivations import Derivation
import json
def build(work):
    print("at work", flush=True)
    time.sleep(60)
realize(connect(sys.argv[1]), Derivation(**json.loads(sys.argv[2])), build)
"""


def test_a_process_at_work_is_named_and_a_killed_one_is_not(store):
    derivation = graph_of().configs(CorpusConfig)[0].derivation()
    told = json.dumps(derivation.document())
    process = subprocess.Popen([sys.executable, "-c", HOLD, store.uri, told], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        assert why(store)["corpus"] == f"at work: process {process.pid} on this machine"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert why(store)["corpus"] == "killed"


def test_a_lease_of_another_machine_is_named_and_doubted_when_it_is_old(store, tmp_path):
    prefix = graph_of().configs(CorpusConfig)[0].derivation().prefix
    attempts.Attempt(store, prefix).close()
    with Lease(store, prefix):
        holder = json.loads(store.get(f"{prefix}lease.json")[0])
    store.put(f"{prefix}lease.json", json.dumps(holder | {"host": "pod-1", "boot": "other", "pid": 7}).encode())
    assert why(store)["corpus"] == "at work: process 7 on pod-1"
    path = tmp_path / "store" / prefix / "lease.json"
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 3600))
    assert why(store)["corpus"] == "at work: process 7 on pod-1 (or killed: no sign of life for 60 min)"


def test_planning_again_after_an_interrupted_run_still_tells_what_changed(done):
    changed = graph_of(pretrain__learning_rate__peak=2e-3)
    references.write(done, "nano", changed.document)
    assert why(done, pretrain__learning_rate__peak=2e-3)["2L-pretrain-1"] == "learning_rate.peak 0.001 → 0.002"
    assert why(done) == {"report": "not begun"}


def test_a_version_of_an_older_bertline_tells_nothing_and_hinders_nothing(store):
    references.write(store, "nano", {"experiment": {}, "resolved": {}, "vocabulary": "0" * 64, "runs": []})
    assert why(store)["vocabulary"] == "not begun"
