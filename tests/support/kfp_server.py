"""A Kubeflow Pipelines server on this machine: it speaks v2beta1 over HTTP and really runs what is posted.

The document is parsed with KFP's own protos, and each task's command runs as KFP's launcher would run it: in a process
group of its own, with the container's environment, the executor input in place of `{{$}}`, again after a failure as
often as its retry policy says. As on 2.16.1, terminating sends SIGTERM and a second later SIGKILL, a run that was
terminated ends as FAILED with CANCELING in its history, terminating it again is a 400, the first failure keeps all
later tasks from starting, nothing says why a task failed, and task details are the nodes of an Argo workflow. Unlike
there, one task runs at a time, a pod is a process in this machine's environment, and secrets are what the test puts
into `environment`.

    with KfpServer(tmp_path) as server:
        server.fail("POST /runs$", "drop after")
        ...Kubeflow(server.endpoint, "kubeflow")...
"""

import contextlib
import json
import re
import socket
import threading
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import kfp_server_api

from support import kfp_executions
from support.kfp_executions import Refusal, ServerRun

Failure = int | Literal["hang", "drop", "drop after", "twice", "html"]
"""A status with an error as KFP writes it; no answer; a closed connection before the work or after it; the work done
twice, as if an earlier request had arrived late; a web page."""

GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 429: 8, 500: 13, 503: 14, 504: 4}


class KfpServer:
    """See the module."""

    def __init__(
        self,
        folder: Path,
        *,
        token: str = "",
        multi_user: bool = False,
        prefix: str = "",
        tag: str = "2.16.1",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`environment` is added to every task's and wins over what the document says."""
        self.folder, self.token, self.multi_user, self.prefix, self.tag = folder, token, multi_user, prefix, tag
        self.environment = dict(environment or {})
        self.runs: dict[str, ServerRun] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        """`POST /runs` and so on: all that arrived, without query."""
        self.stopping = threading.Event()
        self.connections: set[socket.socket] = set()
        self._failures: list[list[Any]] = []
        self._forgotten: list[ServerRun] = []
        self._lock = threading.Lock()
        self._http: ThreadingHTTPServer | None = None
        self.endpoint = ""

    def __enter__(self) -> "KfpServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, port: int = 0) -> None:
        server = self

        class Handler(_Handler):
            job = server

        self.stopping.clear()
        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self._http.server_port}{self.prefix}"

    def stop(self) -> None:
        """Also ends the tasks that still run."""
        self.stopping.set()
        for run in [*self.runs.values(), *self._forgotten]:
            run.cancelled.set()
            if run.thread:
                run.thread.join(10)
        if self._http:
            self._http.shutdown()
            self._http.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def fail(self, where: str, how: Failure, times: int = 1) -> None:
        """Fail the next requests that match: `POST /runs$`, `GET /runs/`, `:terminate`."""
        self._failures.append([re.compile(where), how, times])

    def forget(self, run_id: str) -> None:
        """Know the run no more; what it does goes on."""
        self._forgotten.append(self.runs.pop(run_id))

    def failure(self, request: str) -> Failure | None:
        with self._lock:
            self.requests.append(request)
            for failure in self._failures:
                if failure[2] and failure[0].search(request):
                    failure[2] -= 1
                    how: Failure = failure[1]
                    return how
        return None

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        match method, path.strip("/").replace(":", "/:").split("/"):
            case "GET", ["healthz"]:
                return {"commit_sha": "0" * 40, "tag_name": self.tag, "multi_user": self.multi_user}
            case "GET", ["experiments"]:
                return {"experiments": self._listed(list(self.experiments.values()), query)}
            case "POST", ["experiments"]:
                return self._create_experiment(body)
            case "GET", ["experiments", name] if name in self.experiments:
                return self.experiments[name]
            case "GET", ["runs"]:
                found = self._listed([run.document() for run in list(self.runs.values())], query)
                return {"runs": found, "total_size": len(found)} if found else {}
            case "POST", ["runs"]:
                return self._create_run(body)
            case "GET", ["runs", name] if name in self.runs:
                return self.runs[name].document()
            case "DELETE", ["runs", name] if name in self.runs:
                self.runs[name].cancelled.set()
                self.forget(name)
                return {}
            case "POST", ["runs", name, ":terminate"] if name in self.runs:
                self.runs[name].cancel()
                return {}
        raise Refusal(404, f"{method} {path}: not found")

    def _listed(self, found: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
        """Newest first, as `sort_by` of our client and the UI's wants it."""
        if self.multi_user and not (query.get("namespace") or query.get("experiment_id")):
            raise Refusal(400, "Resource cannot have an empty namespace and experiment id in multi-user mode")
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            if predicate["operation"] not in ("EQUALS", 1) or predicate["key"] != "display_name":
                raise Refusal(400, f"this server can't filter by {predicate}")
            wanted = predicate.get("string_value", predicate.get("stringValue"))
            found = [each for each in found if each["display_name"].lower() == wanted.lower()]
        if query.get("experiment_id"):
            found = [each for each in found if each["experiment_id"] == query["experiment_id"]]
        return found[::-1] if query.get("sort_by") == "created_at desc" else found

    def _create_experiment(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_fields(body, kfp_server_api.V2beta1Experiment)
        if self.multi_user and not body.get("namespace"):
            raise Refusal(400, "An experiment cannot have an empty namespace in multi-user mode")
        with self._lock:
            if any(each["display_name"] == body["display_name"] for each in self.experiments.values()):
                raise Refusal(409, f"The name {body['display_name']} already exists. Please specify a new name")
            name = str(uuid.uuid4())
            self.experiments[name] = body | {"experiment_id": name, "created_at": kfp_executions.now()}
        return self.experiments[name]

    def _create_run(self, body: dict[str, Any]) -> dict[str, Any]:
        _check_fields(body, kfp_server_api.V2beta1Run)
        if body.get("experiment_id") not in self.experiments:
            raise Refusal(404, f"Experiment {body.get('experiment_id')} not found")
        if not body.get("display_name"):
            raise Refusal(400, "The run name is empty. Please specify a valid name")
        config = body.get("runtime_config") or {}
        _check_fields(config, kfp_server_api.V2beta1RuntimeConfig)
        spec = kfp_executions.parse(body.get("pipeline_spec") or {})
        parameters = kfp_executions.arguments(spec, config.get("parameters") or {})
        name = str(uuid.uuid4())
        run = self.runs[name] = ServerRun(name, body, spec, self.folder / name, kfp_executions.now())
        run.start(parameters, self.environment)
        return run.document()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    job: KfpServer

    def setup(self) -> None:
        super().setup()
        self.job.connections.add(self.connection)

    def finish(self) -> None:
        self.job.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        prefix = f"{self.job.prefix}/apis/v2beta1"
        path = address.path.removeprefix(prefix)
        failure = self.job.failure(f"{self.command} {path}")
        if failure == "hang":
            self.job.stopping.wait(60)
        if failure in ("hang", "drop"):
            self.close_connection = True
        elif failure == "html" or path == address.path:
            self._send(200, "text/html", b"<html><body>Sign in</body></html>")
        elif isinstance(failure, int):
            self._refuse(failure, "a failure that the test asked for")
        elif self.job.token and self.headers.get("Authorization") != f"Bearer {self.job.token}":
            self._refuse(401, "Request header error: there is no valid user identity")
        else:
            query = {name: values[0] for name, values in parse_qs(address.query).items()}
            try:
                for _ in range(2 if failure == "twice" else 1):
                    document = self.job.answer(self.command, path, query, json.loads(content or "null"))
            except Refusal as refusal:
                self._refuse(refusal.status, str(refusal))
                return
            if failure == "drop after":
                self.close_connection = True
            else:
                self._send(200, "application/json", json.dumps(document).encode())

    do_POST = do_DELETE = do_GET

    def _refuse(self, status: int, message: str) -> None:
        document = {"code": GRPC.get(status, 2), "message": message, "details": []}
        self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status: int, kind: str, content: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # who asked may have gone
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if 300 <= status < 400:
                self.send_header("Location", "https://login.example/?state=secret")
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Tests read `requests`."""


def _check_fields(body: dict[str, Any], model: Any) -> None:
    """KFP refuses what it doesn't know."""
    if unknown := set(body) - set(model.attribute_map.values()):
        raise Refusal(400, f'proto: unknown field "{min(unknown)}"')
