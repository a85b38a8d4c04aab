"""Access from this machine to a profile's store, Kubeflow and cluster. Credentials come from the environment.

A store inside the cluster has another address on this machine than for pods. If the environment doesn't have its
credentials, they are read from a Kubernetes secret, through kubectl's context.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from bertline.errors import BertlineError, UserError
from bertline.store import backends
from bertline.store.objects import ObjectStore
from bertline_pipelines.places.profiles import Kubeflow as Place
from bertline_pipelines.places.profiles import Profile

if TYPE_CHECKING:
    from bertline_pipelines.cluster.reader import Cluster
    from bertline_pipelines.kubeflow.api import Kubeflow

T = TypeVar("T")


def store(profile: Profile) -> ObjectStore:
    """The profile's store. Address and credentials are set in the environment, where its client reads them.

    Raises:
        UserError: there are no credentials, or they are refused.
    """
    if profile.store.endpoint_here:
        os.environ.setdefault(profile.store.endpoint_variable, profile.store.endpoint_here)
    secret = profile.store.secret
    if secret and profile.kubeflow and any(variable not in os.environ for variable in secret.keys):
        try:
            with cluster(profile) as connected:
                found = connected.secret(profile.kubeflow.namespace, secret.name)
        except BertlineError as error:
            raise type(error)(
                f"{profile.store.uri} needs {' and '.join(secret.keys)} in the environment; they are neither there "
                f"nor readable from the secret {secret.name}: {error}"
            ) from error
        for variable, key in secret.keys.items():
            if key not in found:
                raise UserError(
                    f"secret {secret.name} in namespace {profile.kubeflow.namespace} has no key {key!r}, which the "
                    f"profile uses as {variable}; it has {', '.join(sorted(found)) or 'none'}"
                )
            os.environ.setdefault(variable, found[key])
    return backends.connect(profile.store.uri)


def kubeflow(profile: Profile) -> "Kubeflow":
    """Kubeflow's API; if it needs a token, that is in KFP_TOKEN."""
    from bertline_pipelines.kubeflow.api import Kubeflow

    place = submits_to(profile)
    return Kubeflow(place.endpoint, place.namespace, os.environ.get("KFP_TOKEN"), ui=place.ui)


def cluster(profile: Profile) -> "Cluster":
    """Kubernetes' API, by kubectl's context."""
    from bertline_pipelines.cluster.reader import connect

    return connect(submits_to(profile).context)


def submits_to(profile: Profile) -> Place:
    """The profile's section about Kubeflow.

    Raises:
        UserError: the profile has no such section.
    """
    if profile.kubeflow is None:
        raise UserError(
            f"profile {profile.name} has no `kubeflow`: it is for this machine, where `bertline run` runs an experiment"
        )
    return profile.kubeflow


def try_to(reach: Callable[[], T], remarks: list[str], what: str) -> T | None:
    """The connection; None, with a remark, if it fails."""
    try:
        return reach()
    except BertlineError as error:
        remarks.append(f"{what}: {error}")
        return None
