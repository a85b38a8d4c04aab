import pytest
import yaml

from bertline.errors import UserError
from bertline_pipelines import stages
from bertline_pipelines.places import profiles

GKE = {"BERTLINE_STORE": "gs://bucket/bertline", "BERTLINE_REGISTRY": "registry.example/bertline"}


@pytest.fixture
def change(tmp_path):
    """The kind profile with one thing changed, as a file of one's own."""

    def write(*path, value):
        document = yaml.safe_load(profiles.text("kind"))
        *parents, last = path
        section = document
        for part in parents:
            section = section.setdefault(part, {})
        section[last] = value
        file = tmp_path / "mine.yaml"
        file.write_text(yaml.safe_dump(document))
        return str(file)

    return write


@pytest.mark.parametrize("name", profiles.names())
def test_every_profile_that_we_ship_loads(name):
    profile = profiles.load(name, GKE)
    assert profile.name == name
    assert profile.description


def test_a_gke_profile_asks_for_what_only_its_user_knows():
    with pytest.raises(UserError) as error:
        profiles.load("gke-l4", {})
    assert "store.uri has no value" in str(error.value)
    assert "BERTLINE_REGISTRY" in str(error.value)


def test_the_environment_says_where_and_nothing_else():
    profile = profiles.load("kind", {"BERTLINE_STORE": "s3://mine/x", "BERTLINE_KFP_ENDPOINT": "https://kfp.example"})
    assert profile.store.uri == "s3://mine/x"
    assert profile.kubeflow.endpoint == "https://kfp.example"
    assert profile.pods == profiles.load("kind", {}).pods


def test_default_fills_what_a_stage_leaves_out():
    profile = profiles.load("gke-l4", GKE)
    assert profile.pods.report.memory == "8Gi"
    assert profile.pods.vocabulary.memory == "8Gi"
    assert profile.pods.vocabulary.scratch == "50Gi"
    assert profile.pods.of("corpus-part") == profile.pods.corpus
    assert [stage.name for stage in stages.STAGES if profile.pods.of(stage.name).gpu] == ["pretrain"]


@pytest.mark.parametrize(("cpu", "threads"), [("1", 1), ("6", 6), ("1.5", 2), ("500m", 1), ("2500m", 3)])
def test_threads_follow_from_the_limit(change, cpu, threads):
    path = change("pods", "pretrain", "cpu", value=cpu)
    assert profiles.load(path, {}).pods.pretrain.threads == threads


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("pods", "pretrain", "cpu"), 2, 'expected text, found 2; write "2" in quotes'),
        (("pods", "pretrain", "memory"), "4 GB", "expected a size such as"),
        (("pods", "default", "memory"), "8", "pods.default.memory: expected a size such as"),
        (("pods", "pretrain", "memory"), "4K", "expected a size such as"),
        (("pods", "pretrain", "memory"), "0Gi", "expected a size such as"),
        (("pods", "pretrain", "cpu"), "0", "expected cores such as"),
        (("pods", "pretrain"), "big", "pods.pretrain: expected a section"),
        (("pods", "default"), "big", "pods.default: expected a section"),
        (("kubeflow", "namespace"), "Kube Flow", "kubeflow.namespace: expected lower-case letters"),
        (("pods", "pretrain", "cpu"), "two", "expected cores such as"),
        (("pods", "pretrain", "gpu"), {"count": 1}, "gpu needs node_selector"),
        (("pods", "pretrain", "gpus"), 1, "pods.pretrain.gpus is not a key here; did you mean gpu?"),
        (("pods", "default", "node_selector"), {"spot": True}, "pods.default.node_selector.spot"),
        (("environment", "EPOCHS"), 3, 'write "3" in quotes'),
        (("store", "uri"), "http://somewhere", "gs://bucket/prefix, s3://bucket/prefix or a directory"),
        (("kubeflow", "endpoint"), "localhost:8888", "an address such as http://localhost:8888"),
        (("images", "pull_policy"), "Sometimes", "images.pull_policy"),
        (("images", "registry"), "registry.example/bertline:latest", "images.registry"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(change, path, value, sentence):
    with pytest.raises(UserError) as error:
        profiles.load(change(*path, value=value), {})
    assert sentence in str(error.value)
    assert "Traceback" not in str(error.value)


def test_a_mistake_in_default_is_told_once_and_where_it_stands(change):
    with pytest.raises(UserError) as error:
        profiles.load(change("pods", "default", "cpu", value=2), {})
    (problem,) = error.value.problems
    assert problem["message"].startswith("pods.default.cpu: ")


def test_a_gpu_needs_an_image_that_can_use_it(change):
    gpu = {"gpu": {"count": 1}, "node_selector": {"gpu": "l4"}}
    with pytest.raises(UserError, match="variant: cuda"):
        profiles.load(change("pods", "pretrain", value=gpu), {})
    with pytest.raises(UserError, match="variant: cuda"):
        profiles.load(change("pods", "pretrain", value=gpu | {"variant": "cuda", "gpu": {"fake": True}}), {})
    assert profiles.load(change("pods", "pretrain", value=gpu | {"variant": "cuda"}), {}).pods.pretrain.gpu


def test_an_unknown_profile_names_those_there_are():
    with pytest.raises(UserError, match="gke-a100-spot, gke-l4, kind, kind-gpu, local, minikube"):
        profiles.load("gke", {})


def test_a_file_that_is_no_profile(tmp_path):
    path = tmp_path / "profile.yaml"
    path.write_text("- a list\n")
    with pytest.raises(UserError, match="expected `name:`"):
        profiles.load(str(path), {})
    path.write_text("{")
    with pytest.raises(UserError, match="isn't YAML"):
        profiles.load(str(path), {})


@pytest.mark.parametrize(
    "place",
    [
        ("kubeflow", "endpoint"),
        ("kubeflow", "ui"),
        ("store", "uri"),
        ("store", "endpoint"),
        ("images", "registry"),
        ("environment", "HTTPS_PROXY"),
    ],
)
@pytest.mark.parametrize("value", ["https://ann:hunter2@host/x", "ann:hunter2@host", "https://host/x?token=hunter2"])
def test_a_secret_in_a_profile_is_refused_and_not_repeated(change, place, value):
    with pytest.raises(UserError, match=rf"password.*in {place[0]}\.{place[1]}") as refusal:
        profiles.load(change(*place, value=value), {})
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("variable", ["BERTLINE_KFP_ENDPOINT", "BERTLINE_STORE", "BERTLINE_REGISTRY"])
def test_a_secret_in_the_environments_addresses_is_refused_and_not_repeated(variable):
    with pytest.raises(UserError, match="password") as refusal:
        profiles.load("kind", {variable: "https://ann:hunter2@host"})
    assert "hunter2" not in str(refusal.value)
