"""The scripts behind `make kind-up` and `make kind-gpu`, with tools that only note what they are told.

What is to be applied is made by the real kubectl where a test looks at it: for that it needs no cluster.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SCRIPTS = ("install.sh", "kind/up.sh", "kind/fake-gpus.sh")
TOOLS = ("bertline", "docker", "git", "kind", "kubectl")
IMAGE = "bertline-corpus:cpu-0123456789abcdef"

# Notes its name and arguments, and what is piped into it; answers and fails as the test wishes.
TOOL = f"""#!{sys.executable} -IS
import json, os, sys
name, arguments = sys.argv[0].rpartition("/")[2], sys.argv[1:]
if arguments[:1] == ["kustomize"]:
    os.execv(os.environ["KUSTOMIZE"], [os.environ["KUSTOMIZE"], *arguments])
line = " ".join([name, *arguments])
piped = sys.stdin.read() if arguments[-2:] == ["-f", "-"] else ""
with open(os.environ["NOTES"], "a") as notes:
    notes.write(json.dumps([line, piped]) + "\\n")
for beginning, answer in json.loads(os.environ["ANSWERS"]).items():
    if beginning in line:
        print(answer)
for beginning in json.loads(os.environ["FAILURES"]):
    if beginning in line:
        sys.exit(1)
"""


class Outcome:
    def __init__(self, done: subprocess.CompletedProcess[str], notes: Path) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        noted = [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        self.lines = [line for line, _ in noted]
        self.piped = [piped for _, piped in noted if piped]

    def place(self, words: str) -> int:
        """Of the one command that contains these words."""
        [found] = [place for place, line in enumerate(self.lines) if words in line]
        return found


@pytest.fixture
def run(tmp_path, manifests):
    """Run a script with noting tools."""

    def run(script, *arguments, tools=TOOLS, answers=None, failures=(), **environment):
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in tools:
            (folder / name).write_text(TOOL)
            (folder / name).chmod(0o755)
        for name in ("bash", "env", "sed", "awk", "grep", "cut", "tail", "wc", "dirname", "cat"):
            (folder / name).symlink_to(next(p for p in (Path("/usr/bin", name), Path("/bin", name)) if p.exists()))
        notes = tmp_path / "notes"
        usual = {"images ls": f"{IMAGE}\t123 MB\tcorpus", "kind version": "kind v0.33.0 go1.26 linux/amd64"}
        done = subprocess.run(
            [manifests / script, *arguments],
            env={
                "PATH": str(folder),
                "NOTES": str(notes),
                "ANSWERS": json.dumps(usual | (answers or {})),
                "FAILURES": json.dumps(failures),
                "KIND_VERSION": "0.33.0",
                "KUSTOMIZE": "/bin/echo",
            }
            | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Outcome(done, notes)

    return run


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_bash_and_executable(script, manifests):
    assert os.access(manifests / script, os.X_OK)
    subprocess.run(["bash", "-n", manifests / script], check=True, timeout=10)


def test_no_script_is_left_out(manifests):
    assert {path.relative_to(manifests).as_posix() for path in manifests.rglob("*.sh")} == set(SCRIPTS)


def test_the_targets_are_there_and_helped(manifests):
    make = ["make", "--no-print-directory", "--directory", manifests.parent]
    targets = ["kind-up", "kind-gpu", "kind-demo", "kind-down"]
    done = subprocess.run([*make, "-n", *targets], capture_output=True, text=True, timeout=60, check=True)
    assert "kind delete cluster --name bertline" in done.stdout
    for line in done.stdout.splitlines():
        subprocess.run(["bash", "-n"], input=line, text=True, check=True, timeout=10)
    told = subprocess.run([*make, "help"], capture_output=True, text=True, timeout=60, check=True).stdout
    assert not [target for target in targets if target not in told]


def test_the_makefile_means_the_cluster_of_its_configuration(manifests):
    name = yaml.safe_load((manifests / "kind/cluster.yaml").read_text())["name"]
    assert f"KIND_CLUSTER := {name}\n" in (manifests / "kind.mk").read_text()


def test_a_cluster_is_made_once_and_everything_is_applied_to_it(run):
    made = run("kind/up.sh")
    assert (made.code, made.err) == (0, "")
    assert "kind create cluster --config" in made.lines[made.place("create cluster")]
    assert "--wait 5m" in made.lines[made.place("create cluster")]
    assert "http://localhost:8888" in made.out
    assert "kubectl --context kind-bertline wait job/bertline-bucket" in made.lines[-1]


def test_a_cluster_that_is_there_is_kept(run):
    updated = run("kind/up.sh", answers={"kind get clusters": "bertline"})
    assert updated.code == 0
    assert not [line for line in updated.lines if "create cluster" in line]
    assert updated.place("apply -k github.com/kubeflow/pipelines") < len(updated.lines)


def test_a_cluster_of_a_similar_name_is_not_ours(run):
    assert run("kind/up.sh", answers={"kind get clusters": "bertline-2"}).place("create cluster") > 0


def test_what_is_missing_is_said_at_once(run):
    lost = run("kind/up.sh", tools=("docker", "git", "bertline"))
    assert (lost.code, lost.lines) == (2, [])
    assert lost.err.startswith("kind-up needs kind kubectl on PATH; ")
    assert lost.err.count("\n") == 1


def test_a_docker_that_doesnt_answer_is_said_at_once(run):
    down = run("kind/up.sh", failures=["docker info"])
    assert (down.code, down.lines) == (2, ["docker info"])
    assert "docker is installed but doesn't answer" in down.err


def test_another_kind_is_only_remarked_on(run):
    other = run("kind/up.sh", answers={"kind version": "kind v0.30.0 go1.25 linux/amd64"})
    assert other.code == 0
    assert "kind is v0.30.0; this was made for v0.33.0" in other.err


@pytest.mark.parametrize(("context", "place"), [("kind-bertline", "kind"), ("minikube", "minikube")])
def test_kfp_comes_first_then_ours_with_the_image_built_here(context, place, run, manifests):
    installed = run("install.sh", context, place, KUSTOMIZE=str(Path(sys.executable).with_name("kubectl")))
    assert (installed.code, installed.err) == (0, "")
    order = [
        "apply -k github.com/kubeflow/pipelines/manifests/kustomize/cluster-scoped-resources?timeout=300&ref=2.16.1",
        "wait --for=condition=Established --timeout=60s crd/applications.app.k8s.io",
        f"apply -k {manifests}/kubeflow-pipelines",
        "bertline images build --image corpus",
        f"bertline images load --image corpus --into {place}",
        "delete job bertline-bucket",
        "apply -f -",
        "wait deployment --all",
        "wait job/bertline-bucket",
    ]
    places = [installed.place(words) for words in order]
    assert places == sorted(places)
    [applied] = installed.piped
    documents = list(yaml.safe_load_all(applied))
    [job] = [document for document in documents if document["kind"] == "Job"]
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == IMAGE
    assert "set-by-install" not in applied
    assert ("NodePort" in applied) == (place == "kind")


def test_no_command_reaches_another_cluster_or_waits_for_ever_or_reads_a_secret(run):
    installed = run("install.sh", "kind-bertline", "kind")
    commands = [line for line in installed.lines if line.startswith("kubectl")]
    assert len(commands) > 6
    for line in commands:
        assert line.startswith("kubectl --context kind-bertline "), line
        assert "timeout" in line, line
        assert "secret" not in line, line


def test_pods_that_dont_come_up_are_shown(run):
    stuck = run(
        "install.sh", "kind-bertline", "kind", failures=["wait deployment"], answers={"get pods": "mysql-0 Pending"}
    )
    assert stuck.code == 1
    assert "mysql-0 Pending" in stuck.err
    assert "install: not everything is up after 20 minutes" in stuck.err
    assert not [line for line in stuck.lines if "wait job" in line]


def test_why_there_is_no_bucket_is_shown(run):
    stuck = run("install.sh", "kind-bertline", "kind", failures=["wait job"], answers={"logs job": "no such server"})
    assert stuck.code == 1
    assert "no such server" in stuck.err
    assert "install: the bucket wasn't made in 5 minutes" in stuck.err


def test_a_cluster_that_is_stopped_is_one_sentence(run):
    stopped = run("install.sh", "kind-bertline", "kind", failures=["readyz"])
    assert (stopped.code, len(stopped.lines)) == (1, 1)
    assert stopped.err == "install: the cluster of context kind-bertline doesn't answer; is it started?\n"


def test_a_place_that_doesnt_exist_is_one_sentence(run):
    assert run("install.sh", "kind-bertline", "mars").err == (
        "install: there is no overlays/mars; give kind or minikube\n"
    )


def test_an_image_that_fails_to_build_stops_it(run):
    stopped = run("install.sh", "kind-bertline", "kind", failures=["images build"])
    assert stopped.code == 1
    assert stopped.piped == []


NODES = {"get nodes": "node/bertline-control-plane", "get node bertline": "2"}


def test_the_node_gets_its_label_and_both_amounts(run):
    faked = run("kind/fake-gpus.sh", answers=NODES)
    assert (faked.code, faked.err) == (0, "")
    assert faked.place("label node bertline-control-plane bertline.dev/gpu=fake --overwrite")
    patch = faked.lines[faked.place("patch node bertline-control-plane --subresource=status")]
    amounts = {"nvidia.com/gpu": "2"}
    assert json.loads(patch.partition("--patch ")[2]) == {"status": {"capacity": amounts, "allocatable": amounts}}
    assert not [line for line in faked.lines if "taint" in line]
    assert "offers 2 GPUs that aren't there" in faked.out


def test_a_kubelet_that_took_them_back_is_said(run):
    assert "offers 0 GPUs, not 2" in run("kind/fake-gpus.sh", answers=NODES | {"get node bertline": "0"}).err


def test_a_worker_is_preferred_and_may_be_tainted(run):
    nodes = {"get nodes": "node/bertline-control-plane\nnode/bertline-worker", "get node bertline-worker": "3"}
    faked = run("kind/fake-gpus.sh", "kind-bertline", "3", answers=nodes, FAKE_GPU_TAINT="yes")
    assert faked.code == 0
    assert faked.place("taint node bertline-worker nvidia.com/gpu=present:NoSchedule --overwrite")


def test_the_only_node_isnt_tainted(run):
    refused = run("kind/fake-gpus.sh", answers=NODES, FAKE_GPU_TAINT="yes")
    assert refused.code == 2
    assert "is the only node" in refused.err
    assert not [line for line in refused.lines if "patch" in line or "label" in line]


def test_a_number_of_gpus_is_a_number(run):
    assert run("kind/fake-gpus.sh", "kind-bertline", "two").err == (
        "fake-gpus: the number of GPUs is a whole number, not two\n"
    )
