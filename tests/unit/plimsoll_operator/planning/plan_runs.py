"""`plimsoll plan` on small files, without simulations for speed."""

from plimsoll_operator.commands import plan

CHAT = """
apiVersion: plimsoll.dev/v1alpha1
kind: LLMDeployment
metadata: {name: chat}
spec:
  model: {source: builtin://tiny, maxContextLength: 1024}
  slo: {timeToFirstToken: {p95: 2s}}
"""
INVENTORY = "[{accelerator: cpu, count: 2, nodes: 1, memory: 8Gi}]"


def main(arguments: list[str]) -> int:
    """Without simulations, for speed."""
    return plan.main(["--requests", "0", *arguments])


def run(*more: str) -> int:
    return main(["-f", "chat.yaml", "--inventory", "nodes.yaml", *more])
