"""A deployment with a draft model: planned, started, and its drafts accepted.

The built-in model drafts for itself, so that at temperature 0 every draft is right.
"""

import re

import httpx

from e2e.scenarios.test_1_answer import expected_token_ids
from e2e.support.kubectl import Kubectl, condition, eventually, is_true
from e2e.support.resources import pods_of, tiny
from e2e.support.traffic import client, service_url

NAME = "drafting"
QUESTION = "What does the json module do?"
BUILTIN = {"source": "builtin://tiny"}


def counter(metrics: str, name: str) -> float:
    """The sum of a counter over its labels."""
    return sum(float(found) for found in re.findall(rf"^{name}_total{{.*}} (.+)$", metrics, re.M))


def test_a_model_drafts_for_itself(kubectl: Kubectl, proxy: str) -> None:
    speculation = {"method": "DraftModel", "draftModel": BUILTIN, "numTokens": 3}
    kubectl.apply(tiny(NAME, speculation=speculation))
    try:
        eventually(
            "a model with a draft model serves",
            lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"),
            timeout=240,
        )
        (pod,) = kubectl.list("pods", pods_of(NAME))
        args = pod["spec"]["containers"][0]["args"]
        assert any(each.startswith("--speculative-config=") for each in args)
        url = service_url(proxy, kubectl.namespace, NAME)
        with client(url) as sdk:
            completion = sdk.chat.completions.create(
                model=NAME,
                messages=[{"role": "user", "content": QUESTION}],
                temperature=0,
                max_tokens=48,
                extra_body={"return_token_ids": True},
            )
        tokens = list((completion.choices[0].model_extra or {})["token_ids"])
        assert tokens == expected_token_ids(QUESTION, 48)
        metrics = httpx.get(f"{url.removesuffix('/v1')}/metrics", timeout=30).text
        drafted = counter(metrics, "vllm:spec_decode_num_draft_tokens")
        accepted = counter(metrics, "vllm:spec_decode_num_accepted_tokens")
        print(f"{accepted:.0f} of {drafted:.0f} drafts accepted for {len(tokens)} tokens")
        assert 0 < accepted <= drafted
        assert accepted > 0.8 * drafted
    finally:
        kubectl.run("delete", "llmdeployment", NAME, "--ignore-not-found")


def test_a_model_of_another_vocabulary_is_refused(kubectl: Kubectl) -> None:
    name = "other-words"
    config = '{"architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 64, '
    config += '"num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 97}'
    kubectl.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"config.json": config},
        }
    )
    draft = {"source": "pvc://none", "configFrom": {"configMapKeyRef": {"name": name}}}
    kubectl.apply(tiny(name, speculation={"method": "DraftModel", "draftModel": draft}))
    try:
        eventually(
            "the vocabulary is refused",
            lambda: is_true(kubectl.get("llmdeployment", name), "Stalled"),
        )
        stalled = condition(kubectl.get("llmdeployment", name), "Stalled")
        assert stalled is not None
        assert stalled["reason"] == "PlanningFailed"
        assert "a vocabulary of 97 tokens and the model one of 2048" in stalled["message"]
    finally:
        kubectl.run("delete", "llmdeployment,configmap", name, "--ignore-not-found")
