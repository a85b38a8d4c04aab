"""A place to run in, with all that a run needs; tests take something of it away."""

import base64
import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from bertline.store.backends import connect
from bertline_pipelines.doctor import checks, probes
from bertline_pipelines.images import catalogue
from bertline_pipelines.places import profiles
from support import kubernetes_api
from support.kfp_server import KfpServer
from support.kubernetes_api import node, pod

NS = "/api/v1/namespaces/kubeflow"
L4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
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
def kubernetes(tmp_path, monkeypatch, quick_retries):
    """A cluster that has all that the profile wants."""
    with kubernetes_api.serve() as server:
        path = kubernetes_api.kubeconfig(tmp_path / "kubeconfig", server.url)
        monkeypatch.setenv("KUBECONFIG", str(path))
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
        found.last = list(checks.run(read, **options))
        texts = [(each.name, each.state.value, each.text) for each in found.last]
        assert VALUE not in repr(found.last)
        assert TOKEN not in repr(found.last)
        return texts

    found = SimpleNamespace(
        profile=document,
        api=kubernetes,
        kfp=server,
        registry=registry,
        value=VALUE,
        set=monkeypatch.setenv,
        examine=examine,
    )
    yield found
    assert not list(connect(gs_uri).list("")), "nothing is left behind"
