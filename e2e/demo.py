"""`make demo`: one YAML to a streamed answer, on a real cluster on this machine."""

import subprocess
import sys
import textwrap
import time

import openai
import yaml

from e2e.support import install
from e2e.support.kubectl import Kubectl, Object, condition, eventually, is_true
from e2e.support.resources import pods_of
from e2e.support.traffic import client, kubectl_proxy, service_url
from e2e.support.watching import metric

NAMESPACE = "plimsoll-demo"
SAMPLE = install.REPOSITORY / "manifests" / "samples" / "chat.yaml"
QUESTIONS = ("Who are you?", "What does the json module do?")
METRICS = (
    "vllm:request_success_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
    "vllm:time_to_first_token_seconds_sum",
)


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def indent(text: str) -> str:
    return textwrap.indent(text.rstrip() + "\n", "    ")


def show_plan(kubectl: Kubectl) -> None:
    """What `plimsoll plan` says of the sample on this cluster's nodes."""
    nodes = kubectl.run("get", "nodes", "-o", "yaml").stdout
    command = [sys.executable, "-m", "plimsoll_runtime.cli"]
    command += ["plan", "-f", str(SAMPLE), "--inventory", "-"]
    done = subprocess.run(command, input=nodes, capture_output=True, text=True, check=False)
    print(indent(done.stdout + done.stderr), end="")


def wait_until_ready(kubectl: Kubectl, name: str) -> None:
    """Prints every change of what the resource says of itself until it serves."""
    start, said = time.monotonic(), ""

    def ready() -> bool:
        nonlocal said
        resource = kubectl.get("llmdeployment", name)
        found = condition(resource, "Ready") or {"reason": "Waiting", "message": "no status yet"}
        text = f"{found['reason']}: {found['message']}"
        if text != said:
            said = text
            print(f"    {time.monotonic() - start:5.1f} s  {text}", flush=True)
        return is_true(resource, "Ready")

    eventually("the deployment is ready", ready, timeout=300)


def stream_answer(sdk: openai.OpenAI, model: str, question: str) -> None:
    """One chat completion, printed as it arrives."""
    print(f"    > {question}\n    ", end="", flush=True)
    start, first, tokens = time.monotonic(), None, 0
    stream = sdk.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": question}],
        temperature=0,
        max_tokens=64,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        for choice in chunk.choices:
            if choice.delta.content:
                first = first or time.monotonic() - start
                print(choice.delta.content.replace("\n", "\n    "), end="", flush=True)
    seconds = time.monotonic() - start
    print(f"\n    ({tokens} tokens in {seconds:.1f} s, the first after {first or 0:.2f} s)\n")


def engine_metrics(kubectl: Kubectl, name: str) -> dict[str, float]:
    """The metrics that the demo moves, read from the engine's pod."""
    pod: Object = kubectl.list("pods", pods_of(name))[0]
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:8000/proxy/metrics"
    text = kubectl.run("get", "--raw", path).stdout
    return {name: metric(text, name) for name in METRICS}


def main() -> int:
    sample = yaml.safe_load(SAMPLE.read_text())
    name = sample["metadata"]["name"]
    model = sample["spec"]["model"].get("servedName", name)
    title("1. A Kubernetes cluster (the first time: about 10 minutes to build it)")
    handle = install.cluster()
    print(f"    KUBECONFIG={handle.kubeconfig}")
    title("2. The images of the operator and of the engine (the first time: about 8 minutes)")
    references = install.images(handle)
    print(f"    {references.operator}\n    {references.runtime}")
    title("3. The operator, from manifests/overlays/default")
    system = install.operator(handle, references)
    kubectl = install.namespace(system, NAMESPACE)
    print(indent(system.run("get", "deployments,pods").stdout), end="")
    title(f"4. One YAML: {SAMPLE.relative_to(install.REPOSITORY)}")
    print(indent(SAMPLE.read_text()), end="")
    title("5. Its plan, from the same code as the operator's (plimsoll plan)")
    show_plan(kubectl)
    title("6. kubectl apply")
    print(indent(kubectl.run("apply", "-f", str(SAMPLE)).stdout), end="")
    wait_until_ready(kubectl, name)
    print(indent(kubectl.run("get", "llm,pods").stdout), end="")
    title("7. An answer, streamed through the Service by the openai SDK")
    before = engine_metrics(kubectl, name)
    with (
        kubectl_proxy(kubectl.kubeconfig) as proxy,
        client(service_url(proxy, NAMESPACE, name)) as sdk,
    ):
        for question in QUESTIONS:
            stream_answer(sdk, model, question)
    title("8. The metrics that moved")
    after = engine_metrics(kubectl, name)
    for key in METRICS:
        print(f"    {key:<42} {before[key]:>8g} -> {after[key]:g}")
    title("What to try next")
    print(
        f"    export KUBECONFIG={handle.kubeconfig}\n"
        f"    kubectl -n {NAMESPACE} describe llm {name}\n"
        f"    kubectl -n {NAMESPACE} edit llm {name}          # any field; watch it follow\n"
        f"    kubectl -n {NAMESPACE} apply -f manifests/samples/infeasible.yaml\n"
        f"    kubectl -n {NAMESPACE} delete llm {name}"
    )
    if handle.is_ours:
        print("    make cluster-down                              # leaves nothing behind")
    else:
        print(f"    kubectl delete namespace {NAMESPACE}    # then docs/operations.md, Removing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
