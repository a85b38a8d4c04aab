"""Compiled pipelines: read back with the official protos, and compared whole with the golden files."""

import json

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from bertline_pipelines import stages
from bertline_pipelines.compiling import documents
from bertline_pipelines.images import catalogue
from bertline_pipelines.places import profiles
from support import goldens


@pytest.fixture(scope="module")
def document():
    (document,) = goldens.compiled("gke-a100-spot")
    return document


@pytest.fixture(scope="module")
def spec(document):
    return json_format.ParseDict(document.pipeline_spec, PipelineSpec())


@pytest.fixture(scope="module")
def containers(spec):
    """Executor name → container, with the official message."""
    executors = spec.deployment_spec.fields["executors"].struct_value.fields
    return {name: json_format.MessageToDict(value)["container"] for name, value in executors.items()}


@pytest.fixture(scope="module")
def pods(document):
    executors = document.platform_spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name: json_format.ParseDict(pod, KubernetesExecutorConfig()) for name, pod in executors.items()}


def stage_of(pod):
    return pod.pod_metadata.labels["bertline.dev/stage"]


@pytest.mark.parametrize("name", goldens.PROFILES)
def test_compiles_to_the_golden_file(name):
    golden = (goldens.FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert goldens.text(name) == golden, "changed: look at the difference after `make golden`"


def test_the_same_input_compiles_to_the_same_bytes():
    assert goldens.compiled("gke-l4")[0].text == goldens.compiled("gke-l4")[0].text


def test_gpu_selector_and_toleration_on_exactly_the_pretraining_tasks(containers, pods):
    assert {stage_of(pod) for pod in pods.values()} == {
        "vocabulary", "corpus", "corpus-part", "pretrain", "evaluate", "report",
    }  # fmt: skip
    for name, pod in pods.items():
        resources = containers[name]["resources"]
        if stage_of(pod) == "pretrain":
            assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
            assert resources["accelerator"]["resourceCount"] == "1"
            assert pod.node_selector.labels["cloud.google.com/gke-accelerator"] == "nvidia-tesla-a100"
            assert {(each.key, each.effect) for each in pod.tolerations} == {
                ("nvidia.com/gpu", "NoSchedule"),
                ("cloud.google.com/gke-spot", "NoSchedule"),
            }
            assert {mount.mount_path: mount.medium for mount in pod.empty_dir_mounts}["/dev/shm"] == "Memory"
        else:
            assert "accelerator" not in resources
            assert not pod.node_selector.labels
            assert not pod.tolerations


def test_every_task_is_uncached_and_retried_for_long(spec):
    assert len(spec.root.dag.tasks) == 31  # vocabulary, 2 * 4 parts, corpus, 2 models * 5 rounds * 2, report
    for name, task in spec.root.dag.tasks.items():
        assert not task.caching_options.enable_cache, name
        assert task.retry_policy.max_retry_count >= 3, name
        assert task.retry_policy.backoff_max_duration.seconds >= 7 * 24 * 3600, name


def test_the_graph_is_the_loop_unrolled(spec):
    shown = {task.task_info.name: task for task in spec.root.dag.tasks.values()}
    name_of = {key: task.task_info.name for key, task in spec.root.dag.tasks.items()}
    after = {name: {name_of[each] for each in task.dependent_tasks} for name, task in shown.items()}
    assert after["corpus-map-3"] == {"vocabulary"}
    assert after["corpus-reduce-1"] == {f"corpus-map-{index}" for index in (1, 2, 3, 4)}
    assert after["corpus"] == {f"corpus-reduce-{index}" for index in (1, 2, 3, 4)}
    assert after["6L-pretrain-10"] == {"corpus"}
    assert after["6L-pretrain-20"] == {"6L-pretrain-10"}
    assert after["6L-evaluate-20-MNLI-m"] == {"6L-pretrain-20"}
    assert {"3L-pretrain-50", "6L-evaluate-50-MNLI-m"} <= after["report"]


def test_nothing_but_text_is_passed_and_no_path_of_this_machine(spec, document):
    for task in spec.root.dag.tasks.values():
        config = task.inputs.parameters["config"].runtime_value.constant.string_value
        assert json.loads(config)
        assert task.inputs.parameters["store"].component_input_parameter == "store"
    assert str(goldens.FOLDER.parents[1]) not in document.text
    assert '"url":"train.tsv"' in document.text


def test_images_are_tagged_by_their_content(containers, pods):
    for name, container in containers.items():
        stage = stage_of(pods[name])
        variant = "cuda" if stage == "pretrain" else "cpu"
        assert container["image"] == catalogue.reference("registry.example/bertline", stages.of(stage).image, variant)
        assert {"name": "BERTLINE_IMAGE", "value": container["image"]} in container["env"]


def test_no_placeholder_is_left_outside_the_arguments(containers, pods, spec):
    for name, container in containers.items():
        assert "{{" not in json.dumps({key: value for key, value in container.items() if key != "args"}), name
        assert "{{" not in json_format.MessageToJson(pods[name]), name
    assert not any("{{" in task.task_info.name for task in spec.root.dag.tasks.values())


def test_is_small_enough_for_two_models_of_five_rounds(document):
    assert len(document.text) < 500_000
    assert len(json.dumps([document.pipeline_spec, document.platform_spec])) < 500_000


def test_credentials_come_from_the_secret_that_the_profile_names():
    (document,) = goldens.compiled("kind")
    executors = document.platform_spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for pod in executors.values():
        found = {
            each["keyToEnv"][0]["envVar"]: (each["secretName"], each["keyToEnv"][0]["secretKey"])
            for each in pod["secretAsEnv"]
        }
        assert found == {
            "AWS_ACCESS_KEY_ID": ("mlpipeline-minio-artifact", "accesskey"),
            "AWS_SECRET_ACCESS_KEY": ("mlpipeline-minio-artifact", "secretkey"),
        }
    assert "minio123" not in document.text


def test_a_long_schedule_is_cut_into_runs_that_need_only_what_came_before():
    tasks = goldens.plan(corpus_pods=4).missing
    parts = documents.chunks(tasks, 10)
    assert [len(part) for part in parts] == [10, 10, 10, 1]
    done: set[str] = set()
    everything = {task.name for task in tasks}
    for part in parts:
        done |= {task.name for task in part}
        for task in part:
            assert set(task.after) & everything <= done, task.name
    assert done == everything
    assert parts[-1][0].name == "report"
    assert {task.run for task in parts[1]} >= {"3L", "6L"}, "models advance side by side"


def test_part_of_a_plan_compiles_without_what_is_done(document):
    profile = profiles.load("gke-l4", goldens.ENVIRONMENT)
    tasks = goldens.plan(corpus_pods=4).missing
    last = documents.chunks(tasks, 10)[-1]
    alone = documents.compile_tasks("golden", last, profile)
    assert list(alone.pipeline_spec["root"]["dag"]["tasks"]) == ["report"]
    assert "dependentTasks" not in alone.pipeline_spec["root"]["dag"]["tasks"]["report"]


def test_the_text_is_what_kfp_itself_reads(document, tmp_path):
    from kfp.components import load_component_from_file

    path = tmp_path / "pipeline.yaml"
    path.write_text(document.text)
    assert load_component_from_file(str(path)).pipeline_spec.pipeline_info.name == "bertline-golden"
    assert documents.read(path) == document
    assert len(list(yaml.safe_load_all(document.text))) == 2
