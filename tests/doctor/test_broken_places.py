"""Everything that a run needs is broken once, and each time one sentence says what to do."""

import base64
import re
import socket

import pytest
import yaml

from bertline.errors import ExitCode
from bertline_pipelines.doctor import findings
from bertline_pipelines.images import catalogue
from support.kubernetes_api import node, pod

NS = "/api/v1/namespaces/kubeflow"
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
T4 = {"cloud.google.com/gke-accelerator": "nvidia-t4"}
TAINT = ("nvidia.com/gpu", "present", "NoSchedule")


def bad(texts):
    return [each for each in texts if each[1] != "ok"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kubeflow_is_not_there(place):
    place.profile["kubeflow"]["endpoint"] = f"http://127.0.0.1:{free_port()}"
    return [("kubeflow", "failed", r"nothing answers at http://127.*port-forward")], ExitCode.TRANSIENT


def the_token_is_refused(place):
    place.set("KFP_TOKEN", "yesterdays")
    return [("kubeflow", "failed", r"refuses the token in KFP_TOKEN \(401\); it may have expired")], 2


def runs_may_not_be_listed(place):
    place.kfp.fail("GET /runs$", 403, times=9)
    return [("kubeflow", "failed", r"doesn't permit this in namespace kubeflow \(403\).*another token")], 2


def kubeflow_is_of_another_version(place):
    place.kfp.tag = "2.5.0"
    return [("kubeflow", "warning", r"version is 2\.5\.0, but bertline compiles for 2\.16")], 0


def _argo(place, defaults):
    place.api.objects[f"{NS}/configmaps"][0]["data"] = {"workflowDefaults": yaml.safe_dump(defaults)}


def kfp_2_17_ships_retries_of_errors_only(place):
    strategy = {"limit": "2", "retryPolicy": "OnError"}
    _argo(
        place,
        {"spec": {"templateDefaults": {"retryStrategy": strategy}, "ttlStrategy": {"secondsAfterCompletion": 3600}}},
    )
    return [("retries", "warning", r"retryPolicy OnError.*`retries` don't apply.*argo-retries")], 0


def retries_multiply(place):
    _argo(place, {"spec": {"templateDefaults": {"retryStrategy": {"limit": 3, "retryPolicy": "Always"}}}})
    return [("retries", "warning", r"limit here is 3")], 0


def the_context_is_unknown(place):
    place.profile["kubeflow"]["context"] = "gke"
    needy = ["namespace", "permissions", "account", "retries", "secret", "nodes", "storage class", "quota"]
    return [
        ("cluster", "failed", r"has no context 'gke'; it has kind-bertline"),
        *((name, "unknown", r"^needs the cluster$") for name in needy),
    ], 2


def the_namespace_is_missing(place):
    place.api.objects["/api/v1/namespaces"].clear()
    needy = ["permissions", "account", "retries", "secret", "quota"]
    return [
        ("namespace", "failed", r"has no namespace kubeflow: install .*BERTLINE_NAMESPACE"),
        *((name, "unknown", r"^needs the namespace$") for name in needy),
    ], 2


def the_namespace_may_not_be_looked_at(place):
    place.api.forbidden.add(("get", "namespaces"))
    return [("namespace", "unknown", r"can't be checked: your account may not get namespaces")], 0


def logs_may_not_be_read(place):
    place.api.forbidden.add(("get", "pods/log"))
    return [("permissions", "failed", r"\(get pods/log\): ask for the role .*kubectl auth can-i get pods --sub")], 2


def nodes_may_not_be_listed(place):
    place.api.forbidden |= {("list", "nodes")}
    return [
        ("permissions", "warning", r"may not list nodes, so `bertline status` can say less"),
        ("nodes", "unknown", r"can't be checked: your account may not list nodes"),
    ], 0


def the_service_account_is_missing(place):
    place.api.objects[f"{NS}/serviceaccounts"].clear()
    return [("account", "failed", r"no service account bertline in namespace kubeflow.*kubectl apply -k")], 2


def the_service_account_may_not_report(place):
    place.api.forbidden.add(("patch", "workflowtaskresults"))
    return [("account", "failed", r"account bertline may not patch workflowtaskresults in.*gives it the role")], 2


def a_secret_is_missing(place):
    place.profile["secrets"][0]["name"] = "other"
    return [("secret", "failed", r"no secret other: kubectl create secret generic other -n kubeflow")], 2


def a_key_is_missing(place):
    place.profile["secrets"][0]["keys"] |= {"PASSWORD": "password"}
    return [("secret", "failed", r"no key 'password'.* PASSWORD; it has access, hmac")], 2


def a_value_is_empty(place):
    place.api.find(f"{NS}/secrets", "keys")["data"]["hmac"] = ""
    return [("secret", "failed", r"secret keys in namespace kubeflow has no value for hmac")], 2


def a_value_ends_in_a_line_break(place):
    place.api.find(f"{NS}/secrets", "keys")["data"]["hmac"] = base64.b64encode(f"{place.value}\n".encode()).decode()
    return [("secret", "warning", r"the value of hmac begins or ends with a space or line break.*`printf`")], 0


def the_pull_secret_is_of_another_kind(place):
    place.profile["images"]["pull_secrets"] = ["keys"]
    return [("pull secret", "failed", r"keys isn't .* for pulling images: it has access, hmac")], 2


def secrets_may_not_be_read(place):
    place.api.forbidden.add(("get", "secrets"))
    return [
        ("secret", "unknown", r"keys: can't be checked: your account may not get secrets"),
        ("pull secret", "unknown", r"pull: can't be checked"),
    ], 0


def the_gpu_is_of_another_model(place):
    place.api.find("/api/v1/nodes", "gpu-1")["metadata"]["labels"] |= T4
    return [("nodes", "failed", r"^pretrain: no node with nvidia.com/gpu has .*=nvidia-l4.*there is .*=nvidia-t4")], 2


def the_pool_has_scaled_to_zero(place):
    for each in place.api.objects["/api/v1/nodes"]:
        each["metadata"]["labels"] |= {"cloud.google.com/gke-nodepool": "default"} | T4
    return [("nodes", "warning", r"nvidia-l4.*nvidia-t4; .* node pool that has scaled to zero")], 0


def the_cpu_pool_cannot_grow_into_a_larger_gpu_node(place):
    for each in place.api.objects["/api/v1/nodes"]:
        each["metadata"]["labels"] |= {"cloud.google.com/gke-nodepool": "default"}
    place.profile["pods"]["pretrain"]["gpu"]["count"] = 4
    return [("nodes", "failed", r"asks for 4 nvidia.com/gpu, but the largest node \(gpu-1\) has 2 .*`gpu.count`")], 2


def no_node_has_a_gpu(place):
    place.api.objects["/api/v1/nodes"][1] = node("other", labels=T4)
    return [
        (
            "nodes",
            "failed",
            r"no node has nvidia.com/gpu, and no node has the label .*=nvidia-l4; existing values: nvidia-t4",
        )
    ], 2


def the_device_plugin_does_not_run(place):
    place.api.objects["/api/v1/nodes"][1] = node("gpu-1", labels=L4)
    return [("nodes", "failed", r"gpu-1 has the labels of node_selector but no nvidia.com/gpu: check the device")], 2


def the_taint_is_not_tolerated(place):
    place.profile["pods"]["pretrain"]["tolerations"] = []
    return [("nodes", "failed", r"gpu-1 .*taint nvidia.com/gpu=present:NoSchedule, which .*add it to `tolerations`")], 2


def too_much_memory_is_asked_for(place):
    place.profile["pods"]["evaluate"] = {"memory": "64Gi"}
    return [
        ("nodes", "failed", r"^evaluate: asks for 64 GiB of memory, .* has 16 GiB of memory in all: lower `memory`")
    ], 2


def the_gpu_node_is_cordoned(place):
    place.api.objects["/api/v1/nodes"][1] = node("gpu-1", labels=L4, gpus=2, taints=[TAINT], cordoned=True)
    return [("nodes", "failed", r"gpu-1 .*is cordoned: kubectl uncordon gpu-1")], 2


def all_gpus_are_in_use(place):
    requests = {"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}
    place.api.pods(pod("another", phase="Running", node="gpu-1", requests=requests))
    return [("nodes", "warning", r"pretrain: .*but now it waits for a free nvidia.com/gpu on .*2 of 2 are in use")], 0


def scratch_is_larger_than_the_disk(place):
    place.profile["pods"]["corpus"].pop("storage_class")
    return [("nodes", "warning", r"corpus: `scratch` is 200 GiB, and the largest disk .* has 95 GiB.*storage_class")], 0


def the_storage_class_is_missing(place):
    place.profile["pods"]["corpus"]["storage_class"] = "fast"
    return [("storage class", "failed", r"no storage class fast, .*kubectl get storageclass")], 2


def the_quota_is_too_small(place):
    status = {"hard": {"requests.nvidia.com/gpu": "0", "requests.cpu": "6", "pods": "9"}, "used": {"requests.cpu": "3"}}
    place.api.add(f"{NS}/resourcequotas", {"metadata": {"name": "team"}, "status": status})
    return [
        ("quota", "warning", r"corpus: asks for 4 cpu, but quota team .* has 3 cpu left now .*wait until other pods"),
        ("quota", "failed", r"pretrain: asks for 1 nvidia.com/gpu, but quota team .* has 0 .* ask for a larger quota"),
    ], 2


def a_limit_range_is_too_small(place):
    limits = {"limits": [{"type": "Container", "max": {"memory": "3Gi"}}]}
    place.api.add(f"{NS}/limitranges", {"metadata": {"name": "l"}, "spec": limits})
    return [("quota", "failed", r"pretrain: asks for 4 GiB of memory, but .* limit range allows 3 GiB of memory")], 2


def an_image_is_not_in_the_registry(place):
    place.registry.tags.remove(catalogue.reference("bertline", "pretrain", "cuda"))
    expected = r"no 127\S+/bertline-pretrain:cuda-\w{16} \(404\).*images build --variant cuda --reg.* images push"
    return [("images", "failed", expected)], 2


def the_registry_wants_credentials(place):
    place.registry.door = "closed"
    return [("images", "unknown", r"wants credentials for bertline/bertline-corpus \(401\)")], 0


def the_registry_is_not_one(place):
    place.registry.door = "web page"
    return [("images", "unknown", r"answers 302 to http://127.*/v2/, so it isn't a registry")], 0


def the_registry_can_not_be_reached(place):
    place.profile["images"]["registry"] = f"127.0.0.1:{free_port()}/bertline"
    return [("images", "unknown", r"the registry at 127\S+ can't be reached from here .*nodes may have")], 0


def no_image_is_loaded(place):
    place.profile["images"] = {"registry": ""}
    for each in place.api.objects["/api/v1/nodes"]:
        each["status"]["images"] = [{"names": [f"localhost/{catalogue.reference('', 'report')}"]}]
    return [
        ("images", "warning", r"bertline-corpus:cpu-\S+, bertline-evaluate:cpu.* on nodes cpu-1, gpu-1 .*images load"),
        ("images", "warning", r"bertline-pretrain:cuda-.*bertline images load --variant cuda"),
    ], 0


def loaded_images_are_pulled(place):
    place.profile["images"] = {"registry": "", "pull_policy": "Always"}
    return [("images", "failed", r"`pull_policy: Always`.*set images.pull_policy to IfNotPresent")], 2


def the_bucket_is_missing(place):
    place.profile["store"]["uri"] = "gs://nobodys-bucket/bert"
    return [("store", "failed", r"bucket 'nobodys-bucket' doesn't exist; create it with")], 2


def the_store_is_not_there(place):
    place.set("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    return [("store", "failed", r"can't reach gs://.* now: .*whether its port-forward runs")], ExitCode.TRANSIENT


def pods_look_for_the_store_on_themselves(place):
    place.profile["store"]["endpoint"] = "http://localhost:9000"
    return [("store", "warning", r"http://localhost:9000, .* the pod itself: set `store.endpoint`")], 0


CASES = [
    kubeflow_is_not_there,
    the_token_is_refused,
    runs_may_not_be_listed,
    kubeflow_is_of_another_version,
    kfp_2_17_ships_retries_of_errors_only,
    retries_multiply,
    the_context_is_unknown,
    the_namespace_is_missing,
    the_namespace_may_not_be_looked_at,
    logs_may_not_be_read,
    nodes_may_not_be_listed,
    the_service_account_is_missing,
    the_service_account_may_not_report,
    a_secret_is_missing,
    a_key_is_missing,
    a_value_is_empty,
    a_value_ends_in_a_line_break,
    the_pull_secret_is_of_another_kind,
    secrets_may_not_be_read,
    the_gpu_is_of_another_model,
    the_pool_has_scaled_to_zero,
    the_cpu_pool_cannot_grow_into_a_larger_gpu_node,
    no_node_has_a_gpu,
    the_device_plugin_does_not_run,
    the_taint_is_not_tolerated,
    too_much_memory_is_asked_for,
    the_gpu_node_is_cordoned,
    all_gpus_are_in_use,
    scratch_is_larger_than_the_disk,
    the_storage_class_is_missing,
    the_quota_is_too_small,
    a_limit_range_is_too_small,
    an_image_is_not_in_the_registry,
    the_registry_wants_credentials,
    the_registry_is_not_one,
    the_registry_can_not_be_reached,
    no_image_is_loaded,
    loaded_images_are_pulled,
    the_bucket_is_missing,
    the_store_is_not_there,
    pods_look_for_the_store_on_themselves,
]


@pytest.mark.parametrize("broken", CASES, ids=lambda case: case.__name__)
def test_what_is_broken_is_found_and_nothing_else(place, gs_uri, emulator, broken):
    expected, code = broken(place)
    found = bad(place.examine())
    assert [(name, state) for name, state, _ in found] == [(name, state) for name, state, _ in expected]
    for (_, _, text), (_, _, pattern) in zip(found, expected, strict=True):
        assert re.search(pattern, text), text
        assert "\n" not in text
    assert findings.exit_code(place.last) == code
    place.set("STORAGE_EMULATOR_HOST", emulator)  # to look for what is left
