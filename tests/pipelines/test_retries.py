"""A user's mistake in a pod: Kubeflow's executor runs for real, is started again and again, and works only once."""

import time

import pytest
from kfp import dsl

from bertline.errors import ExitCode
from bertline.sources import Source
from bertline.store import attempts
from bertline.store.objects import connect
from bertline.vocabulary.component import vocabulary
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.kubeflow.kubeflow import Kubeflow
from support import tiny_pipelines
from support.kfp_server import KfpServer

RETRIES = 3


@pytest.fixture
def submit(tmp_path):
    """Have a run make a vocabulary of tmp_path/vocab.txt, to its end; its task, and what its pods said."""
    store = connect(str(tmp_path / "store"))
    config = VocabularyConfig(
        vocabulary={"file": Source(url=str(tmp_path / "vocab.txt")), "lower_case": True}, articles=None
    )

    @dsl.pipeline(name="mistaken")
    def pipeline(store: str, config: str):
        vocabulary(store=store, config=config).set_retry(RETRIES).set_caching_options(enable_caching=False)

    with KfpServer(tmp_path / "server") as server, Kubeflow(server.endpoint, "kubeflow") as kubeflow:

        def submit():
            parameters = {"store": store.uri, "config": config.model_dump_json()}
            run_id = kubeflow.submit(
                *tiny_pipelines.compiled(pipeline), display_name="one", experiment="tests", parameters=parameters
            ).id
            until = time.monotonic() + 120
            while server.runs[run_id].finished.startswith("1970"):
                assert time.monotonic() < until, "the run doesn't end"
                time.sleep(0.05)
            task = server.runs[run_id].tasks["vocabulary"]
            return task, (server.runs[run_id].folder / "vocabulary" / "log").read_text()

        yield submit, store, config.derivation().prefix


def test_four_pods_one_attempt_one_sentence_and_a_new_run_tries_again(submit, tmp_path):
    submit, store, prefix = submit
    # GIVEN a vocabulary that isn't one
    (tmp_path / "vocab.txt").write_text("the\nthe\n")
    # WHEN a run makes it THEN each pod says the same, and only the first one has tried
    task, log = submit()
    assert (task.attempts, task.exit_code) == (1 + RETRIES, ExitCode.USER_ERROR)
    said = [line for line in log.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 + RETRIES
    assert len(set(said)) == 1
    [events] = attempts.read(store, prefix)
    failure = attempts.failure(events)
    assert failure.is_final
    assert f"error: {failure.sentence.splitlines()[0]}" == said[0]
    # WHEN another run comes THEN it tries, and its retries don't take the first one's word for it
    task, _ = submit()
    assert task.attempts == 1 + RETRIES
    assert len(attempts.numbers(store, prefix)) == 2
