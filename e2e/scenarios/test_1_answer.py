"""One YAML to an answer: Ready, a streamed chat through the Service, tokens as transformers has."""

import torch
import transformers

from e2e.support.kubectl import Kubectl, eventually, is_true
from e2e.support.resources import script_pod
from e2e.support.traffic import client, service_url
from plimsoll_runtime import builtin


def expected_token_ids(question: str, max_new_tokens: int) -> list[int]:
    """Greedy token ids of transformers on the same weights in fp32."""
    folder = builtin.path("tiny")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**prompt, do_sample=False, max_new_tokens=max_new_tokens)
    return [int(token) for token in output[0, prompt["input_ids"].shape[1] :]]


def test_chat_streams_the_tokens_of_transformers(
    kubectl: Kubectl, proxy: str, serving: str
) -> None:
    question = "What does the json module do?"
    with client(service_url(proxy, kubectl.namespace, serving)) as sdk:
        assert [model.id for model in sdk.models.list()] == [serving]
        stream = sdk.chat.completions.create(
            model=serving,
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=48,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"return_token_ids": True},
        )
        text, usage, finish = "", None, None
        token_ids: list[int] = []
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
                token_ids += (choice.model_extra or {}).get("token_ids") or []
    print(f"{question} -> {text!r} ({finish}, {usage})")
    assert token_ids == expected_token_ids(question, 48)
    assert usage is not None
    assert usage.completion_tokens == len(token_ids)
    assert finish in ("stop", "length")
    assert text.strip()


def test_status_says_what_was_planned(kubectl: Kubectl, serving: str) -> None:
    resource = kubectl.get("llmdeployment", serving)
    assert resource is not None
    assert is_true(resource, "Ready")
    assert is_true(resource, "SLOFeasible")
    status = resource["status"]
    assert status["observedGeneration"] == resource["metadata"]["generation"]
    assert status["plan"]["accelerator"] == "cpu"
    assert status["endpoint"] == f"http://{serving}.{kubectl.namespace}.svc/v1"
    table = kubectl.run("get", "llm").stdout
    print(table)
    assert table.split()[:5] == ["NAME", "READY", "PLAN", "REPLICAS", "TTFT"]


def test_a_pod_reaches_the_service(kubectl: Kubectl, serving: str, operator_image: str) -> None:
    """Through kube-proxy this time: the ClusterIP, from a pod without any privilege."""
    service = kubectl.get("service", serving)
    assert service is not None
    body = {"model": serving, "prompt": "import", "max_tokens": 4}
    script = (
        f"import httpx; r = httpx.post('http://{service['spec']['clusterIP']}/v1/completions',"
        f" timeout=60, json={body}); print(r.status_code, r.text)"
    )
    kubectl.apply(script_pod("client", operator_image, script))

    def finished() -> str:
        pod = kubectl.get("pod", "client") or {}
        phase = pod.get("status", {}).get("phase", "")
        return phase if phase in ("Succeeded", "Failed") else ""

    phase = eventually("the client pod ends", finished)
    printed = kubectl.run("logs", "client").stdout
    assert (phase, printed.split()[0]) == ("Succeeded", "200"), printed
