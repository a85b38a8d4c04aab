"""Checks that the cluster's defaults for Argo don't disable a profile's `retries`. For `bertline doctor`.

KFP gives a task a number of retries; Argo decides which failures count. By default Argo counts a container's failure.
KFP 2.17 has a ConfigMap that makes Argo count only errors, and a container's failure isn't an error.
"""

from collections.abc import Iterator

import yaml

from bertline_pipelines.cluster.connections import Connection, ForbiddenError, MissingError, Permission
from bertline_pipelines.doctor import findings
from bertline_pipelines.doctor.findings import Finding

CONFIG_MAP = "workflow-controller-configmap"
COUNTS = {"OnFailure", "Always"}
"""Argo's policies that retry a pod that failed."""


def policy(connection: Connection, namespace: str) -> Iterator[Finding]:
    """Check Argo's retry policy; no finding if its settings are elsewhere or we may not read them."""
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
            f"Argo's default here is retryPolicy {name}, so the profile's `retries` don't apply to a pod that fails "
            "(out of memory, a spot node's shutdown, a store outage); only --auto-resume helps",
            remedy,
        )
    elif limit != "0":
        yield findings.warning(
            "retries",
            f"Argo's default limit here is {limit}, and it applies at each level around a task: a task that fails "
            "is tried many more times than the profile says",
            remedy,
        )
    else:
        lost = ", and so is one that was deleted with its node" if name == "Always" else ""
        yield findings.ok("retries", f"a pod that fails is retried as the profile says{lost}")
