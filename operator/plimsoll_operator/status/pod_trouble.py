"""Why replicas do not serve, as the scheduler and the kubelets say it in the pods' status.

Only what stays the same while the cause does is told: a container that crashes over and over is
waiting, running and ended in turn, and an image is alternately pulled and backed off from.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll_operator.api.template_rules import DOWNLOADS, ENGINE
from plimsoll_operator.kube.pruning import MANY_RESTARTS
from plimsoll_operator.observed import is_ready, is_replica
from plimsoll_operator.render.labels import PLAN_LABEL
from plimsoll_operator.render.secrets import TLS_PATH
from plimsoll_operator.status.excerpt import excerpt

UNSCHEDULABLE = "Unschedulable"
IMAGE_PULL = "ImagePullBackOff"
CRASH_LOOP = "CrashLoopBackOff"
OUT_OF_MEMORY = "OutOfMemory"
PODS_REFUSED = "PodsRefused"
CERTIFICATE = "CertificateUnusable"
_MAX_CAUSES = 3
_ORDER = (UNSCHEDULABLE, IMAGE_PULL, OUT_OF_MEMORY, CERTIFICATE, CRASH_LOOP)
_PULLING = frozenset(
    {"ErrImagePull", IMAGE_PULL, "RegistryUnavailable", "SignatureValidationFailed"}
)
_BACKING_OFF = re.compile(r'^Back-off pulling image "[^"]*"(: )?')
_PULL_ERROR = re.compile(rf"^({'|'.join(sorted(_PULLING))}): ")
_PREEMPTION = re.compile(r"[.,]?\s*(no new claims to deallocate, )?preemption: .*$", re.DOTALL)
# As the scheduler names a resource that is short. What is missing altogether it says otherwise.
_TOO_LITTLE = re.compile(r"\b\d+ Insufficient [\w./-]+|\b\d+ Too many pods")
_NEW_POD = re.compile(r'^pods "[^"]*" is forbidden: ')
# In what a crash printed last: as PyTorch says it of CUDA, and the engine of a CPU's memory.
_ACCELERATOR_FULL = re.compile(r"\bOutOfMemoryError\b|\bCUDA out of memory\b")
_MEMORY_FULL = re.compile(r"\bMemoryError: ")
# As the engine says it of its certificate, whose folder has the name of the Secret.
_CERTIFICATE = re.compile(rf" --ssl-(?:cert|key)file {TLS_PATH}/([^/ ]+)/")
_KILLED_FOR_MEMORY = "OOMKilled"
_WAITING_IS_NORMAL = frozenset({"ContainerCreating", "PodInitializing", CRASH_LOOP})

Pod = Mapping[str, Any]


@dataclass(frozen=True)
class PodTrouble:
    """`reason` is one word for machines; `message` says what, for how many replicas, and why."""

    reason: str
    message: str


@dataclass(frozen=True)
class _Cause:
    """What is wrong with one pod. Pods with the same `reason` and `what` are counted together."""

    reason: str
    what: str
    why: str


def pod_trouble(pods: Iterable[Pod], revision: str | None = None) -> PodTrouble | None:
    """What keeps pods from serving, those of the plan `revision` if one is given; None if nothing.

    Pods that are ready, ended or on their way out do not count.
    """
    causes = [
        cause
        for pod in pods
        if revision in (None, (pod["metadata"].get("labels") or {}).get(PLAN_LABEL))
        if _counts(pod) and (cause := _cause(pod.get("status") or {})) is not None
    ]
    groups: dict[tuple[str, str], list[str]] = {}
    for cause in causes:
        groups.setdefault((cause.reason, cause.what), []).append(cause.why)
    if not groups:
        return None
    ordered = sorted(groups, key=_rank)
    # The least of the texts, since which pod comes first changes with their names.
    told = [f"{counted(len(groups[key]))} {key[1]}{_why(min(groups[key]))}" for key in ordered]
    more = sum(len(groups[key]) for key in ordered[_MAX_CAUSES:])
    if more:
        told = [*told[:_MAX_CAUSES], f"{counted(more)} for other reasons"]
    return PodTrouble(ordered[0][0], "; ".join(told))


def crash_loops(pods: Iterable[Pod], revision: str | None) -> bool:
    """Whether a pod of the plan `revision` ends over and over, and will."""
    return any(
        int(container.get("restartCount", 0)) >= MANY_RESTARTS and not container.get("ready")
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(PLAN_LABEL) == revision and _counts(pod)
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    )


def out_of_memory(pods: Iterable[Pod], revision: str) -> bool:
    """Whether an engine by the plan `revision` ended for want of memory, even if it is up again."""
    return any(
        container.get("name") == ENGINE and _short_of_memory(_ended(container))
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(PLAN_LABEL) == revision
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
    )


def no_room(pods: Iterable[Pod], revision: str | None) -> bool:
    """Whether a pod of the plan `revision` waits for nothing but room on a node."""
    return any(
        condition.get("type") == "PodScheduled"
        and condition.get("status") == "False"
        and _TOO_LITTLE.search(condition.get("message") or "") is not None
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(PLAN_LABEL) == revision and _counts(pod)
        for condition in (pod.get("status") or {}).get("conditions") or ()
    )


def has_node(pod: Pod) -> bool:
    """Whether a node holds room for it."""
    return any(
        condition.get("type") == "PodScheduled" and condition.get("status") == "True"
        for condition in (pod.get("status") or {}).get("conditions") or ()
    )


def ending(pods: Iterable[Pod], now: str) -> bool:
    """Whether a pod is ending in the time that it was given; `now` is an RFC 3339 time."""
    return any(str(pod["metadata"].get("deletionTimestamp", "")) > now for pod in pods)


def downloading(pods: Iterable[Pod], revision: str | None) -> int:
    """How many pods of the plan `revision` bring a model into their cache, and nothing is wrong."""
    return sum(
        any(
            container.get("name") in DOWNLOADS
            and not container.get("ready")
            and not any(
                (container.get("state") or {}).get(each) for each in ("waiting", "terminated")
            )
            for container in (pod.get("status") or {}).get("initContainerStatuses") or ()
        )
        for pod in pods
        if (pod["metadata"].get("labels") or {}).get(PLAN_LABEL) == revision and _counts(pod)
    )


def refused_pods(missing: int, failure: str) -> PodTrouble:
    """The same where the API server lets no pods be made; `failure` is the ReplicaFailure."""
    # The pod's generated name is another one at every attempt.
    why = excerpt(_NEW_POD.sub("", failure))
    return PodTrouble(PODS_REFUSED, f"{counted(max(1, missing))} cannot be created: {why}")


def counted(count: int) -> str:
    """Such as `1 replica` and `2 replicas`."""
    return f"{count} replica" + ("" if count == 1 else "s")


def _counts(pod: Pod) -> bool:
    return is_replica(pod) and not is_ready(pod)


def _cause(status: Mapping[str, Any]) -> _Cause | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            reason = condition.get("reason") or UNSCHEDULABLE
            why = excerpt(_PREEMPTION.sub("", condition.get("message") or ""))
            return _Cause(reason, f"cannot be scheduled ({reason})", why)
    containers = (
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    )
    found = (_of_container(container) for container in containers if not container.get("ready"))
    return next((cause for cause in found if cause is not None), None)


def _of_container(container: Mapping[str, Any]) -> _Cause | None:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason") or "", waiting.get("message") or ""
    if reason in _PULLING:
        why = excerpt(_PULL_ERROR.sub("", _BACKING_OFF.sub("", message)))
        image = str(container.get("image", ""))
        why = why if image in why else f"{image}: {why}".rstrip(": ")
        return _Cause(IMAGE_PULL, f"cannot pull the image ({IMAGE_PULL})", why)
    if reason and reason not in _WAITING_IS_NORMAL:
        return _Cause(reason, f"cannot start ({reason})", excerpt(message))
    ended = _ended(container)
    return _crash(str(container.get("name")), ended) if ended else None


def _crash(name: str, ended: Mapping[str, Any]) -> _Cause:
    """Why the container `name` does not stay up."""
    cause = ended.get("reason") or "Error"
    if cause == _KILLED_FOR_MEMORY:
        what = f"cannot stay up ({OUT_OF_MEMORY}): container {name} takes more "
        return _Cause(OUT_OF_MEMORY, f"{what}memory than its limit ({cause})", "")
    last = (ended.get("message") or "").strip().splitlines()
    if _short_of_memory(ended):
        where = " on its accelerator" if _ACCELERATOR_FULL.search(last[-1]) else ""
        what = f"cannot stay up ({OUT_OF_MEMORY}): container {name} finds no memory left{where}"
        return _Cause(OUT_OF_MEMORY, what, excerpt(last[-1]))
    secret = _CERTIFICATE.search(last[-1]) if last else None
    if secret is not None:
        what = f"cannot speak TLS ({CERTIFICATE}): Secret {secret[1]} must be of the type "
        what += "kubernetes.io/tls, with a chain in tls.crt and its key in tls.key; create or mend "
        return _Cause(CERTIFICATE, f"{what}it, or name another in spec.tls", excerpt(last[-1]))
    code = f"exit code {ended.get('exitCode', 'unknown')}" + (
        "" if cause == "Error" else f", {cause}"
    )
    what = f"cannot stay up ({CRASH_LOOP}): container {name} ends with {code}"
    return _Cause(CRASH_LOOP, what, excerpt(last[-1]) if last else "")


def _ended(container: Mapping[str, Any]) -> Mapping[str, Any]:
    """How it ended, now or the last time; empty where it has not."""
    state, last = container.get("state") or {}, container.get("lastState") or {}
    return state.get("terminated") or last.get("terminated") or {}


def _short_of_memory(ended: Mapping[str, Any]) -> bool:
    """Whether the kernel killed it for its memory, or it found too little."""
    if ended.get("reason") == _KILLED_FOR_MEMORY:
        return True
    last = (ended.get("message") or "").strip().splitlines()
    return bool(last) and any(each.search(last[-1]) for each in (_ACCELERATOR_FULL, _MEMORY_FULL))


def _rank(key: tuple[str, str]) -> tuple[int, str, str]:
    reason, what = key
    return (_ORDER.index(reason) if reason in _ORDER else len(_ORDER), reason, what)


def _why(text: str) -> str:
    return f": {text}" if text else ""
