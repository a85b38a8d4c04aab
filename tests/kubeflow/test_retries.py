"""A user's mistake in a pod: Kubeflow's executor runs for real, is started again and again, and works only once."""

import time

import pytest
from kfp import dsl

from bertline.errors import ExitCode
from bertline.experiment.schedules import Constant
from bertline.pretrain.component import pretrain
from bertline.sources.files import Source
from bertline.store import attempts
from bertline.store.backends import connect
from bertline.vocabulary.component import vocabulary
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.kubeflow.api import Kubeflow
from support import tiny_corpora, tiny_pipelines
from support.kfp_server import KfpServer

RETRIES = 3


@pytest.fixture
def submit(tmp_path):
    """Have a run do one task with retries, to its end; KFP's task, and what its pods said."""
    with KfpServer(tmp_path / "server") as server, Kubeflow(server.endpoint, "kubeflow") as kubeflow:

        def submit(component, store, config):
            @dsl.pipeline(name="mistaken")
            def pipeline(store: str, config: str):
                component(store=store, config=config).set_retry(RETRIES).set_caching_options(enable_caching=False)

            began = time.monotonic()
            parameters = {"store": store.uri, "config": config.model_dump_json()}
            run_id = kubeflow.submit(
                *tiny_pipelines.compiled(pipeline), display_name="one", experiment="tests", parameters=parameters
            ).id
            while server.runs[run_id].finished.startswith("1970"):
                assert time.monotonic() < began + 300, "the run doesn't end"
                time.sleep(0.05)
            [(name, task)] = server.runs[run_id].tasks.items()
            return task, (server.runs[run_id].folder / name / "log").read_text()

        yield submit


def test_four_pods_one_attempt_one_sentence_and_a_new_run_tries_again(submit, tmp_path):
    # GIVEN a vocabulary that isn't one
    (tmp_path / "vocab.txt").write_text("the\nthe\n")
    store = connect(str(tmp_path / "store"))
    source = Source(url=str(tmp_path / "vocab.txt"))
    config = VocabularyConfig(vocabulary={"file": source, "lower_case": True})
    prefix = config.derivation().prefix
    # WHEN a run makes it THEN each pod says the same, and only the first one has tried
    task, log = submit(vocabulary, store, config)
    assert (task.attempts, task.exit_code) == (1 + RETRIES, ExitCode.USER_ERROR)
    said = [line for line in log.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 + RETRIES
    assert len(set(said)) == 1
    [attempt] = attempts.read(store, prefix)
    failure = attempt.failure
    assert failure.is_final
    assert f"error: {failure.sentence}" == said[0]
    # WHEN another run comes THEN it tries, and its retries don't take the first one's word for it
    task, _ = submit(vocabulary, store, config)
    assert task.attempts == 1 + RETRIES
    assert len(attempts.numbers(store, prefix)) == 2


@pytest.mark.slow  # TensorFlow starts
def test_a_loss_that_is_no_number_is_trained_once(submit, tmp_path):
    store = connect(str(tmp_path / "store"))
    rates = Constant(schedule="constant", peak=1e30, warmup_steps=0).of_round(0, 24, [24])
    config = tiny_corpora.config(*tiny_corpora.write(store)).model_copy(update={"learning_rate": rates})
    task, log = submit(pretrain, store, config)
    assert (task.attempts, task.exit_code) == (1 + RETRIES, ExitCode.USER_ERROR)
    said = [line for line in log.splitlines() if line.startswith("error: the loss isn't finite")]
    assert len(said) == 1 + RETRIES
    assert len(set(said)) == 1
    assert log.count("starting TensorFlow") == 1
    [attempt] = attempts.read(store, config.derivation().prefix)
    assert [event["event"] for event in attempt.events[-2:]] == ["diverged", "failed"]
    assert attempt.events[-2]["step"] < 24
