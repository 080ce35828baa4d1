"""A pod whose engine is two ranks: it serves, and comes back when one of them is killed."""

import httpx
import openai

from e2e.scenarios.test_1_answer import expected_token_ids
from e2e.support.kubectl import Kubectl, eventually, is_true
from e2e.support.resources import pods_of, tiny
from e2e.support.traffic import client, complete, service_url

NAME = "two-ranks"
QUESTION = "What does the json module do?"
# The image has no ps. The script's own command line holds no such zeros.
KILL_RANK = r"""
import os, pathlib, signal
for each in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
    if b"\0plimsoll_runtime.engine.rank\0" in each.read_bytes():
        print(each.parent.name)
        os.kill(int(each.parent.name), signal.SIGKILL)
"""


def restarts(kubectl: Kubectl) -> int:
    (pod,) = kubectl.list("pods", pods_of(NAME))
    (status,) = pod["status"]["containerStatuses"]
    return int(status["restartCount"])


def answer(kubectl: Kubectl, proxy: str) -> list[int]:
    """The token ids of a greedy chat."""
    with client(service_url(proxy, kubectl.namespace, NAME)) as sdk:
        completion = sdk.chat.completions.create(
            model=NAME,
            messages=[{"role": "user", "content": QUESTION}],
            temperature=0,
            max_tokens=48,
            extra_body={"return_token_ids": True},
        )
    return list((completion.choices[0].model_extra or {})["token_ids"])


def test_two_ranks_serve_and_recover(kubectl: Kubectl, proxy: str) -> None:
    kubectl.apply(tiny(NAME, pin={"tensorParallelSize": 2}))
    try:
        eventually(
            "two ranks serve",
            lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"),
            timeout=240,
        )
        resource = kubectl.get("llmdeployment", NAME)
        assert resource is not None
        assert resource["status"]["plan"]["tensorParallelSize"] == 2
        (pod,) = kubectl.list("pods", pods_of(NAME))
        assert "--tensor-parallel-size=2" in pod["spec"]["containers"][0]["args"]
        assert answer(kubectl, proxy) == expected_token_ids(QUESTION, 48)

        outcome = "finished"
        with client(service_url(proxy, kubectl.namespace, NAME)) as sdk:
            stream = sdk.completions.create(
                model=NAME,
                prompt="import os",
                max_tokens=1500,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            try:
                next(iter(stream))
                name = pod["metadata"]["name"]
                killed = kubectl.run("exec", name, "--", "python3", "-c", KILL_RANK).stdout.split()
                for _ in stream:
                    pass
            except (openai.APIError, httpx.HTTPError) as error:
                outcome = f"{type(error).__name__}: {error}"
        print(f"killed {killed}; the client saw: {outcome}")
        assert len(killed) == 1
        assert outcome != "finished"

        eventually("the container starts again", lambda: restarts(kubectl) == 1)
        eventually(
            "two ranks serve again",
            lambda: is_true(kubectl.get("llmdeployment", NAME), "Ready"),
            timeout=240,
        )
        # The restart may have been quicker than the news of it.
        with client(service_url(proxy, kubectl.namespace, NAME)) as sdk:
            eventually(
                "they answer again",
                lambda: not complete(sdk, NAME, [5, 6, 7], 4).error,
                timeout=240,
            )
        assert answer(kubectl, proxy) == expected_token_ids(QUESTION, 48)
    finally:
        kubectl.run("delete", "llmdeployment", NAME, "--wait=false", check=False)
