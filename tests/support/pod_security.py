"""Kubernetes' Pod Security Standards, level "restricted" (which holds all of "baseline"), for pods on Linux.

https://kubernetes.io/docs/concepts/security/pod-security-standards, as of Kubernetes 1.36: one check a control. Made
anew here since the real one is part of the API server.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Tree = Mapping[str, Any]

VOLUMES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"
}  # fmt: skip
SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}  # fmt: skip
SELINUX = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
PROFILES = {"RuntimeDefault", "Localhost"}


def violations(spec: Tree) -> list[str]:
    """What would make an API server refuse a pod of this spec: a line each."""
    return [*_of_the_pod(spec), *(line for each in _containers(spec) for line in _of_a_container(each, _context(spec)))]


def _of_the_pod(spec: Tree) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is true"
    for volume in spec.get("volumes") or ():
        if kinds := set(volume) - {"name"} - VOLUMES:
            yield f"volume {volume['name']} is a {', '.join(sorted(kinds))}"
    for sysctl in _context(spec).get("sysctls") or ():
        if sysctl["name"] not in SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _of_any_context("pod", _context(spec))


def _of_a_container(container: Tree, pod: Tree) -> Iterator[str]:
    name, own = container["name"], _context(container)
    yield from _of_any_context(name, own)
    capabilities = own.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{name} doesn't drop ALL capabilities"
    if more := set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
        yield f"{name} adds {', '.join(sorted(more))}"
    if own.get("privileged"):
        yield f"{name} is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} allows privilege escalation"
    if own.get("procMount", "Default") != "Default":
        yield f"{name} has another /proc"
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"{name}: runAsNonRoot isn't true"
    if (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type") not in PROFILES:
        yield f"{name} has no seccomp profile"
    for port in container.get("ports") or ():
        if port.get("hostPort"):
            yield f"{name} has a host port"
    for handler in ("livenessProbe", "readinessProbe", "startupProbe"):
        if ((container.get(handler) or {}).get("httpGet") or {}).get("host"):
            yield f"{name}: {handler} names a host"


def _of_any_context(name: str, context: Tree) -> Iterator[str]:
    if context.get("runAsUser") == 0:
        yield f"{name}: runAsUser is 0"
    if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in PROFILES:
        yield f"{name}: AppArmor is off"
    if (context.get("seccompProfile") or {}).get("type", "RuntimeDefault") not in PROFILES:
        yield f"{name}: seccomp is off"
    options = context.get("seLinuxOptions") or {}
    if options.get("type", "") not in SELINUX or options.get("user") or options.get("role"):
        yield f"{name}: SELinux options"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{name} is a host process"


def _containers(spec: Tree) -> Iterator[Tree]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(kind) or ()


def _context(of: Tree) -> Tree:
    return of.get("securityContext") or {}
