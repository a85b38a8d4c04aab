"""The real Dockerfiles, built without Docker; and an experiment whose every task runs inside its image.

The base is a Debian bookworm made by debootstrap, so nothing is pulled; packages are downloaded by pip, with their
hashes. A task is started by the command that the compiled pipeline gives to KFP, as user 65532 without capabilities
or network, on a read-only root filesystem.

Needs root, buildah and debootstrap, 12 GB of disk under TMPDIR, and about half an hour on two cores. What is made
goes away in the end, unless BERTLINE_TEST_IMAGES names a folder to keep it in for the next time.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bertline.experiment import specs
from bertline.pretrain.config import PretrainConfig
from bertline.sources import files
from bertline.store import realizations, references
from bertline.store.backends import connect
from bertline_pipelines.compiling import documents
from bertline_pipelines.images import catalogue
from bertline_pipelines.places import profiles
from bertline_pipelines.planning import plans, unrolling
from support import checkouts, sandboxes, tiny_experiments

pytestmark = [pytest.mark.images, pytest.mark.slow, pytest.mark.timeout(7200)]

BASE = "localhost/bertline-base:bookworm"
BUILT = ("corpus", "pretrain", "evaluate", "report")
WITHOUT_TENSORFLOW = ("corpus", "report")


@pytest.fixture(scope="module")
def workplace():
    """A folder for everything."""
    for program in ("buildah", "debootstrap", "unshare"):
        if not shutil.which(program):
            pytest.skip(f"{program} isn't here")
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts a root filesystem read-only and changes the user")
    kept = os.environ.get("BERTLINE_TEST_IMAGES")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="bertline-images-"))
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    if not kept:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def environment(workplace):
    """Of buildah: without nested containers, its storage in the workplace."""
    (workplace / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{workplace}/storage"\nrunroot = "{workplace}/run"\n'
    )
    return os.environ | {
        "CONTAINERS_STORAGE_CONF": str(workplace / "storage.conf"),
        "STORAGE_DRIVER": "vfs",
        "BUILDAH_ISOLATION": "chroot",
    }


@pytest.fixture(scope="module")
def base(workplace, environment):
    """Debian with its own Python 3.11, as an image."""

    def run(*command):
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    if not run("buildah", "images", "--quiet", "--filter", f"reference={BASE}"):
        folder = workplace / "bookworm"
        run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", folder)
        container = run("buildah", "from", "scratch")
        run("tar", "--create", "--file", f"{folder}.tar", "--directory", folder, ".")
        run("buildah", "add", container, f"{folder}.tar", "/")
        run("buildah", "commit", "--rm", container, BASE)
        shutil.rmtree(folder)
        Path(f"{folder}.tar").unlink()
    return BASE


@pytest.fixture(scope="module")
def checkout(base, tmp_path_factory):
    """A checkout with another base, of somebody who has to use one and whose files nobody else may read."""
    folder = checkouts.copy(tmp_path_factory.mktemp("bertline") / "checkout", "pipelines", "cli")
    (folder / "images/base-image.txt").write_text(f"{base}\n")
    for path in (folder / "components").rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


@pytest.fixture(scope="module")
def built(checkout, environment):
    """References of all images, made by `bertline images build`."""
    packages = ":".join(str(checkout / folder) for folder in ("components", "pipelines", "cli"))
    command = [Path(sys.executable).with_name("bertline"), "images", "build", "--tool", "buildah", "--json"]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": packages}, stdout=subprocess.PIPE, text=True, check=True
    )
    return {each["image"]: each["reference"] for each in json.loads(done.stdout)}


@pytest.fixture
def lay_out(built, environment, tmp_path):
    def lay_out(image):
        reference = f"docker.io/library/{built[image]}"
        return sandboxes.laid_out(reference, environment, tmp_path / "store", tmp_path / "scratch")

    return lay_out


@pytest.mark.parametrize("image", BUILT)
def test_an_image_starts_its_stage_read_only_as_nobody_with_nothing_to_build_with(image, lay_out, built):
    with lay_out(image) as sandbox:
        config = sandbox.config
        assert config["User"] == "65532:65532"
        labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
        assert labels["title"] == f"bertline-{image}"
        assert labels["description"]
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", labels["version"])

        entry_point = sandbox.run([*config["Entrypoint"], "--help"])
        assert entry_point.returncode == 0, entry_point.stderr
        assert f"python -m bertline.{image}" in entry_point.stdout

        assert sandbox.run(["id", "-u"]).stdout == "65532\n"
        assert re.search(r"CapEff:\t0+\n", sandbox.run(["cat", "/proc/self/status"]).stdout)
        for place in ("/app/x", "/opt/venv/x", "/home/x", "/var/tmp/x", "/root/x"):
            assert sandbox.run(["touch", place]).returncode != 0, place
        assert "Read-only file system" in sandbox.run(["touch", "/var/tmp/x"]).stderr
        assert sandbox.run(["sh", "-c", 'touch "$HOME/x" "$(mktemp)" /store/x']).returncode == 0

        assert sandbox.run(["sh", "-c", "command -v python3"]).stdout == "/opt/venv/bin/python3\n"
        for absent in ("pip", "gcc", "make", "uv"):
            assert sandbox.run(["sh", "-c", f"command -v {absent}"]).returncode != 0, absent
        assert not list(sandbox.root.glob("run/secrets/*"))
        if image in WITHOUT_TENSORFLOW:
            assert sandbox.run(["python", "-c", "import tensorflow"]).returncode == 1


@pytest.mark.parametrize("image", BUILT)
def test_all_modules_come_with_valid_bytecode(image, lay_out):
    """Nobody could write it later: without it each start would compile everything again."""
    program = f"import bertline.{image}.stage" + ("" if image in WITHOUT_TENSORFLOW else ", bertline.models.encoders")
    with lay_out(image) as sandbox:
        done = sandbox.run(["python", "-v", "-c", program])
        assert done.returncode == 0, done.stderr[-2000:]
        assert len(re.findall(r"^# code object from '/(opt/venv|app)/.*\.pyc'$", done.stderr, re.MULTILINE)) > 100
        assert not re.findall(r"^# code object from '?/(?:opt/venv|app)/.*\.py'?$", done.stderr, re.MULTILINE)


def test_images_hold_little_beside_the_base(environment, built, capsys):
    """Megabytes; a limit that is passed means that a package came in which nobody asked for."""

    def megabytes(reference):
        listed = subprocess.run(
            ["buildah", "images", "--json", reference], env=environment, capture_output=True, text=True, check=True
        )
        size, unit = json.loads(listed.stdout)[0]["size"].split()
        return float(size) * {"MB": 1, "GB": 1000}[unit]

    below = megabytes(BASE)
    sizes = {image: megabytes(f"docker.io/library/{reference}") - below for image, reference in built.items()}
    with capsys.disabled():
        print(f"\nMB beside a base of {below:.0f} MB: {sizes}")  # noqa: T201 - what images/README.md tells
    for image, size in sizes.items():
        assert size < (250 if image in WITHOUT_TENSORFLOW else 1600), image


def test_what_is_built_already_isnt_built_again(built, checkout, environment):
    packages = ":".join(str(checkout / folder) for folder in ("components", "pipelines", "cli"))
    command = [Path(sys.executable).with_name("bertline"), "images", "build", "--tool", "buildah", "--image", "report"]
    done = subprocess.run(
        command, env=environment | {"PYTHONPATH": packages}, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{built['report']} is built already\n")


def test_a_whole_experiment_inside_the_images(built, checkout, lay_out, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "CHECKOUT", checkout)  # so that the pipeline names the images that were built
    graph = unrolling.build(specs.load(tiny_experiments.write(tmp_path, epochs=2)))
    store = connect(str(tmp_path / "store"))
    portable = unrolling.portable(graph)
    references.write(store, portable.experiment.name, portable.document)
    files.upload(graph.experiment.sources(), store)
    for path in (tmp_path / "store").rglob("*"):
        os.chown(path, sandboxes.NOBODY, sandboxes.NOBODY)

    profile = profiles.load("kind", {})
    profile = profile.model_copy(update={"store": profiles.StoreAccess(uri="file:///store")})
    plan = plans.plan(portable, store, corpus_pods=2)
    document = documents.compile_tasks(portable.experiment.name, plan.missing, profile).pipeline_spec
    tasks = document["root"]["dag"]["tasks"]
    stages = set()
    for name in _in_order(tasks):
        component = document["components"][tasks[name]["componentRef"]["name"]]
        container = document["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        image = container["image"].removeprefix("bertline-").partition(":")[0]
        assert container["image"] == built[image]
        config = tasks[name]["inputs"]["parameters"]["config"]["runtimeValue"]["constant"]
        request = {
            "inputs": {"parameterValues": {"store": "file:///store", "config": config}},
            "outputs": {
                "parameters": {"Output": {"outputFile": "/tmp/kfp/Output"}},
                "outputFile": "/tmp/kfp/executor_output.json",
            },
        }
        arguments = [json.dumps(request) if word == "{{$}}" else word for word in container["args"]]
        shutil.rmtree(tmp_path / "scratch", ignore_errors=True)
        with lay_out(image) as sandbox:
            environment = {each["name"]: each["value"] for each in container.get("env", [])}
            done = sandbox.run([*container["command"], *arguments], **environment)
        assert done.returncode == 0, f"{name}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        output = json.loads((tmp_path / "scratch/kfp/executor_output.json").read_text())
        assert re.fullmatch(r"[0-9a-f]{64}( [0-9a-f]{64})*", output["parameterValues"]["Output"])
        stages.add(arguments[arguments.index("--function_to_execute") + 1])

    assert stages == {"vocabulary", "corpus", "corpus_part", "pretrain", "evaluate", "report"}
    assert not plans.plan(portable, store).missing
    for path in (tmp_path / "store/objects").rglob("*"):
        assert path.stat().st_uid == sandboxes.NOBODY
    report = realizations.require(store, "report", plan.tasks[-1].configs[0].derivation().key)
    assert "report.html" in report.paths()
    milestone = graph.configs(PretrainConfig)[0].derivation().key
    made_with = realizations.require(store, "pretrain", milestone).manifest.provenance
    assert made_with["image"] == built["pretrain"]
    assert made_with["packages"]["kfp"] == "2.16.1"


def _in_order(tasks):
    """Names of tasks, each after those it depends on."""
    done = []
    while len(done) < len(tasks):
        done += [
            name
            for name, task in tasks.items()
            if name not in done and set(task.get("dependentTasks", ())) <= set(done)
        ]
    return done
