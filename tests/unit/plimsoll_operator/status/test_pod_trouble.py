"""Why replicas do not serve, from the pods' status alone, the same while the cause is the same."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll_operator.kube.pruning import prune
from plimsoll_operator.status.pod_trouble import downloading, pod_trouble, refused_pods
from tests.unit.plimsoll_operator.pods import (
    IMAGE,
    NOT_FOUND,
    REVISION,
    container,
    crashing,
    ended,
    pod,
    pulling,
    serving,
    starting,
    unschedulable,
)


def said(*pods: dict[str, Any]) -> tuple[str, str]:
    trouble = pod_trouble(pods)
    assert trouble is not None
    # What the store keeps of a pod is enough to say the same.
    assert pod_trouble([prune("Pod", pod) for pod in pods]) == trouble
    return trouble.reason, trouble.message


def test_no_node_fits() -> None:
    assert said(unschedulable("a"), unschedulable("b"), serving("c")) == (
        "Unschedulable",
        "2 replicas cannot be scheduled (Unschedulable): 0/3 nodes are available: "
        "1 node(s) had untolerated taint(s), 2 Insufficient cpu",
    )


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (
            "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: "
            "1 No preemption victims found for incoming pod.",
            ": 0/1 nodes are available: 1 Insufficient memory",
        ),
        (
            'persistentvolumeclaim "models" not found. preemption: not eligible',
            ': persistentvolumeclaim "models" not found',
        ),
        ("no nodes available to schedule pods", ": no nodes available to schedule pods"),
        ("", ""),
    ],
)
def test_what_the_scheduler_says_without_its_attempts_at_preemption(message: str, why: str) -> None:
    assert said(unschedulable(message=message))[1] == (
        f"1 replica cannot be scheduled (Unschedulable){why}"
    )


def test_an_image_that_cannot_be_pulled_is_the_same_while_pulled_and_backed_off_from() -> None:
    told = said(pulling())
    assert told == (
        "ImagePullBackOff",
        f"1 replica cannot pull the image (ImagePullBackOff): {NOT_FOUND}",
    )
    assert said(pulling(backing_off=True)) == told


def test_an_image_is_named_where_the_kubelet_does_not() -> None:
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'}
    bare = pod(containerStatuses=[container({"waiting": waiting})])
    assert said(bare)[1].endswith(f": {IMAGE}")


@pytest.mark.parametrize("phase", ["waiting", "running", "ended"])
@pytest.mark.parametrize("restarts", [1, 7])
def test_a_crash_loop_is_the_same_all_the_way_round(phase: str, restarts: int) -> None:
    assert said(crashing(phase, restarts=restarts)) == (
        "OutOfMemory",
        "1 replica cannot stay up (OutOfMemory): container engine takes more memory than its limit "
        "(OOMKilled)",
    )


def test_crashes_of_other_kinds_are_told_apart() -> None:
    message = "Traceback\n  File\nValueError: no such folder\n"
    pods = (
        crashing("waiting", "a", code=1, reason="Error", message=message),
        crashing("running", "b", code=1, reason="Error", message=message),
        crashing("waiting", "c"),
    )
    assert said(*pods) == (
        "OutOfMemory",
        "1 replica cannot stay up (OutOfMemory): container engine takes more memory than its limit "
        "(OOMKilled); 2 replicas cannot stay up (CrashLoopBackOff): container engine ends with "
        "exit code 1: ValueError: no such folder",
    )


@pytest.mark.parametrize(
    "why",
    [
        "--ssl-certfile /etc/plimsoll/tls/chat-tls/tls.crt cannot be read: No such file",
        "--ssl-keyfile /etc/plimsoll/tls/chat-tls/tls.key cannot be read: No such file",
        "--ssl-certfile /etc/plimsoll/tls/chat-tls/tls.crt with --ssl-keyfile "
        "/etc/plimsoll/tls/chat-tls/tls.key cannot be used: the key is not the certificate's",
    ],
)
def test_a_certificate_that_cannot_be_used_is_told_with_its_secret_and_the_way_out(
    why: str,
) -> None:
    message = f"plimsoll serve: {why}\n"
    told = said(crashing("waiting", code=2, reason="Error", message=message))
    assert told == (
        "CertificateUnusable",
        "1 replica cannot speak TLS (CertificateUnusable): Secret chat-tls must be of the type "
        "kubernetes.io/tls, with a chain in tls.crt and its key in tls.key; create or mend it, or "
        f"name another in spec.tls: plimsoll serve: {why}",
    )


def test_a_container_that_cannot_be_made() -> None:
    waiting = {"reason": "CreateContainerConfigError", "message": 'secret "key" not found'}
    assert said(pod(containerStatuses=[container({"waiting": waiting})])) == (
        "CreateContainerConfigError",
        '1 replica cannot start (CreateContainerConfigError): secret "key" not found',
    )


def test_an_init_container_of_somebody_else_counts_and_one_that_is_done_does_not() -> None:
    done = container({"terminated": ended(0, "Completed")}, name="first", ready=True)
    loops = container(
        {"waiting": {"reason": "CrashLoopBackOff"}},
        name="mesh",
        lastState={"terminated": ended(2, "Error")},
    )
    blocked = container({"waiting": {"reason": "PodInitializing"}})
    found = pod(initContainerStatuses=[done, loops], containerStatuses=[blocked])
    assert "container mesh ends with exit code 2" in said(found)[1]


def loading(state: dict[str, Any], name: str = "download", **fields: Any) -> dict[str, Any]:
    return pod(initContainerStatuses=[container(state, name=name, **fields)])


def test_pods_that_download_a_model_are_counted_while_they_do() -> None:
    runs = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    pods = [
        loading(runs),
        loading(runs, "download-draft"),
        loading(runs, "mesh"),
        loading({"waiting": {"reason": "PodInitializing"}}),
        loading({"terminated": ended(0, "Completed")}, ready=True),
        serving("a"),
    ]
    assert downloading(pods, REVISION) == 2
    assert downloading([prune("Pod", each) for each in pods], REVISION) == 2
    assert downloading(pods, "other") == 0
    assert pod_trouble(pods) is None


def test_a_download_that_fails_is_trouble_with_its_last_words() -> None:
    last = {**ended(1, "Error"), "message": "a\nplimsoll download: hf://org/model is gated"}
    fails = loading({"waiting": {"reason": "CrashLoopBackOff"}}, lastState={"terminated": last})
    assert said(fails)[1] == (
        "1 replica cannot stay up (CrashLoopBackOff): container download ends with exit code 1: "
        "plimsoll download: hf://org/model is gated"
    )
    assert downloading([fails], REVISION) == 0


def test_what_is_well_or_on_its_way_is_no_trouble() -> None:
    leaving = crashing("waiting", "leaving")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    evicted = crashing("ended", "evicted")
    evicted["status"]["phase"] = "Failed"
    crashed_before = serving("again")
    crashed_before["status"]["containerStatuses"][0]["lastState"] = {"terminated": ended(1, "E")}
    bare = {"metadata": {"name": "bare"}}
    pods = (starting("a"), pod("b"), serving("c"), leaving, evicted, crashed_before, bare)
    assert pod_trouble(pods) is None


def test_only_pods_of_the_plan_count() -> None:
    old = pod("old", revision="other", **unschedulable()["status"])
    assert pod_trouble([old], REVISION) is None
    trouble = pod_trouble([old, unschedulable("new")], REVISION)
    assert trouble is not None
    assert trouble.message.startswith("1 replica ")


KINDS = (
    unschedulable,
    pulling,
    starting,
    serving,
    lambda name: crashing("waiting", name),
    lambda name: crashing("running", name, code=1, reason="Error"),
    lambda name: crashing("ended", name, code=2, reason="Error", message=f"log of {name}"),
)


@given(st.lists(st.sampled_from(KINDS), max_size=30), st.randoms(use_true_random=False))
def test_every_troubled_pod_is_counted_once_in_any_order(kinds: list[Any], random: Any) -> None:
    pods = [kind(f"pod-{number}") for number, kind in enumerate(kinds)]
    trouble = pod_trouble(pods)
    troubled = [kind for kind in kinds if kind not in (starting, serving)]
    if not troubled:
        assert trouble is None
        return
    assert trouble is not None
    counts = [int(part.split()[0]) for part in trouble.message.split("; ")]
    assert sum(counts) == len(troubled)
    assert len(trouble.message) < 1024
    random.shuffle(pods)
    assert pod_trouble(pods) == trouble


def test_pods_that_may_not_be_made_are_told_without_their_names() -> None:
    form = (
        'pods "chat-7d4b9c6f5-{}" is forbidden: exceeded quota: none, requested: pods=1, '
        "used: pods=0, limited: pods=0"
    )
    trouble = refused_pods(2, form.format("x2x4f"))
    assert trouble == refused_pods(2, form.format("zzzzz"))
    assert trouble.reason == "PodsRefused"
    assert trouble.message == (
        "2 replicas cannot be created: exceeded quota: none, requested: pods=1, used: pods=0, "
        "limited: pods=0"
    )
    # A rollout's surge may be refused while as many replicas exist as are wanted.
    assert refused_pods(0, "no").message == "1 replica cannot be created: no"
