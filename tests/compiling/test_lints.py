"""Every rule of the linter fails on a document that has its trap, and none on what we compile."""

import copy

import pytest

from bertline_pipelines.compiling import lints
from support import goldens


@pytest.fixture(scope="module")
def good():
    (document,) = goldens.compiled("gke-a100-spot")
    return document.pipeline_spec, document.platform_spec


def task(pipeline, name="pretrain"):
    return pipeline["root"]["dag"]["tasks"][name]


def container(pipeline, name="exec-pretrain"):
    return pipeline["deploymentSpec"]["executors"][name]["container"]


def pod(platform, name="exec-pretrain"):
    return platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][name]


def many_tasks(pipeline, platform):
    tasks = pipeline["root"]["dag"]["tasks"]
    for index in range(20):
        tasks[f"report-{index + 100}"] = copy.deepcopy(tasks["report"])


def import_artifact(pipeline, platform):
    pipeline["deploymentSpec"]["executors"]["exec-report"] = {"importer": {"artifactUri": {"constant": "gs://x"}}}


def nest(pipeline, platform):
    pipeline["components"]["comp-report"] = {"dag": {"tasks": {}}}


TRAPS = {
    "condition": (
        lambda a, b: task(a).update(triggerPolicy={"condition": "inputs.parameter_values['x'] == 'y'"}),
        "has a condition",
    ),
    "exit handler": (
        lambda a, b: task(a).update(triggerPolicy={"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}),
        "exit handler",
    ),
    "loop": (lambda a, b: task(a).update(parameterIterator={"items": {"raw": "[1]"}, "itemInput": "x"}), "KFP loop"),
    "nested pipeline": (nest, "pipeline inside the pipeline"),
    "importer": (import_artifact, "isn't a container but importer"),
    "too many tasks": (many_tasks, "51 tasks in one run"),
    "too large": (lambda a, b: container(a)["args"].append("x" * 500_000), "the document has"),
    "number parameter": (
        lambda a, b: a["components"]["comp-pretrain"]["inputDefinitions"]["parameters"]["config"].update(
            parameterType="NUMBER_INTEGER"
        ),
        "only STRING arrives",
    ),
    "optional parameter": (
        lambda a, b: a["components"]["comp-pretrain"]["inputDefinitions"]["parameters"]["config"].update(
            isOptional=True
        ),
        "is optional",
    ),
    "input artifact": (
        lambda a, b: a["components"]["comp-pretrain"]["inputDefinitions"].update(
            artifacts={"model": {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}}
        ),
        "downloads it whole",
    ),
    "number constant": (
        lambda a, b: task(a)["inputs"]["parameters"]["config"]["runtimeValue"].update(constant=3),
        "not text",
    ),
    "huge parameter": (
        lambda a, b: task(a)["inputs"]["parameters"]["config"]["runtimeValue"].update(constant="x" * 33_000),
        "33,000 bytes",
    ),
    "placeholder in the environment": (
        lambda a, b: container(a)["env"].append({"name": "EPOCH", "value": "x-{{channel:task=;name=e;type=STRING;}}"}),
        "EPOCH holds a placeholder",
    ),
    "placeholder in the image": (
        lambda a, b: container(a).update(image="reg/x:{{$.inputs.parameters['pipelinechannel--tag']}}"),
        "the image reg/x",
    ),
    "placeholder in the GPU count": (
        lambda a, b: container(a)["resources"]["accelerator"].update(
            resourceCount="{{$.inputs.parameters['pipelinechannel--gpus']}}"
        ),
        "no GPU at all",
    ),
    "placeholder in a label": (
        lambda a, b: pod(b)["podMetadata"]["labels"].update(
            {"bertline.dev/run": "{{channel:task=;name=r;type=STRING;}}"}
        ),
        "in its Kubernetes settings",
    ),
    "placeholder in a display name": (
        lambda a, b: task(a).update(taskInfo={"name": "round {{channel:task=;name=r;type=STRING;}}"}),
        "its display name",
    ),
    "latest": (lambda a, b: container(a).update(image="registry:5000/bertline-pretrain:latest"), "follows from its"),
    "no tag": (lambda a, b: container(a).update(image="registry:5000/bertline-pretrain"), "follows from its content"),
    "a version as tag": (lambda a, b: container(a).update(image="bertline-pretrain:1.0"), "follows from its content"),
    "installs at start": (
        lambda a, b: container(a)["command"].insert(2, "python3 -m pip install kfp"),
        "installs packages",
    ),
    "GPU without retries": (lambda a, b: task(a).pop("retryPolicy"), "a GPU and no retries"),
    "the SDK's hour": (
        lambda a, b: task(a, "report")["retryPolicy"].update(backoffMaxDuration="3600s"),
        "backoffMaxDuration is 3600s",
    ),
    "no deadline is none": (
        lambda a, b: task(a, "report")["retryPolicy"].pop("backoffMaxDuration"),
        "backoffMaxDuration is missing",
    ),
    "cached": (lambda a, b: task(a).update(cachingOptions={"enableCache": True}), "KFP's cache on"),
    "GPU of no kind": (
        lambda a, b: container(a)["resources"]["accelerator"].pop("resourceType"),
        "both a resource name and a count",
    ),
    "GPU count of nothing": (
        lambda a, b: container(a)["resources"]["accelerator"].update(resourceCount="0"),
        "isn't a number of GPUs",
    ),
    "GPU without selector": (lambda a, b: pod(b).pop("nodeSelector"), "no node selector"),
    "GPU without toleration": (lambda a, b: pod(b).pop("tolerations"), "no toleration"),
    "no limits": (lambda a, b: container(a)["resources"].pop("resourceMemoryLimit"), "has no resourceMemoryLimit"),
    "no labels": (
        lambda a, b: pod(b)["podMetadata"]["labels"].pop("bertline.dev/task"),
        "has no label bertline.dev/task",
    ),
    "a long label": (
        lambda a, b: pod(b)["podMetadata"]["labels"].update({"bertline.dev/task": "x" * 64}),
        "isn't a valid label",
    ),
    "perhaps as root": (lambda a, b: pod(b).pop("securityContext"), "may run as root"),
    "root allowed": (lambda a, b: pod(b)["securityContext"].update(runAsNonRoot=False), "may run as root"),
    "as root": (lambda a, b: pod(b)["securityContext"].update(runAsUser="0"), "runs as root"),
    "a secret in plain sight": (
        lambda a, b: container(a)["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "value": "abc"}),
        "take it from a Kubernetes secret",
    ),
    "a key the backend doesn't know": (
        lambda a, b: task(a).update(priority="high"),
        "the pipeline spec can't be parsed",
    ),
    "a setting the backend doesn't know": (lambda a, b: pod(b).update(runtimeClass="nvidia"), "can't be parsed"),
}


def test_what_we_compile_passes(good):
    assert lints.problems(*good) == []


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_found(good, trap):
    spring, expected = TRAPS[trap]
    pipeline, platform = copy.deepcopy(good[0]), copy.deepcopy(good[1])
    spring(pipeline, platform)
    found = lints.problems(pipeline, platform)
    assert any(expected in problem for problem in found), found
    assert len(found) <= 3, "one trap, not a flood"


def test_every_rule_has_a_trap():
    """A rule that nobody has seen failing may be one that can't."""
    assert {rule.__name__ for rule in lints.RULES} == {
        "flat", "small", "plain_parameters", "resolved", "tagged", "settled", "retried", "uncached", "whole_gpus",
        "bounded", "labelled", "restricted", "secretless",
    }  # fmt: skip
