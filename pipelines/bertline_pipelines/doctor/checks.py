"""Runs the checks of `bertline doctor`.

Each check has its own thread; a failed check doesn't stop the others. Checks of the cluster wait for the connection to
it. If that fails, one finding says so, and those checks have state `unknown`. No check takes longer than `DEADLINE_S`:
the threads are daemons, so a thread that hangs doesn't keep the command from ending.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bertline.errors import BertlineError, ExitCode
from bertline_pipelines.cluster import connections
from bertline_pipelines.cluster.connections import Connection, ForbiddenError, MissingError, Permission
from bertline_pipelines.cluster.nodes import Node
from bertline_pipelines.cluster.reader import Cluster
from bertline_pipelines.doctor import accounts, capacities, findings, probes, registries, retries
from bertline_pipelines.doctor.findings import Finding, State, UnclearError
from bertline_pipelines.kubeflow import api
from bertline_pipelines.places import access
from bertline_pipelines.places.profiles import Kubeflow as Place
from bertline_pipelines.places.profiles import Profile
from bertline_pipelines.stages import STAGES

T = TypeVar("T")

DEADLINE_S = 60.0
TIMEOUT_S = (5.0, 10.0)  # to connect, and between two bytes
ATTEMPTS = 2
WIDTH = 13
"""Characters of the longest name of a check."""


@dataclass(frozen=True)
class Access:
    """The cluster, with the connection to it."""

    cluster: Cluster
    connection: Connection
    """The connection of `cluster`, for requests that `Cluster` has no method for."""


def run(profile: Profile, *, deadline_s: float = DEADLINE_S) -> Iterator[Finding]:
    """Run all checks; findings come in a fixed order, each as soon as it and all earlier ones are known.

    Args:
        profile: The profile of a cluster.
        deadline_s: A check without a result after so many seconds has failed; its exit code is `TRANSIENT`.

    Raises:
        UserError: the profile is for this machine, not for a cluster.
    """
    place = access.submits_to(profile)
    cluster_access = _start(lambda: _connect(place))
    namespace = _start(lambda: list(accounts.namespace(_of(cluster_access).cluster, place)))
    nodes = _start(lambda: tuple(_of(cluster_access).cluster.nodes()))

    def namespaced() -> Access:
        """The access, if the namespace exists or we may not see it."""
        found = _of(cluster_access)
        with contextlib.suppress(ForbiddenError):  # few accounts may read namespaces
            if any(each.state == State.FAILED for each in namespace.result()):
                raise UnclearError("needs the namespace")
        return found

    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("kubeflow", lambda: _kubeflow(place)),
        ("cluster", lambda: [_cluster(cluster_access.result())]),
        ("namespace", namespace.result),
        ("permissions", lambda: accounts.permissions(namespaced().cluster, place)),
        ("account", lambda: accounts.account(namespaced().cluster, namespaced().connection, place)),
        ("retries", lambda: retries.policy(namespaced().connection, place.namespace)),
        ("secret", lambda: accounts.secrets(namespaced().cluster, profile, place)),
        ("nodes", lambda: _nodes(profile, nodes.result(), _of(cluster_access).cluster)),
        ("storage class", lambda: capacities.storage_classes(profile, _of(cluster_access).connection)),
        ("quota", lambda: _quota(profile, namespaced(), place)),
        ("store", lambda: _store(profile, cluster_access)),
        ("images", lambda: _images(profile, nodes)),
    ]
    needed = {
        "retries": any(profile.pods.of(stage.name).retries for stage in STAGES),
        "secret": profile.store.secret or profile.secrets or profile.images.pull_secrets,
        "storage class": capacities.classes(profile),
    }
    running = [(name, _start(partial(_all, look))) for name, look in checks if needed.get(name, True)]
    until = time.monotonic() + deadline_s
    for name, future in running:
        try:
            yield from future.result(max(0.0, until - time.monotonic()))
        except BertlineError as error:
            yield findings.from_error(name, error)
        except TimeoutError:
            sentence = f"no result after {deadline_s:g} seconds: a server takes requests and doesn't answer"
            yield findings.failed(name, sentence, "try again later", exit_code=ExitCode.TRANSIENT)
    if cluster_access.done() and not cluster_access.exception():
        cluster_access.result().cluster.close()


def _start(work: Callable[[], T]) -> "Future[T]":
    """Call it in a daemon thread; the end of the process would wait for an executor's threads."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _all(check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    return list(check())


def _of(cluster_access: "Future[Access]") -> Access:
    """The access; its failure is reported once, by the check `cluster`."""
    try:
        return cluster_access.result()
    except BertlineError as error:
        raise UnclearError("needs the cluster") from error


def _connect(place: Place) -> Access:
    connection = connections.log_in(place.context, attempts=ATTEMPTS, timeout_s=TIMEOUT_S)
    try:
        version = connection.ask("/version", Permission("get", "/version", namespaced=False))
    except (ForbiddenError, MissingError):
        version = {}  # some clusters show it only to some accounts
    return Access(Cluster(connection, str(version.get("gitVersion", ""))), connection)


def _cluster(cluster_access: Access) -> Finding:
    context = f", context {cluster_access.connection.context}" if cluster_access.connection.context else ""
    return findings.ok(
        "cluster", f"Kubernetes {cluster_access.cluster.version} at {cluster_access.cluster.host}{context}"
    )


def _kubeflow(place: Place) -> Iterator[Finding]:
    token = os.environ.get("KFP_TOKEN")
    with api.Kubeflow(place.endpoint, place.namespace, token, timeout_s=TIMEOUT_S, attempts=ATTEMPTS) as server:
        try:
            version = server.version()
            server.find("doctor")  # everybody may read the version, but not the runs
        except BertlineError as error:
            yield findings.from_error("kubeflow", error)
            return
    authentication = "the token in KFP_TOKEN is accepted" if token else "no token is needed"
    if problem := api.check_version(version):
        yield findings.warning("kubeflow", problem)
    else:
        yield findings.ok("kubeflow", f"version {version} at {place.endpoint}, {authentication}, runs can be listed")


def _nodes(profile: Profile, nodes: tuple[Node, ...], cluster: Cluster) -> Iterator[Finding]:
    try:
        usage = cluster.usage()
    except ForbiddenError:
        usage = None
    yield from capacities.on_nodes(profile, nodes, usage)


def _quota(profile: Profile, cluster_access: Access, place: Place) -> Iterator[Finding]:
    limits = capacities.limit_ranges(cluster_access.connection, place.namespace)
    yield from capacities.in_quota(profile, cluster_access.cluster.quota(place.namespace), limits)


def _store(profile: Profile, cluster_access: "Future[Access]") -> Iterator[Finding]:
    secret = profile.store.secret
    if secret and any(variable not in os.environ for variable in secret.keys):
        try:
            cluster_access.result()
        except BertlineError as error:
            variables = " and ".join(secret.keys)
            raise UnclearError(f"needs the cluster for its credentials, or {variables} in the environment") from error
    access.store(profile)  # sets address and credentials in the environment
    yield from probes.run(probes.connect(profile.store.uri), profile.store)


def _images(profile: Profile, nodes: "Future[tuple[Node, ...]]") -> Iterator[Finding]:
    if profile.images.registry:
        yield from registries.in_registry(profile)
    else:
        yield from registries.on_nodes(profile, nodes.result())
