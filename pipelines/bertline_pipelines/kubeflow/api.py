"""Kubeflow Pipelines, v2beta1: the calls of its REST API that bertline needs.

The SDK's client isn't used: it takes seconds to import, has no timeouts, and waits for ever for a cancelled run.
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
"""The server's version that compiled documents and the images' executor are for."""


class RunNotFoundError(UserError):
    """The server has no such run: it was deleted, or belongs to another server."""


class Kubeflow:
    """A KFP server; as a context manager it closes its connections."""

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
        """Prepare; the first call sends the first request.

        Args:
            endpoint: `http://localhost:8888`, `https://host/pipeline`: the URL before `/apis`.
            namespace: Namespace of the runs, if the server has several users; else unused.
            token: The token that the server requires, if any; from KFP_TOKEN.
            ui: Address of the web page, for links; None means the endpoint.
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
        """The server's version, such as `2.16.1`, or `unknown`."""
        return str(self._health().get("tag_name") or "unknown")

    def experiment(self, name: str) -> str:
        """The id of KFP's experiment of this name; it is created if it doesn't exist."""
        if found := self._experiment(name):
            return found
        try:
            made = self._connection.call("POST", "experiments", body={"display_name": name} | self._place())
        except RefusedError:
            # Another process may just have created it, or our own request whose answer was lost.
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
        """Start a run. A request whose answer was lost isn't simply repeated, because it may have started a run.

        Args:
            document: The pipeline spec.
            platform_spec: The Kubernetes settings.
            display_name: A unique name, by which the run is found if the server's answer is lost.
            experiment: Name of KFP's experiment, a folder in its UI.
            service_account: Account of the pods; empty means KFP's own.
            pipeline_root: Where KFP stores its artifacts; None means as configured in the cluster.
            parameters: Parameters of the pipeline.
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
                    f"{error}. Run {display_name!r} may have been submitted and may be running"
                ) from last
        raise last

    def run(self, run_id: str) -> Run:
        """The current state of a run.

        Raises:
            RunNotFoundError: the server has no such run.
        """
        document = self._of(run_id, "GET")
        return runs.read(document, self._connection.time)

    def terminate(self, run_id: str) -> None:
        """Cancel a run, which is CANCELING for a while. A run that has ended doesn't change."""
        try:
            self._of(run_id, "POST", ":terminate")
        except (RefusedError, TransientError):
            # KFP refuses this if the run has ended or was cancelled before, and, with a 500, if its workflow was
            # deleted.
            run = self.run(run_id)
            if not run.final and run.state != "CANCELING":
                raise

    def url(self, run_id: str) -> str:
        """The run's address on KFP's web page."""
        return f"{self._ui}/#/runs/details/{run_id}"

    def _named(self, display_name: str) -> list[Run]:
        """All runs of this name, newest first."""
        found = self._list("runs", display_name).get("runs") or []
        return [runs.read(each) for each in found if each.get("display_name") == display_name]

    def _only(self, found: list[Run]) -> Run:
        """The oldest run of a name; later ones, from repeated requests, are cancelled."""
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
        # MySQL ignores case, so the caller compares again.
        predicate = {"operation": "EQUALS", "key": "display_name", "string_value": display_name}
        asked = {"filter": json.dumps({"predicates": [predicate]}), "sort_by": "created_at desc", "page_size": "100"}
        return self._connection.call("GET", what, params=asked | self._place())

    def _place(self) -> dict[str, str]:
        """The namespace, if the server has several users; a server with a single user may refuse it."""
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
                "installation. Finished results are in the store"
            ) from error


def check_version(version: str) -> str:
    """A warning if the server has another version than our documents; empty if it has the same."""
    if re.match(rf"v?{re.escape(VERSION)}(\D|$)", version):
        return ""
    return (
        f"Kubeflow's version is {version}, but bertline compiles for {VERSION}: retries and GPUs may work differently "
        f"in another version; {VERSION}.1 was tested"
    )
