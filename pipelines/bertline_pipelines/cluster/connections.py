"""A connection to a cluster's API: login, timeouts, retries, and refusals as sentences.

Kubernetes' own client finds the cluster and logs in, and sends the requests. `log_in` imports it, because that takes
two seconds.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from bertline import retries
from bertline.errors import BertlineError, TransientError, UserError
from bertline_pipelines import tls

TIMEOUT_S = (5.0, 30.0)  # to connect, and between two bytes
ATTEMPTS = 5
PAGE = 500


class ForbiddenError(UserError):
    """The account may not do this; names the missing permission."""


class MissingError(UserError):
    """There is no such object."""


@dataclass(frozen=True)
class Permission:
    """A permission that an account may have."""

    verb: str
    resource: str
    """`pods`, `pods/log`, `workflows`."""
    group: str = ""
    """The API's group; empty for Kubernetes' core."""
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"

    def check(self, namespace: str) -> str:
        """The command that checks the permission."""
        name, _, part = self.resource.partition("/")
        name += f".{self.group}" if self.group else ""
        return (
            f"kubectl auth can-i {self.verb} {name}{f' --subresource={part}' if part else ''}"
            f"{f' -n {namespace}' if self.namespaced else ''}"
        )


def log_in(
    context: str | None = None, *, attempts: int = ATTEMPTS, timeout_s: tuple[float, float] = TIMEOUT_S
) -> "Connection":
    """Log in to the cluster of kubectl's context, or to this pod's cluster.

    Args:
        context: A context of the kubeconfig; None means the current one.
        attempts: A request is sent at most so often.
        timeout_s: Seconds to connect, and seconds without a byte.

    Raises:
        UserError: no kubeconfig, no such context, or the cluster doesn't accept the login.
        TransientError: the cluster doesn't answer.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    configuration.retries = False  # ours have pauses
    files = os.environ.get("KUBECONFIG") or "~/.kube/config"
    name = context or ""
    try:
        if any(Path(file).expanduser().exists() for file in files.split(os.pathsep) if file):
            config.load_kube_config(files, context, client_configuration=configuration)
        elif context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
            config.load_incluster_config(configuration)
            name = "the cluster of this pod"
        else:
            raise UserError(
                f"no cluster: {files} doesn't exist, and this isn't a pod; get its credentials first, for example by "
                "`make kind-up` or `gcloud container clusters get-credentials NAME`"
            )
    except config.ConfigException as error:
        raise UserError(_bad_config(files, context, str(error))) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"can't read kubeconfig {files}: {error}; compare `kubectl config view`") from error
    return Connection(client.ApiClient(configuration), name, attempts=attempts, timeout_s=timeout_s)


class Connection:
    """One cluster, as one account sees it. Use `log_in`."""

    def __init__(self, api: Any, context: str, *, attempts: int, timeout_s: tuple[float, float]) -> None:
        self.context = context
        """kubectl's context, if one was given."""
        self.host: str = api.configuration.host
        self._api = api
        self._attempts = attempts
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Close connections; a later request opens new ones."""
        self._api.rest_client.pool_manager.clear()

    def ask(
        self, path: str, permission: Permission, namespace: str = "", body: Any = None, **query: str
    ) -> dict[str, Any]:
        """One JSON document.

        Args:
            path: A path of the API.
            permission: The needed permission, for the error message.
            namespace: The namespace; empty means the whole cluster.
            body: Body of a POST; None means GET.
            **query: Parameters.

        Raises:
            ForbiddenError: the account may not do this.
            MissingError: there is no such object.
            UserError: the login isn't accepted, or the server isn't Kubernetes.
            TransientError: no answer after all attempts.
        """
        response = self.send(path, permission, namespace, query, body=body)
        try:
            document = json.loads(response.data)
        except ValueError as error:
            raise UserError(f"{self.host} answers, but not as Kubernetes does: see `kubectl config view`") from error
        return dict(document)

    def all(self, path: str, permission: Permission, namespace: str = "", **query: str) -> list[dict[str, Any]]:
        """All objects of a listing, page by page."""
        items: list[dict[str, Any]] = []
        rest: dict[str, str] = {}
        while True:
            page = self.ask(path, permission, namespace, **query, limit=str(PAGE), **rest)
            items += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            rest = {"continue": token}

    def exists(self, path: str, permission: Permission, namespace: str) -> bool:
        """Whether there is such an object."""
        try:
            self.ask(path, permission, namespace)
        except MissingError:
            return False
        return True

    def may(self, permission: Permission, namespace: str) -> bool:
        """Whether our account has a permission; every account may ask this."""
        name, _, part = permission.resource.partition("/")
        wanted = {"verb": permission.verb, "group": permission.group, "resource": name, "subresource": part}
        if permission.namespaced:
            wanted["namespace"] = namespace
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: value for key, value in wanted.items() if value}},
        }
        asking = Permission("create", "selfsubjectaccessreviews", "authorization.k8s.io", namespaced=False)
        answer = self.ask("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", asking, body=review)
        return bool((answer.get("status") or {}).get("allowed"))

    def send(
        self,
        path: str,
        permission: Permission,
        namespace: str,
        query: Mapping[str, str],
        *,
        body: Any = None,
        silence_s: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, again after temporary errors.

        Args:
            path: A path of the API.
            permission: The needed permission, for the error message.
            namespace: The namespace; empty means the whole cluster.
            query: Parameters.
            body: Body of a POST; None means GET.
            silence_s: For a streamed answer: seconds without a byte. The caller reads such an answer.
        """
        from kubernetes.client import ApiException

        def send() -> urllib3.BaseHTTPResponse:
            try:
                response: urllib3.BaseHTTPResponse = self._api.call_api(
                    path,
                    "GET" if body is None else "POST",
                    query_params=list(query.items()),
                    header_params={"Accept": "*/*"},
                    body=body,
                    auth_settings=["BearerToken"],
                    _preload_content=False,
                    _return_http_data_only=True,
                    _request_timeout=(self._timeout_s[0], silence_s or self._timeout_s[1]),
                )
                if silence_s is None:
                    _ = response.data  # may break off as well
                return response
            except ApiException as error:
                raise self._refusal(error, permission, namespace) from error
            except urllib3.exceptions.HTTPError as error:
                raise TransientError(
                    f"Kubernetes at {self.host} doesn't answer ({_short(error)}): check that the cluster runs: "
                    f"`kubectl{self._flag} cluster-info` asks the same"
                ) from error

        return retries.repeated(send, self._attempts)

    @property
    def _flag(self) -> str:
        return f" --context {self.context}" if self.context else ""

    def _refusal(self, error: Any, permission: Permission, namespace: str) -> BertlineError:
        """The error for a refused request."""
        message = _message(error)
        if error.status == 0:
            return self._without_tls(error, message)
        if error.status == 401 or (error.status == 403 and "system:anonymous" in message):
            return UserError(
                f"the cluster at {self.host} doesn't accept your login: its token is missing or has expired; log in "
                f"again, `kubectl{self._flag} get pods` shows whether it works"
            )
        where = f" in namespace {namespace}" if namespace and permission.namespaced else ""
        if error.status == 403:
            return ForbiddenError(
                f"your account may not {permission}{where}: ask the cluster's administrator for that right; "
                f"`{permission.check(namespace)}` shows whether you have it"
            )
        if error.status == 404:
            return MissingError(f"the cluster has nothing at {permission.resource}{where}: {message}")
        if retries.may_pass(error.status):
            return TransientError(
                f"Kubernetes at {self.host} answers {error.status}: {message}; try again later",
                asked_s=retries.asked_s(error.headers or {}),
            )
        return UserError(f"Kubernetes at {self.host} refuses to {permission}{where} ({error.status}): {message}")

    def _without_tls(self, error: Any, message: str) -> BertlineError:
        """The error for a failed TLS handshake, which has no status."""
        match tls.fault(error):
            case tls.Fault.CERTIFICATE:
                return UserError(
                    f"{self.host} doesn't prove that it is the cluster of the kubeconfig ({message}); if the cluster "
                    "was made anew, get its credentials again, for example by `kind export kubeconfig`"
                )
            case tls.Fault.LOGIN:
                return UserError(
                    f"the cluster at {self.host} doesn't accept the kubeconfig's certificate ({message}); get its "
                    "credentials again, for example by `kind export kubeconfig`"
                )
            case tls.Fault.SETTINGS:
                return UserError(
                    f"{self.host} doesn't speak https ({message}); compare the server and the certificates in "
                    "`kubectl config view`"
                )
        return TransientError(
            f"the connection to Kubernetes at {self.host} broke off ({message}); `kubectl{self._flag} cluster-info` "
            "asks the same"
        )


def _message(error: Any) -> str:
    """The message in the API's Status object."""
    try:
        said = json.loads(error.body)["message"]
    except (ValueError, TypeError, KeyError):
        said = error.reason or ""
    return " ".join(str(said).split())[:300]


def _short(error: Exception) -> str:
    """urllib3's message without the object at its beginning."""
    return str(error).rpartition(">: ")[2].rpartition("): ")[2] or type(error).__name__


def _bad_config(files: str, context: str | None, problem: str) -> str:
    from kubernetes import config

    try:
        contexts = sorted(each["name"] for each in config.list_kube_config_contexts(files)[0])
    except (config.ConfigException, KeyError, TypeError):
        contexts = []
    if context and contexts and context not in contexts:
        return f"kubeconfig {files} has no context {context!r}; it has {', '.join(contexts)}"
    return f"kubeconfig {files} can't be used: {problem}; see `kubectl config get-contexts`"
