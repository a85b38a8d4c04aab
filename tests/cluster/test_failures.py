"""Why a pod failed, from messages as Kubernetes words them."""

import pytest

from bertline_pipelines.cluster import failures
from bertline_pipelines.cluster import pods as records
from support.kubernetes_api import pod


def read_pod(*arguments, **keywords):
    return records.pods([pod(*arguments, **keywords)])[0]


def terminated(code, reason="Error", message=""):
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        (
            {"main": terminated(137, "OOMKilled"), "requests": {"memory": "3Gi"}},
            (
                "killed for using more than its memory limit of 3 GiB (OOMKilled): raise `memory` in the profile, or a "
                "smaller batch"
            ),
        ),
        ({"main": terminated(1, "OOMKilled")}, "killed for using more than its memory limit of 2 GiB"),
        (
            {
                "reason": "Evicted",
                "message": "The node was low on resource: ephemeral-storage. Threshold quantity: 2146223340, "
                "available: 1883424Ki. Container main was using 10304Ki, request is 0, has larger consumption of "
                "ephemeral-storage. ",
            },
            "evicted for its use of the node's disk: raise `scratch` in the profile (The node was low on resource: ",
        ),
        (
            {"reason": "Evicted", "message": 'Usage of EmptyDir volume "scratch" exceeds the limit "5Gi". '},
            "evicted for its use of the node's disk: raise `scratch` in the profile (Usage of EmptyDir volume",
        ),
        (
            {"reason": "Evicted", "message": "The node was low on resource: memory. Threshold quantity: 100Mi. "},
            "evicted because node a ran out of memory",
        ),
        (
            {
                "reason": "DeadlineExceeded",
                "message": "Pod was active on the node longer than the specified deadline",
                "spec": {"activeDeadlineSeconds": 21600},
            },
            "ran longer than its time-out of 6 h: raise `timeout_hours` in the profile; a retry",
        ),
        (
            {"reason": "Terminated", "message": "Pod was terminated in response to imminent node shutdown."},
            "its node a was shut down (a spot machine that was taken back?); a retry or `bertline submit` continues",
        ),
        (
            {"reason": "NodeShutdown", "message": "Pod was rejected as the node is shutting down."},
            "its node a was shutting down",
        ),
        ({"reason": "Preempting", "message": "Preempted in order to admit critical pod"}, "preempted: node a needed"),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "PreemptionByScheduler",
                        "message": "default-scheduler: preempting to accommodate a higher priority pod",
                    }
                ],
                "main": terminated(143),
            },
            "preempted: a pod of higher priority took its place; a retry",
        ),
        (
            {
                "conditions": [
                    {
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByPodGC",
                        "message": "PodGC: node no longer exists",
                    }
                ]
            },
            "its node a is gone (a spot machine that was taken back, or deleted); a retry",
        ),
        (
            {
                "reason": "UnexpectedAdmissionError",
                "message": "Pod was rejected: Allocate failed due to requested number of devices unavailable for "
                "nvidia.com/gpu. Requested: 1, Available: 0, which is unexpected",
            },
            "node a couldn't give it what it had promised (Pod was rejected: Allocate failed due to",
        ),
        ({"reason": "OutOfnvidia.com/gpu", "message": "Pod was rejected"}, "node a had no nvidia.com/gpu left when it"),
        ({"main": terminated(137)}, "killed from outside (SIGKILL), not for its memory"),
        ({"main": terminated(1)}, "ended with exit code 1: the last lines of its log say why"),
        (
            {
                "containerStatuses": [
                    {"name": "wait", "state": terminated(64, message="failed to create new task result")},
                    {"name": "main", "state": terminated(0, "Completed")},
                ]
            },
            "Argo's container wait failed with 64: failed to create new task result",
        ),
    ],
)
def test_why_a_pod_failed(keywords, sentence):
    failed = read_pod(phase="Failed", node="a", **keywords)
    assert failed.state == "failed"
    assert failures.why_failed(failed).startswith(sentence)
