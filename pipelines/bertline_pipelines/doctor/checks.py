"""The examinations of `bertline doctor`: is everything there that a submitted run will need?

Each runs in a thread of its own, and none stops another. What needs the cluster waits for the login; if that fails,
there is one failure, and what couldn't be looked at is called so. Nothing takes longer than `DEADLINE_S`: the threads
are daemons, for one that hangs must not keep the command from ending.
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
from bertline_pipelines.cluster import connections as cluster_logins
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
"""Of the longest name of an examination."""


@dataclass(frozen=True)
class Login:
    """To the cluster."""

    cluster: Cluster
    connection: Connection
    """The same one, for what `Cluster` has no method for."""


def examine(profile: Profile, *, deadline_s: float = DEADLINE_S) -> Iterator[Finding]:
    """Look at everything; findings come in a fixed order, each as soon as it and those before it are there.

    Args:
        profile: Of a cluster.
        deadline_s: What isn't known after so many seconds, counts as failed for now.

    Raises:
        UserError: the profile isn't one of a cluster.
    """
    place = access.submits_to(profile)
    login = _start(lambda: _log_in(place))
    seen = _start(lambda: list(accounts.namespace(_of(login).cluster, place)))
    machines = _start(lambda: tuple(_of(login).cluster.nodes()))

    def inside() -> Login:
        """The login, if the namespace is there or can't be seen."""
        found = _of(login)
        with contextlib.suppress(ForbiddenError):  # few may look at namespaces
            if any(each.state == State.FAILED for each in seen.result()):
                raise UnclearError("needs the namespace")
        return found

    examinations: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("kubeflow", lambda: _kubeflow(place)),
        ("cluster", lambda: [_cluster(login.result())]),
        ("namespace", seen.result),
        ("permissions", lambda: accounts.permissions(inside().cluster, place)),
        ("account", lambda: accounts.account(inside().cluster, inside().connection, place)),
        ("retries", lambda: retries.policy(inside().connection, place.namespace)),
        ("secret", lambda: accounts.secrets(inside().cluster, profile, place)),
        ("nodes", lambda: _nodes(profile, machines.result(), _of(login).cluster)),
        ("storage class", lambda: capacities.storage_classes(profile, _of(login).connection)),
        ("quota", lambda: _quota(profile, inside(), place)),
        ("store", lambda: _store(profile, login)),
        ("images", lambda: _images(profile, machines)),
    ]
    named = {
        "retries": any(profile.pods.of(stage.name).retries for stage in STAGES),
        "secret": profile.store.secret or profile.secrets or profile.images.pull_secrets,
        "storage class": capacities.classes(profile),
    }
    running = [(name, _start(partial(_all, look))) for name, look in examinations if named.get(name, True)]
    until = time.monotonic() + deadline_s
    for name, future in running:
        try:
            yield from future.result(max(0.0, until - time.monotonic()))
        except BertlineError as error:
            yield findings.from_error(name, error)
        except TimeoutError:
            sentence = f"isn't known after {deadline_s:g} seconds: something takes requests and doesn't answer them"
            yield findings.failed(name, sentence, "try again later", exit_code=ExitCode.TRANSIENT)
    if login.done() and not login.exception():
        login.result().cluster.close()


def _start(work: Callable[[], T]) -> "Future[T]":
    """Do it in a thread that the end of the process doesn't wait for, as it does for those of an executor."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _all(look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    return list(look())


def _of(login: "Future[Login]") -> Login:
    """The login, for what needs it: its failure is told once."""
    try:
        return login.result()
    except BertlineError as error:
        raise UnclearError("needs the cluster") from error


def _log_in(place: Place) -> Login:
    connection = cluster_logins.log_in(place.context, attempts=ATTEMPTS, timeout_s=TIMEOUT_S)
    try:
        version = connection.ask("/version", Permission("get", "/version", namespaced=False))
    except (ForbiddenError, MissingError):
        version = {}  # some don't tell it to everybody
    return Login(Cluster(connection, str(version.get("gitVersion", ""))), connection)


def _cluster(login: Login) -> Finding:
    context = f", context {login.connection.context}" if login.connection.context else ""
    return findings.ok("cluster", f"Kubernetes {login.cluster.version} at {login.cluster.host}{context}")


def _kubeflow(place: Place) -> Iterator[Finding]:
    token = os.environ.get("KFP_TOKEN")
    with api.Kubeflow(place.endpoint, place.namespace, token, timeout_s=TIMEOUT_S, attempts=ATTEMPTS) as server:
        try:
            version = server.version()
            server.find("doctor")  # the version is told to everybody, runs aren't
        except BertlineError as error:
            yield findings.from_error("kubeflow", error)
            return
    entrance = "the token in KFP_TOKEN is accepted" if token else "no token is needed"
    if problem := api.check_version(version):
        yield findings.warning("kubeflow", problem)
    else:
        yield findings.ok("kubeflow", f"version {version} at {place.endpoint}, {entrance}, runs can be listed")


def _nodes(profile: Profile, machines: tuple[Node, ...], cluster: Cluster) -> Iterator[Finding]:
    try:
        usage = cluster.usage()
    except ForbiddenError:
        usage = None
    yield from capacities.on_nodes(profile, machines, usage)


def _quota(profile: Profile, login: Login, place: Place) -> Iterator[Finding]:
    limits = capacities.limit_ranges(login.connection, place.namespace)
    yield from capacities.in_quota(profile, login.cluster.quota(place.namespace), limits)


def _store(profile: Profile, login: "Future[Login]") -> Iterator[Finding]:
    secret = profile.store.secret
    if secret and any(variable not in os.environ for variable in secret.keys):
        try:
            login.result()
        except BertlineError as error:
            variables = " and ".join(secret.keys)
            raise UnclearError(
                f"needs the cluster, where its credentials are, or {variables} in the environment"
            ) from error
    access.store(profile)  # puts address and credentials into the environment
    yield from probes.examine(probes.connect(profile.store.uri), profile.store)


def _images(profile: Profile, machines: "Future[tuple[Node, ...]]") -> Iterator[Finding]:
    if profile.images.registry:
        yield from registries.in_registry(profile)
    else:
        yield from registries.on_nodes(profile, machines.result())
