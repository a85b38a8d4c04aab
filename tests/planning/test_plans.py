import json

import pytest

import bertline_pipelines
from bertline.corpus.config import CorpusConfig
from bertline.evaluate.config import EvaluateConfig
from bertline.experiment import specs
from bertline.pretrain.config import PretrainConfig
from bertline.store.backends import connect
from bertline.store.realizations import Outcome, realize
from bertline.vocabulary.config import VocabularyConfig
from bertline_pipelines.compiling import pipelines
from bertline_pipelines.planning import plans, unrolling


@pytest.fixture(scope="module")
def graph():
    return unrolling.build(specs.load(bertline_pipelines.experiment_files() / "nano.yaml"))


@pytest.fixture
def store(tmp_path):
    return connect(str(tmp_path / "store"))


def finish(store, config):
    """Make a realization of a config, with nothing in it."""
    realize(store, config.derivation(), lambda build: Outcome({}, {}))


def test_an_empty_store_misses_everything_in_an_order_that_respects_needs(graph, store):
    plan = plans.plan(graph, store)
    seen = set()
    for task in plan.missing:
        assert set(task.after) <= seen
        seen.add(task.name)
    assert len(seen) == len(plan.tasks) == 2 + 2 * 3 * 2 + 1
    assert plan.tasks[-1].name == "report"


def test_planning_writes_nothing(graph, store):
    plans.plan(graph, store)
    assert not list(store.list(""))


def test_what_is_done_is_left_out_and_nothing_waits_for_it(graph, store):
    finish(store, graph.configs(VocabularyConfig)[0])
    finish(store, graph.configs(CorpusConfig)[0])
    finish(store, graph.configs(PretrainConfig)[0])
    missing = {task.name: task for task in plans.plan(graph, store).missing}
    assert not {"vocabulary", "corpus", "2L-pretrain-1"} & missing.keys()
    assert missing["2L-pretrain-2"].after == ()
    assert missing["2L-evaluate-1-sample-nli"].after == ()
    assert missing["4L-pretrain-1"].after == ()


def test_a_seed_that_is_done_isnt_given_to_the_task_again(store):
    experiment = specs.load(bertline_pipelines.experiment_files() / "nano.yaml")
    evaluate = experiment.evaluate.model_copy(update={"seeds": (1, 2, 3)})
    graph = unrolling.build(experiment.model_copy(update={"evaluate": evaluate}))
    finish(store, graph.configs(EvaluateConfig)[1])
    task = next(task for task in plans.plan(graph, store).tasks if task.name == "2L-evaluate-1-sample-nli")
    assert task.done == (False, True, False)
    assert [config["seed"] for config in json.loads(task.missing)] == [1, 3]


def test_task_names_are_unique_and_fit_kubernetes(graph, store):
    names = [task.name for task in plans.plan(graph, store).tasks]
    assert len(names) == len(set(names))


def test_the_pipeline_is_flat_static_and_uncached(graph, store, tmp_path):
    """From the compiled document alone, with the official protos."""
    import yaml
    from google.protobuf import json_format
    from kfp import compiler
    from kfp.pipeline_spec import pipeline_spec_pb2

    plan = plans.plan(graph, store)
    path = tmp_path / "nano.yaml"
    compiler.Compiler().compile(pipelines.build("nano", plan.missing, store.uri), str(path))
    document = next(yaml.safe_load_all(path.read_text()))
    spec = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
    tasks = spec.root.dag.tasks
    assert len(tasks) == len(plan.missing)
    by_display_name = {task.task_info.name: task for task in tasks.values()}
    name_of = {key: task.task_info.name for key, task in tasks.items()}
    for planned in plan.missing:
        task = by_display_name[planned.name]
        assert {name_of[key] for key in task.dependent_tasks} == set(planned.after)
        assert not task.caching_options.enable_cache
        assert not task.HasField("trigger_policy")
        assert task.inputs.parameters["config"].runtime_value.constant.string_value == planned.missing
        assert task.WhichOneof("iterator") is None
    # thin components: one container a stage (the backend stores each once), no logic in them
    containers = {str(executor) for executor in document["deploymentSpec"]["executors"].values()}
    assert len(containers) == 5
    assert all(len(container) < 2500 for container in containers)
    assert path.stat().st_size < 500_000
