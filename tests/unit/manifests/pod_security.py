"""The Pod Security Standard `restricted`, with all of `baseline`, by its published controls.

https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from collections.abc import Iterator, Mapping
from typing import Any

Pod = Mapping[str, Any]
_VOLUMES = frozenset(
    {
        *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
        *("persistentVolumeClaim", "projected", "secret"),
    }
)
_SYSCTLS = frozenset(
    {
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
        *("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"),
        *("net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time"),
        *("net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl"),
        *("net.ipv4.tcp_keepalive_probes",),
    }
)
_SELINUX_TYPES = frozenset(
    {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)
_PROFILES = ("RuntimeDefault", "Localhost")


def violations(pod: Pod, annotations: Mapping[str, str] | None = None) -> list[str]:
    """Names of the controls that a pod's spec breaks; empty where it is restricted."""
    return sorted({*_of_pod(pod), *_of_containers(pod), *_of_annotations(annotations or {})})


def _of_pod(pod: Pod) -> Iterator[str]:
    if any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")):
        yield "host namespaces"
    for volume in pod.get("volumes") or ():
        if not set(volume) - {"name"} <= _VOLUMES:
            yield "volume types"
    security = pod.get("securityContext") or {}
    if any(each["name"] not in _SYSCTLS for each in security.get("sysctls") or ()):
        yield "sysctls"
    if (security.get("windowsOptions") or {}).get("hostProcess"):
        yield "host process"


def _of_containers(pod: Pod) -> Iterator[str]:
    outer = pod.get("securityContext") or {}
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind) or ():
            own = container.get("securityContext") or {}
            yield from _of_privileges(own, outer)
            yield from _of_profiles(own, outer)
            yield from _of_host(container)


def _of_privileges(own: Pod, outer: Pod) -> Iterator[str]:
    if own.get("privileged"):
        yield "privileged containers"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "privilege escalation"
    if own.get("runAsNonRoot", outer.get("runAsNonRoot")) is not True:
        yield "running as non-root"
    if 0 in (own.get("runAsUser"), outer.get("runAsUser")):
        yield "running as non-root user"
    capabilities = own.get("capabilities") or {}
    dropped, added = (set(capabilities.get(name) or ()) for name in ("drop", "add"))
    if "ALL" not in dropped or not added <= {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if (own.get("windowsOptions") or {}).get("hostProcess"):
        yield "host process"


def _of_profiles(own: Pod, outer: Pod) -> Iterator[str]:
    profile = own.get("seccompProfile") or outer.get("seccompProfile") or {}
    if profile.get("type") not in _PROFILES:
        yield "seccomp"
    for context in (own, outer):
        if (context.get("appArmorProfile") or {}).get("type", "RuntimeDefault") not in _PROFILES:
            yield "AppArmor"
        selinux = context.get("seLinuxOptions") or {}
        if selinux.get("type", "") not in _SELINUX_TYPES or {"user", "role"} & set(selinux):
            yield "SELinux"
    if own.get("procMount", "Default") != "Default":
        yield "/proc mount type"


def _of_host(container: Pod) -> Iterator[str]:
    if any(port.get("hostPort") for port in container.get("ports") or ()):
        yield "host ports"
    probes = [container.get(f"{name}Probe") for name in ("startup", "liveness", "readiness")]
    hooks = (container.get("lifecycle") or {}).values()
    for action in filter(None, (*probes, *hooks)):
        if any((action.get(name) or {}).get("host") for name in ("httpGet", "tcpSocket")):
            yield "host probes"


def _of_annotations(annotations: Mapping[str, str]) -> Iterator[str]:
    for key, value in annotations.items():
        allowed = value in ("runtime/default", "") or value.startswith("localhost/")
        if key.startswith("container.apparmor.security.beta.kubernetes.io/") and not allowed:
            yield "AppArmor"
