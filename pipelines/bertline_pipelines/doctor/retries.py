"""Whether Argo does what a profile's `retries` say: the cluster's own defaults may forbid it. For `bertline doctor`.

KFP gives a task a number of retries and leaves to Argo which failures count. Argo's own default is a container's
failure; KFP 2.17 ships a ConfigMap that changes it to errors, of which a container's failure is none.
"""

from collections.abc import Iterator

import yaml

from bertline_pipelines.cluster.connections import Connection, ForbiddenError, MissingError, Permission
from bertline_pipelines.doctor import findings
from bertline_pipelines.doctor.findings import Finding

CONFIG_MAP = "workflow-controller-configmap"
COUNTS = {"OnFailure", "Always"}
"""Argo's policies under which a pod that failed is tried again."""


def policy(connection: Connection, namespace: str) -> Iterator[Finding]:
    """Nothing if Argo's settings are elsewhere, or not for everybody."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}"
    try:
        found = connection.ask(path, Permission("get", "configmaps"), namespace)
    except (MissingError, ForbiddenError):
        return
    remedy = (
        f"kubectl -n {namespace} patch configmap {CONFIG_MAP} --type merge --patch-file "
        f"manifests/components/argo-retries/workflow-defaults.yaml, then kubectl -n {namespace} rollout restart "
        "deployment/workflow-controller"
    )
    try:
        defaults = yaml.safe_load((found.get("data") or {}).get("workflowDefaults") or "") or {}
        strategy = ((defaults.get("spec") or {}).get("templateDefaults") or {}).get("retryStrategy") or {}
        name, limit = strategy.get("retryPolicy", "OnFailure"), str(strategy.get("limit", "0"))
    except (yaml.YAMLError, AttributeError):
        yield findings.warning("retries", f"workflowDefaults in {CONFIG_MAP} can't be read", remedy)
        return
    if name not in COUNTS:
        yield findings.warning(
            "retries",
            f"Argo's defaults here are retryPolicy {name}, so the profile's `retries` do nothing for a pod that fails "
            "(out of memory, a spot node's shutdown, a store that is away); --auto-resume is what is left",
            remedy,
        )
    elif limit != "0":
        yield findings.warning(
            "retries",
            f"Argo's defaults here have limit {limit}, and repeat each level around a task as often: a task that fails "
            "is tried many times more than the profile says",
            remedy,
        )
    else:
        lost = ", and so is one that went with its node" if name == "Always" else ""
        yield findings.ok("retries", f"a pod that fails is tried again as the profile says{lost}")
