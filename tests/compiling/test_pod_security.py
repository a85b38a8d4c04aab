"""Pods in a namespace that enforces Pod Security's "restricted": as KFP made them, with what we compile put on them."""

import copy
import json
from pathlib import Path

import pytest

from support import goldens
from support.pod_security import VOLUMES, violations

PODS = json.loads((Path(__file__).parents[1] / "data" / "pods-of-kfp-2.16.1.json").read_text())
"""Recorded of KFP 2.16.1 and Argo 3.7.3: a task's pod as it was before we set a security context, and both drivers."""


def main(spec):
    return next(each for each in spec["containers"] if each["name"] == "main")


@pytest.fixture(params=goldens.PROFILES)
def compiled(request):
    """Each task's settings, by executor."""
    (document,) = goldens.compiled(request.param)
    return document.platform_spec["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


@pytest.fixture
def task():
    return copy.deepcopy(PODS["task"]["spec"])


def test_a_task_lacked_one_thing(task):
    assert violations(task) == ["main: runAsNonRoot isn't true"]


def test_with_what_we_compile_it_lacks_nothing(task, compiled):
    assert len(compiled) > 5
    for settings in compiled.values():
        spec = copy.deepcopy(task)
        main(spec)["securityContext"] |= settings["securityContext"]  # as KFP's driver does, which adds to its own
        assert violations(spec) == []
        for volume in settings.get("emptyDirMounts", []) + settings.get("genericEphemeralVolume", []):
            assert volume.get("volumeName")
        kinds = {name for name in settings if "Mount" in name or "Volume" in name}
        assert kinds <= {"emptyDirMounts", "genericEphemeralVolume"}, f"of {VOLUMES}"


@pytest.mark.parametrize("driver", ["driver", "root driver"])
def test_kfps_drivers_are_admitted_too(driver):
    assert violations(PODS[driver]["spec"]) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda spec: main(spec)["securityContext"].update(capabilities={"drop": ["NET_RAW"]}), "drop ALL"),
        (lambda spec: main(spec)["securityContext"].pop("allowPrivilegeEscalation"), "escalation"),
        (lambda spec: spec["initContainers"][0]["securityContext"].update(runAsUser=0), "runAsUser is 0"),
        (lambda spec: spec["volumes"].append({"name": "node", "hostPath": {"path": "/"}}), "volume node is a hostPath"),
        (lambda spec: spec.update(hostNetwork=True), "hostNetwork"),
    ],
)
def test_the_check_would_see_other_faults(task, wrong, said):
    main(task)["securityContext"]["runAsNonRoot"] = True
    wrong(task)
    [violation] = violations(task)
    assert said in violation
