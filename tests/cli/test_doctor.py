"""`bertline doctor`: everything that a run needs is broken once, and each time one sentence says what to do."""

import base64
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import typer
import yaml
from typer.testing import CliRunner

from bertline.errors import ExitCode, UserError
from bertline.store.backends import connect
from bertline.store.filesystem import FileSystemStore
from bertline_cli import doctor
from bertline_pipelines.cluster import connections as cluster_logins
from bertline_pipelines.doctor import checks, findings, probes
from bertline_pipelines.images import catalogue
from bertline_pipelines.places import profiles
from support import kubernetes_api
from support.kfp_server import KfpServer
from support.kubernetes_api import node, pod

NS = "/api/v1/namespaces/kubeflow"
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
T4 = {"cloud.google.com/gke-accelerator": "nvidia-t4"}
TAINT = ("nvidia.com/gpu", "present", "NoSchedule")
VALUE = "hunter2-is-the-value"
TOKEN = "sesame-opens-kubeflow"


class Handler(BaseHTTPRequestHandler):
    """Answers by its server's `answer(handler)`: status, headers, content."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, headers, content = self.server.answer(self)
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def serve():
    """Run an HTTP server that answers so; gives its address."""
    running = []

    def start(answer):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answer, server.daemon_threads, server.block_on_close = answer, True, False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        running.append((server, thread))
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def before_the_store(serve, emulator):
    """A proxy before the bucket: `change(handler)` may answer itself or alter the request."""

    def start(change):
        def answer(request):
            if refusal := change(request):
                return refusal
            upstream = urlsplit(emulator)
            connection = http.client.HTTPConnection(upstream.hostname, upstream.port)
            headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
            connection.request(request.command, request.path, request.body, headers)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            return response.status, {"Content-Type": response.headers.get("Content-Type") or "text/plain"}, content

        return f"http://{serve(answer)}"

    return start


@pytest.fixture
def registry(serve):
    """One of the OCI distribution API: what it holds, and who it lets in."""
    found = SimpleNamespace(tags=set(), door="open")

    def answer(request):
        url = urlsplit(request.path)
        if url.path == "/token":
            return 200, {}, json.dumps({"token": "for-everybody"}).encode()
        if found.door == "closed":
            return 401, {"WWW-Authenticate": 'Basic realm="registry"'}, b""
        if found.door == "token" and request.headers.get("Authorization") != "Bearer for-everybody":
            bearer = f'Bearer realm="http://{found.host}/token",service="r",scope="repository:x:pull"'
            return 401, {"WWW-Authenticate": bearer}, b""
        if found.door == "web page":
            return 302, {"Location": "https://example.org/"}, b""
        if url.path == "/v2/":
            return 200, {}, b"{}"
        name, _, tag = url.path.removeprefix("/v2/").partition("/manifests/")
        accepted = "application/vnd.oci.image.index.v1+json" in request.headers["Accept"]
        return (200 if accepted and f"{name}:{tag}" in found.tags else 404), {}, b""

    found.host = serve(answer)
    return found


@pytest.fixture
def kubernetes(tmp_path, monkeypatch):
    """A cluster that has all that the profile wants."""
    with kubernetes_api.serve() as server:
        path = kubernetes_api.kubeconfig(tmp_path / "kubeconfig", server.url)
        monkeypatch.setenv("KUBECONFIG", str(path))
        monkeypatch.setattr(cluster_logins, "PAUSE_S", 0.01)
        api = server.api
        api.url = server.url
        named = {"metadata": {"name": "kubeflow"}}
        api.add("/api/v1/namespaces", named)
        api.add(f"{NS}/serviceaccounts", {"metadata": {"name": "bertline"}})
        value = base64.b64encode(VALUE.encode()).decode()
        api.add(f"{NS}/secrets", {"metadata": {"name": "keys"}, "data": {"access": value, "hmac": value}})
        api.add(f"{NS}/secrets", {"metadata": {"name": "pull"}, "data": {".dockerconfigjson": value}})
        api.add(f"{NS}/configmaps", {"metadata": {"name": "workflow-controller-configmap"}, "data": {}})
        api.add("/apis/storage.k8s.io/v1/storageclasses", {"metadata": {"name": "standard-rwo"}})
        api.add("/api/v1/nodes", node("cpu-1"), node("gpu-1", labels=L4, gpus=2, taints=[TAINT]))
        api.pods(pod(phase="Running", node="gpu-1", requests={"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}))
        yield api


@pytest.fixture
def server(tmp_path):
    with KfpServer(tmp_path / "kfp", token=TOKEN) as server:
        yield server


@pytest.fixture
def place(tmp_path, kubernetes, server, registry, gs_uri, emulator, monkeypatch):
    """All of it; `profile` is its document, to be changed, and `examine` says what the doctor finds."""
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.setattr(probes, "PATIENCE_S", 1.0)
    for variable in (*profiles.OVERRIDES, "BERTLINE_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    document = {
        "name": "tests",
        "kubeflow": {"endpoint": server.endpoint, "namespace": "kubeflow", "context": "kind-bertline"},
        "store": {"uri": gs_uri, "endpoint": "http://gcs.kubeflow:4443", "endpoint_here": emulator},
        "images": {"registry": f"{registry.host}/bertline", "pull_secrets": ["pull"]},
        "secrets": [{"name": "keys", "keys": {"ACCESS": "access", "HMAC": "hmac"}}],
        "pods": {
            "default": {"cpu": "2", "memory": "2Gi", "scratch": "1Gi"},
            "corpus": {"cpu": "4", "scratch": "200Gi", "storage_class": "standard-rwo"},
            "pretrain": {
                "memory": "4Gi",
                "variant": "cuda",
                "gpu": {"count": 1},
                "node_selector": L4,
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            },
        },
    }
    for image, variant in (("corpus", "cpu"), ("pretrain", "cuda"), ("evaluate", "cpu"), ("report", "cpu")):
        registry.tags.add(catalogue.reference("bertline", image, variant))

    def examine(**options):
        read = profiles.Profile.model_validate(document)
        found.last = list(checks.examine(read, **options))
        texts = [(each.name, each.state.value, each.text) for each in found.last]
        assert VALUE not in repr(found.last)
        assert TOKEN not in repr(found.last)
        return texts

    found = SimpleNamespace(
        profile=document, api=kubernetes, kfp=server, registry=registry, set=monkeypatch.setenv, examine=examine
    )
    yield found
    assert not list(connect(gs_uri).list("")), "nothing is left behind"


def bad(texts):
    return [each for each in texts if each[1] != "ok"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_place_where_all_is_there(place, gs_uri):
    found = place.examine()
    assert bad(found) == []
    texts = {}
    for name, _, text in found:
        texts.setdefault(name, []).append(text)
    assert list(texts) == [
        *("kubeflow", "cluster", "namespace", "permissions", "account", "retries", "secret", "pull secret", "nodes"),
        *("storage class", "quota", "store", "images"),
    ]
    assert max(map(len, texts)) == checks.WIDTH
    assert re.search(r"2\.16\.1 at http.*token in KFP_TOKEN is accepted", texts["kubeflow"][0])
    assert "context kind-bertline" in texts["cluster"][0]
    assert "keys has access, hmac" in texts["secret"]
    assert "pretrain: node gpu-1 can take it; 1 of 2 nvidia.com/gpu are free" in texts["nodes"]
    assert f"{gs_uri} at http://127.0.0.1" in texts["store"][0]
    assert re.search(r"\d+ ms to write; pods go by http://gcs.kubeflow:4443, which can't be tried", texts["store"][0])
    assert texts["images"] == [f"4 are in {place.registry.host}/bertline"]
    assert findings.exit_code(place.last) == ExitCode.OK


# What is broken, one thing at a time. Each gets the place, and says which findings aren't ok then.


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
    return [("kubeflow", "warning", r"version is 2\.5\.0, and bertline compiles for 2\.16")], 0


def _argo(place, defaults):
    place.api.objects[f"{NS}/configmaps"][0]["data"] = {"workflowDefaults": yaml.safe_dump(defaults)}


def kfp_2_17_ships_retries_of_errors_only(place):
    strategy = {"limit": "2", "retryPolicy": "OnError"}
    _argo(
        place,
        {"spec": {"templateDefaults": {"retryStrategy": strategy}, "ttlStrategy": {"secondsAfterCompletion": 3600}}},
    )
    return [("retries", "warning", r"retryPolicy OnError, so the profile's `retries` do nothing.*argo-retries")], 0


def retries_multiply(place):
    _argo(place, {"spec": {"templateDefaults": {"retryStrategy": {"limit": 3, "retryPolicy": "Always"}}}})
    return [("retries", "warning", r"limit 3, and repeat each level")], 0


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
    return [("namespace", "unknown", r"can't be looked at, your account may not get namespaces")], 0


def logs_may_not_be_read(place):
    place.api.forbidden.add(("get", "pods/log"))
    return [("permissions", "failed", r"\(get pods/log\): ask for the role .*kubectl auth can-i get pods --sub")], 2


def nodes_may_not_be_listed(place):
    place.api.forbidden |= {("list", "nodes")}
    return [
        ("permissions", "warning", r"may not list nodes, so `bertline status` knows less"),
        ("nodes", "unknown", r"can't be looked at, your account may not list nodes"),
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
    return [("secret", "failed", r"no key 'password', which the profile wants as PASSWORD; it has access, hmac")], 2


def a_value_is_empty(place):
    place.api.find(f"{NS}/secrets", "keys")["data"]["hmac"] = ""
    return [("secret", "failed", r"secret keys in namespace kubeflow has no value for hmac")], 2


def a_value_ends_in_a_line_break(place):
    place.api.find(f"{NS}/secrets", "keys")["data"]["hmac"] = base64.b64encode(f"{VALUE}\n".encode()).decode()
    return [("secret", "warning", r"the value of hmac begins or ends with a space or line break.*`printf`")], 0


def the_pull_secret_is_of_another_kind(place):
    place.profile["images"]["pull_secrets"] = ["keys"]
    return [("pull secret", "failed", r"keys isn't one for pulling images: it has access, hmac")], 2


def secrets_may_not_be_read(place):
    place.api.forbidden.add(("get", "secrets"))
    return [
        ("secret", "unknown", r"keys: can't be looked at, your account may not get secrets"),
        ("pull secret", "unknown", r"pull: can't be looked at"),
    ], 0


def the_gpu_is_of_another_model(place):
    place.api.find("/api/v1/nodes", "gpu-1")["metadata"]["labels"] |= T4
    return [("nodes", "failed", r"^pretrain: no node with nvidia.com/gpu has .*=nvidia-l4.*there is .*=nvidia-t4")], 2


def the_pool_has_scaled_to_zero(place):
    for each in place.api.objects["/api/v1/nodes"]:
        each["metadata"]["labels"] |= {"cloud.google.com/gke-nodepool": "default"} | T4
    return [("nodes", "warning", r"nvidia-l4.*nvidia-t4; this is usual for a node pool that has scaled to zero")], 0


def the_cpu_pool_cannot_grow_into_a_larger_gpu_node(place):
    for each in place.api.objects["/api/v1/nodes"]:
        each["metadata"]["labels"] |= {"cloud.google.com/gke-nodepool": "default"}
    place.profile["pods"]["pretrain"]["gpu"]["count"] = 4
    return [("nodes", "failed", r"asks for 4 nvidia.com/gpu, and the largest node \(gpu-1\) has 2 .*`gpu.count`")], 2


def no_node_has_a_gpu(place):
    place.api.objects["/api/v1/nodes"][1] = node("other", labels=T4)
    return [
        ("nodes", "failed", r"no node has nvidia.com/gpu, and none the label .*=nvidia-l4; values there .*: nvidia-t4")
    ], 2


def the_device_plugin_does_not_run(place):
    place.api.objects["/api/v1/nodes"][1] = node("gpu-1", labels=L4)
    return [("nodes", "failed", r"gpu-1 has the labels of node_selector but no nvidia.com/gpu: see to the dev")], 2


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
        ("quota", "warning", r"corpus: asks for 4 cpu, and quota team .* has 3 cpu left now .*wait until others"),
        ("quota", "failed", r"pretrain: asks for 1 nvidia.com/gpu, and quota team .* has 0 .* ask for a larger quota"),
    ], 2


def a_limit_range_is_too_small(place):
    limits = {"limits": [{"type": "Container", "max": {"memory": "3Gi"}}]}
    place.api.add(f"{NS}/limitranges", {"metadata": {"name": "l"}, "spec": limits})
    return [("quota", "failed", r"pretrain: asks for 4 GiB of memory, and .* limit range allows 3 GiB of memory")], 2


def an_image_is_not_in_the_registry(place):
    place.registry.tags.remove(catalogue.reference("bertline", "pretrain", "cuda"))
    expected = r"no 127\S+/bertline-pretrain:cuda-\w{16} \(404\).*images build --variant cuda --reg.* images push"
    return [("images", "failed", expected)], 2


def the_registry_wants_credentials(place):
    place.registry.door = "closed"
    return [("images", "unknown", r"wants credentials for bertline/bertline-corpus \(401\), so it can't be seen")], 0


def the_registry_is_not_one(place):
    place.registry.door = "web page"
    return [("images", "unknown", r"answers 302 to http://127.*/v2/, which isn't how a registry answers")], 0


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
    return [
        ("store", "failed", r"can't reach gs://.* now: .*right address, and is its port-forward running")
    ], ExitCode.TRANSIENT


def pods_look_for_the_store_on_themselves(place):
    place.profile["store"]["endpoint"] = "http://localhost:9000"
    return [("store", "warning", r"http://localhost:9000, which is each pod itself: give the address")], 0


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


def test_a_bucket_that_may_only_be_read(place, before_the_store, emulator):
    refusal = json.dumps({"error": {"code": 403, "message": "no storage.objects.create access"}}).encode()

    def refuse(request):
        is_write = request.command in ("POST", "PUT")
        return (403, {"Content-Type": "application/json"}, refusal) if is_write else None

    place.set("STORAGE_EMULATOR_HOST", before_the_store(refuse))
    ((name, state, text),) = bad(place.examine())
    assert (name, state) == ("store", "failed")
    assert "can be listed, but not all works: no permission for gs://" in text
    assert "roles/storage.objectAdmin" in text
    place.set("STORAGE_EMULATOR_HOST", emulator)


@pytest.mark.parametrize(("condition", "deed"), [("0", "created twice"), (r"[1-9]\d*", "replaced by a state of old")])
def test_a_store_that_does_not_keep_conditional_writes(place, before_the_store, emulator, condition, deed):
    def forget(request):
        request.path = re.sub(rf"ifGenerationMatch={condition}\b", "x=y", request.path)

    place.set("STORAGE_EMULATOR_HOST", before_the_store(forget))
    ((name, state, text),) = bad(place.examine())
    assert (name, state) == ("store", "failed")
    assert f"an object was {deed}, so its server doesn't keep conditional writes" in text
    place.set("STORAGE_EMULATOR_HOST", emulator)


def test_public_images_of_a_registry_that_gives_everybody_a_pass(place):
    place.registry.door = "token"
    assert bad(place.examine()) == []


def test_images_that_are_loaded_into_the_nodes(place):
    place.profile["images"] = {"registry": ""}
    wanted = [("corpus", "cpu"), ("pretrain", "cuda"), ("evaluate", "cpu"), ("report", "cpu")]
    names = [{"names": [f"localhost/{catalogue.reference('', image, variant)}"]} for image, variant in wanted]
    for each in place.api.objects["/api/v1/nodes"]:
        each["status"]["images"] = names
    found = place.examine()
    assert bad(found) == []
    assert ("images", "ok", "4 are loaded on cpu-1, gpu-1") in found


def test_credentials_come_from_the_secret_and_are_not_looked_for_without_a_cluster(place, monkeypatch):
    monkeypatch.setenv("DOCTOR_TEST_KEY", "here")
    place.profile["store"]["secret"] = {"name": "keys", "keys": {"DOCTOR_TEST_KEY": "access"}}
    place.profile["kubeflow"]["context"] = "gke"
    assert not [each for each in bad(place.examine()) if each[0] == "store"], "they are in the environment"
    monkeypatch.delenv("DOCTOR_TEST_KEY")
    (found,) = [each for each in bad(place.examine()) if each[0] == "store"]
    assert found[1:] == (
        "unknown",
        "needs the cluster, where its credentials are, or DOCTOR_TEST_KEY in the environment",
    )
    place.profile["kubeflow"]["context"] = "kind-bertline"
    assert bad(place.examine()) == []
    assert os.environ.pop("DOCTOR_TEST_KEY") == VALUE


def test_what_hangs_is_given_up_and_the_rest_is_said(place):
    place.kfp.fail("GET", "hang", times=9)
    began = time.monotonic()
    found = place.examine(deadline_s=4.0)
    assert time.monotonic() - began < 8
    assert bad(found) == [
        (
            "kubeflow",
            "failed",
            "isn't known after 4 seconds: something takes requests and doesn't answer them: try again later",
        )
    ]
    assert findings.exit_code(place.last) == ExitCode.TRANSIENT


def test_what_killed_probes_have_left_goes_and_those_at_work_stay(tmp_path):
    store = FileSystemStore(tmp_path)
    for name in ("old", "new"):
        store.put(f"doctor/{name}", b"probe")
    long_ago = time.time() - 7200
    os.utime(tmp_path / "doctor/old", (long_ago, long_ago))
    access = profiles.StoreAccess(uri="gs://bucket")
    assert [each.state.value for each in probes.examine(store, access)] == ["ok"]
    assert [each.name for each in store.list("")] == ["doctor/new"]


def test_a_clock_that_is_wrong(tmp_path):
    class Ahead(FileSystemStore):
        def stat(self, name):
            found = super().stat(name)
            return found and type(found)(found.name, found.size, found.modified + 120)

    found = list(probes.examine(Ahead(tmp_path), profiles.StoreAccess(uri="gs://bucket")))
    assert [(each.name, each.state.value) for each in found] == [("store", "ok"), ("clock", "warning")]
    assert re.match(r"this machine's clock is 1(19|20) seconds behind the store's: set it", found[1].text)


def test_the_worst_failure_gives_the_exit_code():
    user, passing = findings.failed("a", "x"), findings.failed("b", "x", exit_code=ExitCode.TRANSIENT)
    assert findings.exit_code([passing, user]) == ExitCode.USER_ERROR
    assert findings.exit_code([findings.warning("c", "x"), findings.unknown("d", "x"), passing]) == ExitCode.TRANSIENT
    assert findings.exit_code([findings.warning("c", "x"), findings.unknown("d", "x")]) == ExitCode.OK


def test_a_profile_without_a_cluster():
    with pytest.raises(UserError, match="has no `kubeflow`: it is for this machine"):
        list(checks.examine(profiles.load("local", {})))


def test_the_command(bertline, place, tmp_path):
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump(place.profile))
    good = bertline("doctor", "--profile", path)
    assert good.returncode == 0, good.stdout + good.stderr
    *lines, summary, then = good.stdout.splitlines()
    assert all(re.match(r"✓ [a-z ]{13}  \S", line) for line in lines), good.stdout
    assert summary == f"{len(lines)} ok"
    assert then == f"Next:  bertline submit EXPERIMENT.yaml --profile {path}"
    assert VALUE not in good.stdout + good.stderr


def test_what_the_command_says_of_failures(place, tmp_path):
    path = tmp_path / "tests.yaml"
    app = typer.Typer()
    app.command()(doctor.command)

    def run(*options):
        path.write_text(yaml.safe_dump(place.profile))
        return CliRunner().invoke(app, ["--profile", str(path), *options])

    place.kfp.stop()
    unreachable = run("--json")
    assert unreachable.exit_code == 75, unreachable.output
    document = json.loads(unreachable.stdout)
    assert (document["profile"], document["exit_code"]) == (str(path), 75)
    assert [each["name"] for each in document["findings"] if each["state"] == "failed"] == ["kubeflow"]

    place.profile["kubeflow"]["context"] = "gke"
    bad = run()
    assert bad.exit_code == 2, bad.output
    assert "✗ cluster        kubeconfig " in bad.stdout
    assert "? namespace      needs the cluster" in bad.stdout
    *_, summary, then = bad.stdout.splitlines()
    assert summary == "2 ok, 2 failed, 8 unknown"
    assert then == f"Next:  fix what has a ✗, then  bertline doctor --profile {path}"
    assert VALUE not in unreachable.output + bad.output


def test_it_needs_neither_kfp_nor_tensorflow():
    code = (
        "import sys; from bertline_cli import doctor; from bertline_pipelines.doctor import checks;"
        "print([name for name in ('kfp', 'tensorflow', 'official', 'kubernetes') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
