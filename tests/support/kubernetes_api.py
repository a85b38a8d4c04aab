"""A Kubernetes API over HTTP: holds objects as dicts, filters them as the real one does, and fails on demand.

As far as `bertline_pipelines.cluster` reads it: get and list with selectors and pages, logs with `follow` and
`sinceTime`, SelfSubjectAccessReview, and the Status objects of refusals.
"""

import contextlib
import datetime
import json
import socket
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

TOKEN = "letmein"
NOW = datetime.datetime(2026, 11, 22, 12, 0, 0, tzinfo=datetime.UTC)


@dataclass
class Log:
    """What a container wrote: (time, text), and what happens to connections that read it."""

    lines: list[tuple[datetime.datetime, str]] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    """For each connection in turn: after how many bytes it breaks off."""
    ends: list[int] = field(default_factory=list)
    """For each connection in turn: after how many lines it ends as if all were said."""
    hang: bool = False
    """Connections say nothing more after the lines, and stay open."""


class Api:
    """What the server holds and how it behaves. Change it at any time."""

    def __init__(self) -> None:
        self.objects: dict[str, list[dict]] = {}
        """By the path of their listing, such as `/api/v1/nodes`."""
        self.logs: dict[str, Log] = {}
        self.forbidden: set[tuple[str, str]] = set()
        """(verb, resource) that the account may not."""
        self.failures: list[int | str] = []
        """For the next requests: a status, or `drop`, or `hang`."""
        self.page = 10_000
        self.requests: list[str] = []
        self.closing = threading.Event()

    def add(self, listing: str, *documents: dict) -> None:
        self.objects.setdefault(listing, []).extend(documents)

    def pods(self, *documents: dict, namespace: str = "kubeflow") -> None:
        self.add(f"/api/v1/namespaces/{namespace}/pods", *documents)

    def find(self, listing: str, name: str) -> dict | None:
        return next((each for each in self.objects.get(listing, []) if each["metadata"]["name"] == name), None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *arguments) -> None:
        pass

    def do_GET(self) -> None:
        api = self.server.api
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if not self._begin():
            return None
        if url.path == "/version":
            return self._json({"gitVersion": "v1.34.1"})
        parts = url.path.strip("/").split("/")
        namespace, rest = _place(parts)
        resource = "/".join([rest[0], *rest[2:]])
        verb = "get" if len(rest) > 1 else "list"
        if (verb, resource) in api.forbidden or (verb, f"{resource}*" if not namespace else "") in api.forbidden:
            where = f' in the namespace "{namespace}"' if namespace else " at the cluster scope"
            return self._status(
                403,
                f'{resource} is forbidden: User "dev" cannot {verb} resource "{resource}" in API group ""{where}',
            )
        if len(rest) == 1:
            return self._list(url.path, query)
        listing = "/" + "/".join(parts[: len(parts) - len(rest) + 1])
        found = api.find(listing, rest[1])
        if found is None:
            return self._status(404, f'{rest[0]} "{rest[1]}" not found')
        if rest[2:] == ["log"]:
            return self._log(rest[1], found, query)
        return self._json(found)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._begin():
            return None
        wanted = body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, [wanted["resource"], wanted.get("subresource")]))
        everywhere = "" if wanted.get("namespace") else "*"
        denied = {(wanted["verb"], resource), (wanted["verb"], f"{resource}{everywhere}")} & self.server.api.forbidden
        return self._json({"status": {"allowed": not denied}}, 201)

    def _begin(self) -> bool:
        """Log in, and what may go wrong before there is an answer."""
        api = self.server.api
        api.requests.append(self.path)
        failure = api.failures.pop(0) if api.failures else None
        if failure == "drop":
            self._drop()
            return False
        if failure == "hang":
            api.closing.wait(10)
            self.close_connection = True
            return False
        if isinstance(failure, int):
            self._status(failure, "etcdserver: request timed out")
            return False
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._status(401, "Unauthorized")
            return False
        return True

    def _list(self, path: str, query: dict[str, str]) -> None:
        api = self.server.api
        namespaced = [found for key, found in api.objects.items() if key.startswith("/api/v1/namespaces/")]
        items = api.objects.get(path, [])
        if path == "/api/v1/pods":
            items = [each for found in namespaced for each in found if "containers" in each.get("spec", {})]
        elif path not in api.objects and "argoproj" in path:
            return self._status(404, "the server could not find the requested resource")
        items = [
            each
            for each in items
            if _matches(
                query.get("labelSelector", ""), lambda key, each=each: each["metadata"].get("labels", {}).get(key)
            )
            and _matches(query.get("fieldSelector", ""), lambda key, each=each: _field(each, key))
        ]
        begin, size = int(query.get("continue", 0)), min(api.page, int(query.get("limit", 500)))
        metadata = {"continue": str(begin + size)} if begin + size < len(items) else {}
        return self._json({"kind": "List", "metadata": metadata, "items": items[begin : begin + size]})

    def _log(self, name: str, pod: dict, query: dict[str, str]) -> None:
        assert query["container"] == "main"
        state = next((each for each in pod["status"].get("containerStatuses", []) if each["name"] == "main"), None)
        if state is None or "waiting" in state["state"]:
            return self._status(400, f'container "main" in pod "{name}" is waiting to start: PodInitializing')
        log, follow = self.server.api.logs[name], query.get("follow") == "true"
        since = datetime.datetime.fromisoformat(query["sinceTime"]) if "sinceTime" in query else None
        drop = log.drops.pop(0) if log.drops else None
        end = log.ends.pop(0) if log.ends else None
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        position = 0 if since or "tailLines" not in query else max(0, len(log.lines) - int(query["tailLines"]))
        count = 0
        while not self.server.api.closing.is_set():
            while position < len(log.lines):
                at, text = log.lines[position]
                position += 1
                if since and at < since:
                    continue
                # As the kubelet writes it: nanoseconds.
                line = f"{at:%Y-%m-%dT%H:%M:%S.%f}123Z {text}\n".encode()
                if drop is not None and sent + len(line) > drop:
                    if drop > sent:  # an empty chunk would be an orderly end
                        self._chunk(line[: drop - sent])
                    return self._drop()
                self._chunk(line)
                sent += len(line)
                count += 1
                if end is not None and count >= end:
                    return self._chunk(b"")
            running = "running" in next(
                each["state"] for each in pod["status"]["containerStatuses"] if each["name"] == "main"
            )
            if not log.hang and not (follow and running):
                return self._chunk(b"")
            time.sleep(0.01)
        self.close_connection = True
        return None

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _chunk(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # who asked may have gone
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

    def _status(self, code: int, message: str) -> None:
        self._json({"kind": "Status", "status": "Failure", "message": message, "code": code}, code)

    def _json(self, document: dict, code: int = 200) -> None:
        data = json.dumps(document).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.api = Api()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address) -> None:
        """Connections are dropped here on purpose."""


@contextlib.contextmanager
def serve():
    """A running server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.api.closing.set()
            server.shutdown()
            thread.join(10)


def kubeconfig(path: Path, url: str, *, token: str = TOKEN, context: str = "kind-bertline") -> Path:
    """Write a kubeconfig for the server."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": "c", "cluster": {"server": url}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
    }
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def pod(
    name: str = "bertline-nano-x7k2p-system-container-impl-1",
    *,
    task: str = "6L-pretrain-10",
    run_id: str = "run-1",
    phase: str = "Pending",
    created: int = 0,
    node: str = "",
    main: dict | None = None,
    requests: dict | None = None,
    spec: dict | None = None,
    annotations: dict | None = None,
    **status,
) -> dict:
    """A pod as KFP and Argo make it; `created` in seconds after NOW, `main` the state of its main container."""
    labels = {"pipeline/runid": run_id, "workflows.argoproj.io/workflow": "bertline-nano-x7k2p"}
    if task:
        labels |= {
            "app.kubernetes.io/part-of": "bertline",
            "bertline.dev/experiment": "nano",
            "bertline.dev/task": task,
            "bertline.dev/stage": task.split("-")[1] if "-" in task else task,
        }
    resources = {"requests": requests or {"cpu": "1", "memory": "2Gi"}, "limits": requests or {"memory": "2Gi"}}
    containers = [
        {"name": "wait", "image": "quay.io/argoproj/argoexec:v3.7.3", "resources": {}},
        {"name": "main", "image": "bertline-pretrain:0123abcd", "resources": resources},
    ]
    if main is not None:
        state = {"name": "main", "image": "sha256:1", "restartCount": 0, "state": main}
        status.setdefault("containerStatuses", [{"name": "wait", "state": {"running": {}}}, state])
    return {
        "metadata": {
            "name": name,
            "namespace": "kubeflow",
            "uid": f"uid-{name}",
            "labels": labels,
            "annotations": annotations or {},
            "creationTimestamp": stamp(created),
        },
        "spec": {"containers": containers, "tolerations": [], **({"nodeName": node} if node else {}), **(spec or {})},
        "status": {"phase": phase, **status},
    }


def unschedulable(message: str) -> list[dict]:
    """The condition that the scheduler leaves."""
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]


def node(
    name: str, *, labels: dict | None = None, taints=(), gpus: int = 0, cordoned=False, ready=True, **resources
) -> dict:
    """A machine with 8 cores, 16 GiB, and some GPUs."""
    amounts = {"cpu": "7910m", "memory": "16Gi", "ephemeral-storage": "95Gi", "pods": "110"} | resources
    if gpus:
        amounts["nvidia.com/gpu"] = str(gpus)
    spec = {"taints": [dict(zip(("key", "value", "effect"), taint, strict=True)) for taint in taints]}
    if cordoned:
        spec["unschedulable"] = True
        spec["taints"].append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | (labels or {})},
        "spec": spec,
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}],
        },
    }


def event(pod_name: str, reason: str, message: str, *, at: int = 0, by: str = "kubelet") -> dict:
    """An event about a pod, `at` seconds after NOW. The scheduler's have no lastTimestamp."""
    moment = {"eventTime": stamp(at), "lastTimestamp": None} if by == "scheduler" else {"lastTimestamp": stamp(at)}
    return {
        "metadata": {"name": f"{pod_name}.{reason}.{at}", "creationTimestamp": stamp(at)},
        "involvedObject": {"kind": "Pod", "name": pod_name},
        "reason": reason,
        "message": message,
    } | moment


def stamp(seconds: float) -> str:
    """A moment after NOW, as the API writes it."""
    return (NOW + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _place(parts: list[str]) -> tuple[str, list[str]]:
    """(namespace, [resource, name, subresource]) of a path."""
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    if rest[0] == "namespaces" and len(rest) > 2:
        return rest[1], rest[2:]
    return "", rest


def _matches(selector: str, value) -> bool:
    for term in filter(None, selector.split(",")):
        key, _, wanted = term.partition("!=" if "!=" in term else "=")
        if (value(key) != wanted) if "!=" not in term else (value(key) == wanted):
            return False
    return True


def _field(document: dict, path: str):
    for part in path.split("."):
        document = document.get(part, {})
    return document
