"""Kubeflow Pipelines, v2beta1: the few calls of its REST API that bertline needs.

Not the SDK's client: it takes seconds to import, has no time-outs, and waits for ever for a run that was cancelled.
"""

import json
import re
import time
from types import TracebackType
from typing import Any
from urllib.parse import quote

from bertline import retries
from bertline.errors import TransientError, UserError
from bertline_pipelines.kubeflow import requests as kubeflow_calls
from bertline_pipelines.kubeflow import runs
from bertline_pipelines.kubeflow.requests import Connection, RefusedError
from bertline_pipelines.kubeflow.runs import Run

VERSION = "2.16"
"""Of the server: compiled documents and the executor in the images are of this one."""


class RunNotFoundError(UserError):
    """The server answers and has no such run: it was deleted, or is another server's."""


class Kubeflow:
    """A KFP server. A context manager, which closes its connections."""

    def __init__(
        self,
        endpoint: str,
        namespace: str,
        token: str | None = None,
        *,
        ui: str | None = None,
        timeout_s: tuple[float, float] = kubeflow_calls.TIMEOUT_S,
        attempts: int = kubeflow_calls.ATTEMPTS,
    ) -> None:
        """Prepare; nothing is sent before the first call.

        Args:
            endpoint: `http://localhost:8888`, `https://host/pipeline`: what comes before `/apis`.
            namespace: Of the runs, where the server has several users; unused otherwise.
            token: What the server wants to see, if anything; from KFP_TOKEN.
            ui: Address of the web page, for links, if it isn't the endpoint.
            timeout_s: Seconds to connect, and seconds without a byte.
            attempts: How often one request is sent at most.
        """
        self._connection = Connection(endpoint, namespace, token, timeout_s=timeout_s, attempts=attempts)
        self.endpoint = self._connection.endpoint
        self.namespace = namespace
        self._ui = (ui or endpoint).rstrip("/")
        self._is_multi_user: bool | None = None

    def __enter__(self) -> "Kubeflow":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def version(self) -> str:
        """The server's: `2.16.1`, or `unknown` if it doesn't tell."""
        return str(self._health().get("tag_name") or "unknown")

    def experiment(self, name: str) -> str:
        """The id of KFP's experiment of this name, made if it isn't there."""
        if found := self._experiment(name):
            return found
        try:
            made = self._connection.call("POST", "experiments", body={"display_name": name} | self._place())
        except RefusedError:
            # Another may have made it just now, or we ourselves by a request whose answer was lost.
            if found := self._experiment(name):
                return found
            raise
        return str(made["experiment_id"])

    def find(self, display_name: str) -> Run | None:
        """The newest run of this name."""
        return next(iter(self._named(display_name)), None)

    def submit(
        self,
        document: dict[str, Any],
        platform_spec: dict[str, Any] | None,
        *,
        display_name: str,
        experiment: str,
        service_account: str = "",
        pipeline_root: str | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> Run:
        """Start a run. Never blindly repeated: a request whose answer was lost may have started one.

        Args:
            document: The pipeline spec.
            platform_spec: What Kubernetes needs beside it.
            display_name: Unlike any other run's: by it the run is found if the server's answer is lost.
            experiment: Name of KFP's experiment, a folder in its UI.
            service_account: Of the pods; KFP's own if empty.
            pipeline_root: Where KFP puts its artifacts; as configured in the cluster if None.
            parameters: Of the pipeline.
        """
        spec = {"pipeline_spec": document, "platform_spec": platform_spec} if platform_spec else document
        config = {"parameters": parameters or {}} | ({"pipeline_root": pipeline_root} if pipeline_root else {})
        body = {
            "display_name": display_name,
            "experiment_id": self.experiment(experiment),
            "pipeline_spec": spec,
            "runtime_config": config,
        } | ({"service_account": service_account} if service_account else {})
        for attempt in range(self._connection.attempts):
            run = None
            try:
                run = runs.read(self._connection.call("POST", "runs", body=body, attempts=1))
                if not attempt:
                    return run
            except TransientError as error:
                last = error
                time.sleep(retries.PAUSES.after(attempt + 1))
            try:
                if found := self._named(display_name) or ([run] if run else []):
                    return self._only(found)
            except TransientError as error:
                raise TransientError(
                    f"{error}. Whether run {display_name!r} was submitted isn't known: it may be running"
                ) from last
        raise last

    def run(self, run_id: str) -> Run:
        """The run as it is now.

        Raises:
            RunNotFoundError: the server answers, but has no such run.
        """
        document = self._of(run_id, "GET")
        return runs.read(document, self._connection.time)

    def terminate(self, run_id: str) -> None:
        """Cancel a run. It is CANCELING for a while; nothing happens to one that is over."""
        try:
            self._of(run_id, "POST", ":terminate")
        except (RefusedError, TransientError):
            # KFP objects if it is over, if it was told before, and, with a 500, if the run's workflow was deleted.
            run = self.run(run_id)
            if not run.final and run.state != "CANCELING":
                raise

    def url(self, run_id: str) -> str:
        """Where KFP's web page shows the run."""
        return f"{self._ui}/#/runs/details/{run_id}"

    def _named(self, display_name: str) -> list[Run]:
        """All runs of this name, newest first."""
        found = self._list("runs", display_name).get("runs") or []
        return [runs.read(each) for each in found if each.get("display_name") == display_name]

    def _only(self, found: list[Run]) -> Run:
        """Of the runs of one name the oldest; the others, of requests that were taken for lost, are cancelled."""
        *late, first = found
        for each in late:
            self.terminate(each.id)
        return first

    def _experiment(self, name: str) -> str | None:
        for each in self._list("experiments", name).get("experiments") or []:
            if each.get("display_name") == name:
                return str(each["experiment_id"])
        return None

    def _list(self, what: str, display_name: str) -> dict[str, Any]:
        # MySQL compares without regard to case, so the caller looks again.
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": display_name}
        asked = {"filter": json.dumps({"predicates": [predicate]}), "sort_by": "created_at desc", "page_size": "100"}
        return self._connection.call("GET", what, params=asked | self._place())

    def _place(self) -> dict[str, str]:
        """The namespace, if the server has several; one with a single user may object to it."""
        if self._is_multi_user is None:
            self._is_multi_user = bool(self._health().get("multi_user"))
        return {"namespace": self.namespace} if self._is_multi_user else {}

    def _health(self) -> dict[str, Any]:
        return self._connection.call("GET", "healthz")

    def _of(self, run_id: str, method: str, verb: str = "", attempts: int | None = None) -> dict[str, Any]:
        try:
            return self._connection.call(method, f"runs/{quote(run_id, safe='')}{verb}", attempts=attempts)
        except RefusedError as error:
            if error.status != 404:
                raise
            raise RunNotFoundError(
                f"Kubeflow at {self.endpoint} has no run {run_id}: it was deleted there, or belongs to another "
                "installation. What its tasks have finished is in the store"
            ) from error


def check_version(version: str) -> str:
    """A warning if the server is of another version than what it is sent; nothing if it fits."""
    if re.match(rf"v?{re.escape(VERSION)}(\D|$)", version):
        return ""
    return (
        f"Kubeflow's version is {version}, and bertline compiles for {VERSION}: what another makes of retries and GPUs "
        f"isn't known; {VERSION}.1 is what it was tried with"
    )
