"""An engine pod killed in mid-stream: a clean error at most, the replica returns and serves."""

import httpx
import openai

from e2e.support.kubectl import Kubectl, eventually, is_true
from e2e.support.resources import pods_of
from e2e.support.traffic import client, complete, service_url


def test_killed_pod_comes_back(kubectl: Kubectl, proxy: str, serving: str) -> None:
    url = service_url(proxy, kubectl.namespace, serving)
    (victim,) = kubectl.list("pods", pods_of(serving))
    outcome = "finished"
    with client(url) as sdk:
        stream = sdk.completions.create(
            model=serving,
            prompt="import os",
            max_tokens=1500,
            stream=True,
            extra_body={"ignore_eos": True},
        )
        try:
            next(iter(stream))
            kubectl.run("delete", "pod", victim["metadata"]["name"], "--grace-period=0", "--force")
            for _ in stream:
                pass
        except (openai.APIError, httpx.HTTPError) as error:
            # The SDK passes on httpx's own errors when a stream breaks off.
            outcome = f"{type(error).__name__}: {error}"
    print(f"the client saw: {outcome}")

    def replaced() -> bool:
        names = [pod["metadata"]["name"] for pod in kubectl.list("pods", pods_of(serving))]
        gone = victim["metadata"]["name"] not in names
        return gone and is_true(kubectl.get("llmdeployment", serving), "Ready")

    eventually("another replica serves", replaced)
    with client(url) as sdk:
        assert complete(sdk, serving, [5, 6, 7], 4).error == ""
