"""Checks of the namespace: our permissions, the account of a run's pods, secrets. For `bertline doctor`.

Messages contain names and keys of secrets, never their values.
"""

from collections.abc import Iterator

from bertline.errors import BertlineError
from bertline_pipelines.cluster.connections import Connection, ForbiddenError, Permission
from bertline_pipelines.cluster.reader import NEEDED, USEFUL, Cluster
from bertline_pipelines.doctor import findings
from bertline_pipelines.doctor.findings import Finding
from bertline_pipelines.places.profiles import Kubeflow, Profile, Secret

RIGHTS = (
    ("create", "workflowtaskresults", "argoproj.io", ""),
    ("patch", "workflowtaskresults", "argoproj.io", ""),
    ("get", "configmaps", "", "kfp-launcher"),
)
"""Permissions of the pods' account, as in manifests/base/role.yaml: verb, resource, group, name."""


def namespace(cluster: Cluster, place: Kubeflow) -> Iterator[Finding]:
    """Check that the namespace exists."""
    if cluster.namespace_exists(place.namespace):
        yield findings.ok("namespace", place.namespace)
    else:
        yield findings.failed(
            "namespace",
            f"the cluster at {cluster.host} has no namespace {place.namespace}",
            "install Kubeflow Pipelines there (kind: `make kind-up`), or correct `kubeflow.namespace` in the profile "
            "or BERTLINE_NAMESPACE",
        )


def permissions(cluster: Cluster, place: Kubeflow) -> Iterator[Finding]:
    """Check that we may read pods, logs and events."""
    lacking, dull = (cluster.permissions(place.namespace, wanted) for wanted in (NEEDED, USEFUL))
    if lacking:
        yield findings.failed(
            "permissions",
            f"`bertline status` and `logs` need permissions in namespace {place.namespace} that your account doesn't "
            f"have ({_list(lacking)})",
            f"ask for the role bertline-viewer there; `{lacking[0].check(place.namespace)}` shows whether you have it",
        )
    if dull:
        yield findings.warning(
            "permissions",
            f"your account may not {_list(dull)}, so `bertline status` can say less about why a pod waits",
            f"ask for it; `{dull[0].check(place.namespace)}` shows whether you have it",
        )
    if not lacking and not dull:
        yield findings.ok("permissions", "your account may read pods, logs, events, nodes and quotas")


def account(cluster: Cluster, connection: Connection, place: Kubeflow) -> Iterator[Finding]:
    """Check that the pods' account exists and has what Argo's and KFP's containers need, if we may ask that."""
    where = f"in namespace {place.namespace}"
    if not cluster.service_account_exists(place.namespace, place.service_account):
        yield findings.failed(
            "account",
            f"there is no service account {place.service_account} {where}, but pods run as it",
            "kubectl apply -k manifests/overlays/… creates `bertline`; or name another in `kubeflow.service_account`",
        )
        return
    try:
        lacking = [
            f"{verb} {resource}" for verb, resource, group, name in RIGHTS
            if not _may(connection, place, verb, resource, group, name)
        ]  # fmt: skip
    except ForbiddenError:  # only administrators may ask
        yield findings.ok("account", f"{place.service_account} exists; your account may not ask for its permissions")
        return
    if lacking:
        yield findings.failed(
            "account",
            f"the pods' account {place.service_account} may not {', '.join(lacking)} {where}, and no task "
            "succeeds without this",
            "kubectl apply -k manifests/overlays/… gives it the role",
        )
    else:
        yield findings.ok("account", f"{place.service_account} exists and has the permissions that pods of a run need")


def secrets(cluster: Cluster, profile: Profile, place: Kubeflow) -> Iterator[Finding]:
    """Check that the profile's secrets exist and have its keys."""
    for secret in (*filter(None, [profile.store.secret]), *profile.secrets):
        try:
            yield _secret(cluster, secret, place.namespace)
        except BertlineError as error:
            yield findings.from_error("secret", error, f"{secret.name}: ")
    for name in profile.images.pull_secrets:
        try:
            keys = cluster.secret(place.namespace, name)
        except BertlineError as error:
            yield findings.from_error("pull secret", error, f"{name}: ")
            continue
        if ".dockerconfigjson" in keys or ".dockercfg" in keys:
            yield findings.ok("pull secret", name)
        else:
            yield findings.failed(
                "pull secret",
                f"secret {name} isn't a secret for pulling images: it has {', '.join(sorted(keys)) or 'no keys'}",
                f"kubectl create secret docker-registry {name} -n {place.namespace} … makes one",
            )


def _secret(cluster: Cluster, secret: Secret, namespace: str) -> Finding:
    who = f"secret {secret.name} in namespace {namespace}"
    try:
        found = cluster.secret(namespace, secret.name)
    except UnicodeDecodeError:
        return findings.failed("secret", f"{who} has a value that isn't text", "environment variables hold only text")
    wanted = {key: variable for variable, key in secret.keys.items()}
    if missing := [key for key in wanted if key not in found]:
        return findings.failed(
            "secret",
            f"{who} has no key {', '.join(map(repr, missing))}, which the profile uses as "
            f"{', '.join(wanted[key] for key in missing)}; it has {', '.join(sorted(found)) or 'none'}",
            "add it to the secret, or correct the profile",
        )
    if empty := [key for key in wanted if not found[key]]:
        return findings.failed("secret", f"{who} has no value for {', '.join(empty)}", "create it again with a value")
    if loose := [key for key in wanted if found[key] != found[key].strip()]:
        return findings.warning(
            "secret",
            f"{who}: the value of {', '.join(loose)} begins or ends with a space or line break, probably by mistake",
            "create it again with `printf` instead of `echo`",
        )
    return findings.ok("secret", f"{secret.name} has {', '.join(wanted)}")


def _may(connection: Connection, place: Kubeflow, verb: str, resource: str, group: str, name: str) -> bool:
    wanted = {"namespace": place.namespace, "verb": verb, "resource": resource, "group": group, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": f"system:serviceaccount:{place.namespace}:{place.service_account}",
            "groups": ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{place.namespace}"],
            "resourceAttributes": {key: value for key, value in wanted.items() if value},
        },
    }
    asking = Permission("create", "subjectaccessreviews", "authorization.k8s.io", namespaced=False)
    answer = connection.ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", asking, body=review)
    return bool((answer.get("status") or {}).get("allowed"))


def _list(permissions: tuple[Permission, ...]) -> str:
    return ", ".join(map(str, permissions))
