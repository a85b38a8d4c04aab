"""`bertline images`: the exact commands, and what is said when they can't work."""

import json
import shlex
import sys
import tempfile
from dataclasses import dataclass

import pytest

from bertline_cli import main
from bertline_pipelines.images import catalogue
from support.checkouts import ROOT

OURS = ("BERTLINE_REGISTRY", "PIP_CERT", "PIP_CONFIG_FILE")

BUILT_IN = {
    "docker": "bertline-corpus:{tag}",
    "podman": "docker.io/library/bertline-corpus:{tag}",
    "buildah": "docker.io/library/bertline-corpus:{tag}",
}
"""Tool → the name it has to be told for `bertline-corpus:TAG` on a node."""


@pytest.fixture
def programs(tmp_path):
    """A PATH with nothing on it but programs that tests put there."""
    folder = tmp_path / "programs"
    folder.mkdir()
    return folder


@pytest.fixture
def program(programs, tmp_path):
    """Put a program there that writes down how it was called and then does something."""

    def program(name, then="exit 0"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n{then}\n')
        (programs / name).chmod(0o755)

    return program


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def bertline(programs, tmp_path, monkeypatch, capfd):
    """Run `bertline images …` in this process: starting another one for each would take ten times as long."""

    def run(*arguments, **environment):
        capfd.readouterr()
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            for name in OURS:
                patch.delenv(name, raising=False)
            for name, value in ({"PATH": str(programs), "COLUMNS": "200"} | environment).items():
                patch.setenv(name, value)
            patch.setattr(tempfile, "tempdir", None)  # TMPDIR is looked at anew
            patch.setattr(sys, "argv", ["bertline", "images", *map(str, arguments)])
            with pytest.raises(SystemExit) as ended:
                main.main()
        out, err = capfd.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    return run


@pytest.fixture
def calls(tmp_path):
    def calls():
        path = tmp_path / "calls"
        return path.read_text().splitlines() if path.exists() else []

    return calls


def words(done):
    """The printed commands."""
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("tool", BUILT_IN)
def test_build_gives_the_tool_the_recipe_the_base_and_the_name(tool, bertline):
    [command] = words(bertline("build", "--image", "corpus", "--tool", tool, "--dry-run"))
    tag = catalogue.tag("corpus")
    assert command[:6] == [tool, "build", "--file", str(ROOT / "images/Dockerfile"), "--target", "corpus"]
    assert command[-3:] == ["--tag", BUILT_IN[tool].format(tag=tag), str(ROOT)]
    arguments = dict(
        word.split("=", 1) for word, before in zip(command[1:], command, strict=False) if before == "--build-arg"
    )
    assert arguments.pop("VERSION")
    arguments.pop("REVISION", None)  # where there is no git there is none
    lock = "images/corpus/requirements.lock"
    assert arguments == {"BASE_IMAGE": catalogue.base(), "IMAGE": f"bertline-corpus:{tag}", "LOCK": lock}


def test_build_makes_all_images_with_the_wanted_variant_where_there_is_one(bertline):
    commands = words(
        bertline("build", "--variant", "cuda", "--registry", "r.example/p", "--tool", "docker", "--dry-run")
    )
    assert [command[-2] for command in commands] == [
        catalogue.reference("r.example/p", name, "cuda") for name in catalogue.VARIANTS
    ]
    assert [any(word.startswith("LOCK=") and "cuda" in word for word in command) for command in commands] == [
        False,
        True,
        True,
        False,
    ]


def test_pips_settings_go_in_as_secrets(bertline, tmp_path):
    settings, certificates = tmp_path / "pip.conf", tmp_path / "ca.pem"
    settings.touch()
    certificates.touch()
    options = ("build", "--image", "report", "--tool", "podman", "--dry-run")
    [by_option] = words(bertline(*options, "--pip-conf", settings, "--ca-file", certificates))
    assert f"id=pip.conf,src={settings}" in by_option
    assert f"id=ca.crt,src={certificates}" in by_option
    [by_pips_own] = words(bertline(*options, PIP_CONFIG_FILE=str(settings), PIP_CERT=str(certificates)))
    assert by_pips_own == by_option
    [without] = words(bertline(*options))
    assert "--secret" not in without
    assert bertline(*options, "--pip-conf", "nowhere.conf").returncode == 2


LOADS = {
    ("docker", "kind"): ["kind load docker-image {name} --name bertline"],
    ("docker", "minikube"): ["minikube image load {name} --profile minikube"],
    ("podman", "kind"): [
        "podman save --format docker-archive --output bertline-corpus.tar docker.io/library/{name}",
        "kind load image-archive bertline-corpus.tar --name bertline",
    ],
    ("buildah", "minikube"): [
        "buildah push docker.io/library/{name} docker-archive:bertline-corpus.tar:docker.io/library/{name}",
        "minikube image load bertline-corpus.tar --profile minikube",
    ],
}


@pytest.mark.parametrize(("tool", "loader"), LOADS)
def test_load_brings_an_image_into_the_nodes(tool, loader, bertline):
    done = bertline("load", "--image", "corpus", "--tool", tool, "--into", loader, "--dry-run")
    name = f"bertline-corpus:{catalogue.tag('corpus')}"
    assert [" ".join(command) for command in words(done)] == [line.format(name=name) for line in LOADS[tool, loader]]


def test_load_takes_another_clusters_name(bertline):
    options = ("load", "--image", "corpus", "--tool", "docker", "--dry-run", "--cluster", "mine")
    assert words(bertline(*options, "--into", "kind"))[0][-2:] == ["--name", "mine"]
    assert words(bertline(*options, "--into", "minikube"))[0][-2:] == ["--profile", "mine"]


def test_push_names_the_registry(bertline):
    options = ("push", "--image", "report", "--tool", "podman", "--dry-run")
    expected = ["podman", "push", catalogue.reference("r.example/p", "report")]
    assert words(bertline(*options, "--registry", "r.example/p")) == [expected]
    assert words(bertline(*options, BERTLINE_REGISTRY="r.example/p")) == [expected]


def test_a_docker_without_an_engine_isnt_used(bertline, program, calls):
    program("docker", "exit 1")
    program("podman")
    [command] = words(bertline("build", "--image", "report", "--dry-run"))
    assert command[0] == "podman"
    program("docker", "echo 28.0")
    [command] = words(bertline("build", "--image", "report", "--dry-run"))
    assert command[0] == "docker"
    assert not [call for call in calls() if call.split()[1] != "version"]  # nothing else was started


def test_an_image_that_is_there_isnt_built_again(bertline, program, calls):
    program("podman", 'case "$*" in *bertline-corpus*) echo sha256:1 ;; image*) exit 1 ;; esac')
    done = bertline("build", "--image", "corpus", "--image", "report")
    assert done.returncode == 0, done.stderr
    assert f"bertline-corpus:{catalogue.tag('corpus')} is built already" in done.stdout
    builds = [call for call in calls() if call.startswith("podman build")]
    assert len(builds) == 1
    assert "bertline-report" in builds[0]


def test_build_tells_programs_what_it_did_and_keeps_the_rest_out(bertline, program):
    program("podman", 'case "$*" in *bertline-corpus*) echo sha256:1 ;; build*) echo chatter ;; *) exit 1 ;; esac')
    done = bertline("build", "--image", "corpus", "--image", "report", "--json")
    assert [(each["image"], each["reference"], each["was_there"]) for each in json.loads(done.stdout)] == [
        ("corpus", catalogue.reference("", "corpus"), True),
        ("report", catalogue.reference("", "report"), False),
    ]
    assert "chatter" in done.stderr


def test_load_runs_both_steps_and_leaves_no_archive(bertline, program, calls, tmp_path):
    program("podman", 'case "$1" in image) echo sha256:1 ;; save) : > "$5" ;; esac')
    program("kind", 'test -f "$3"')
    (tmp_path / "scratch").mkdir()
    done = bertline("load", "--image", "corpus", TMPDIR=str(tmp_path / "scratch"))
    assert done.returncode == 0, done.stderr
    assert [call.split()[:2] for call in calls()][-2:] == [["podman", "save"], ["kind", "load"]]
    assert not list((tmp_path / "scratch").iterdir())


def test_ls_names_what_the_pipeline_will_ask_for(bertline, program):
    program("podman", 'case "$*" in *bertline-report*) echo 464000000 ;; *) exit 1 ;; esac')
    listed = {each["image"]: each for each in json.loads(bertline("ls", "--json", "--variant", "cuda").stdout)}
    assert listed["pretrain"]["reference"] == catalogue.reference("", "pretrain", "cuda")
    assert listed["corpus"]["stages"] == ["vocabulary", "corpus", "corpus-part"]
    assert (listed["report"]["bytes"], listed["corpus"]["bytes"]) == (464_000_000, None)
    lines = bertline("ls").stdout.splitlines()
    assert len(lines) == len(catalogue.VARIANTS)
    assert lines[-1] == f"{catalogue.reference('', 'report')}\t464 MB\treport"


def test_ls_needs_no_tool(bertline):
    done = bertline("ls", "--image", "report")
    assert done.stdout == f"{catalogue.reference('', 'report')}\tnot built here\treport\n"


REFUSALS = {
    "no tool": (("build",), "building images needs one of docker, podman, buildah, and none works here; install one"),
    "an unknown tool": (("build", "--tool", "make"), "can't build with 'make'; accepted: docker, podman, buildah"),
    "an unknown image": (
        ("build", "--tool", "docker", "--image", "corpse"),
        "there is no image 'corpse'; there are corpus, pretrain, evaluate, report",
    ),
    "an unknown variant": (("ls", "--variant", "tpu"), "there is no variant 'tpu'; there are cpu, cuda"),
    "no registry": (("push", "--tool", "docker"), "push needs --registry (or BERTLINE_REGISTRY)"),
    "no loader": (("load", "--tool", "docker"), "loading images needs kind or minikube on PATH"),
    "an unknown loader": (
        ("load", "--tool", "docker", "--into", "k3s"),
        "can't load images with 'k3s'; accepted: kind",
    ),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_what_cant_work_is_said_in_a_sentence(arguments, sentence, bertline):
    done = bertline(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert sentence in done.stderr


def test_an_engine_that_doesnt_answer_is_mentioned(bertline, program):
    program("docker", "exit 1")
    assert "docker is installed, but its engine doesn't answer" in bertline("build").stderr


def test_a_build_that_fails_points_to_its_own_words(bertline, program):
    program("podman", 'test "$1" != build || { echo "no such host" >&2; exit 125; }; exit 1')
    done = bertline("build", "--image", "report")
    assert done.returncode == 2
    assert "no such host" in done.stderr
    assert "`podman build` ended with exit code 125" in done.stderr


def test_what_isnt_built_isnt_pushed_or_loaded(bertline, program):
    program("podman", "exit 1")
    program("kind")
    for command in (("push", "--registry", "r.example/p"), ("load",)):
        done = bertline(*command, "--image", "pretrain", "--variant", "cuda")
        assert done.returncode == 2
        assert "build it first:  bertline images build --image pretrain --variant cuda" in done.stderr
