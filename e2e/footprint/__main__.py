"""`python -m e2e.footprint`: what the operator uses for resources that are created at once.

Needs no cluster: the API server is one in memory. It is the process's own CPU time that counts, so
other work may run beside it. `--against CHECKOUT` measures another version in the same minutes.
"""

import argparse
import asyncio
import socket
import ssl
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from e2e.cluster.fake_gpus import FakeGpus, node
from e2e.footprint.api_server import ApiServer
from e2e.footprint.operator_process import OperatorProcess, kubeconfig
from e2e.support.authority import Authority
from e2e.support.fleet import CHILDREN, member
from e2e.support.watching import metric

CHECKOUT = Path(__file__).parents[2]
NAMESPACE = "fleet"
QUIET_SECONDS = 10.0
PATIENCE_SECONDS = 1200.0
GPUS = FakeGpus("NVIDIA-H200", 143771)


@dataclass(frozen=True)
class Footprint:
    """CPU in seconds until all children exist and until nothing is written, how often the operator
    looked at a resource by then, calls by verb and kind, most anonymous memory and that at the end,
    in bytes."""

    until_children: float
    until_quiet: float
    looks: float
    calls: Counter[str]
    most_memory: int
    memory: int


async def measure(checkout: Path, resources: int, nodes: int, folder: Path) -> Footprint:
    """One operator beside an API server of its own. Raises RuntimeError if it ends or stalls."""
    server = ApiServer()
    for number in range(nodes):
        server.objects.create("Node", dict(node(GPUS, number)), "kubectl", "Update")
    certificate = Authority().files(folder, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate[1:])
    port = await server.start(context)
    config = folder / "kubeconfig"
    config.write_text(kubeconfig(f"https://localhost:{port}", certificate[0]), encoding="utf-8")
    probes = _free_port()
    operator = OperatorProcess(checkout, config, probes, folder / "operator.log")
    try:
        return await _measured(server, operator, resources, probes)
    except RuntimeError as error:
        log = (folder / "operator.log").read_text(encoding="utf-8")[-2000:]
        raise RuntimeError(f"{error}; the end of its log: {log}") from error
    finally:
        operator.stop()
        await server.stop()


async def _measured(
    server: ApiServer, operator: OperatorProcess, resources: int, probes: int
) -> Footprint:
    await _until(operator, lambda: _ready(probes))
    await asyncio.sleep(3)
    names = [f"fleet-{number:04d}" for number in range(resources)]
    calls, cpu, memory = server.calls.copy(), operator.cpu_seconds(), [operator.memory()]
    for name in names:
        item = member(name)
        item["metadata"]["namespace"] = NAMESPACE
        item["spec"]["scaling"] = {"mode": "Automatic", "minReplicas": 1, "maxReplicas": 1}
        server.objects.create("LLMDeployment", item, "kubectl", "Update")

    async def complete() -> bool:
        memory.append(operator.memory())
        return all(
            server.objects.get(kind, (NAMESPACE, form.format(name))) is not None
            for kind, form in CHILDREN
            for name in names
        )

    await _until(operator, complete)
    until_children = operator.cpu_seconds() - cpu
    before = -1
    while (total := server.calls.total()) != before:
        before = total
        await asyncio.sleep(QUIET_SECONDS)
        memory.append(operator.memory())
    used = operator.cpu_seconds() - cpu
    looks = await _looks(probes)
    return Footprint(until_children, used, looks, server.calls - calls, max(memory), memory[-1])


async def _until(operator: OperatorProcess, condition: Callable[[], Awaitable[bool]]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_SECONDS
    while not await condition():
        if not operator.running or loop.time() > end:
            raise RuntimeError("the operator has ended" if not operator.running else "it stalls")
        await asyncio.sleep(0.5)


async def _ready(port: int) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2) as client:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


async def _looks(port: int) -> float:
    async with httpx.AsyncClient(timeout=10) as client:
        text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return metric(text, "plimsoll_operator_reconciles_total")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def describe(found: Footprint, resources: int) -> str:
    """A few lines; memory apart they are for one resource."""
    lines = [
        f"CPU until all children exist   {found.until_children / resources * 1e3:6.1f} ms",
        f"CPU until nothing is written   {found.until_quiet / resources * 1e3:6.1f} ms",
        f"looks                          {found.looks / resources:6.2f}",
        f"calls                          {found.calls.total() / resources:6.2f}",
        f"most memory, all processes     {found.most_memory / 2**20:6.1f} MiB",
        f"memory at the end              {found.memory / 2**20:6.1f} MiB",
    ]
    for call, count in found.calls.most_common():
        if count >= resources / 2:
            lines.append(f"  {count / resources:5.2f}  {call}")
    return "\n".join(lines)


async def _run(options: argparse.Namespace) -> None:
    checkouts = [CHECKOUT, *options.against]
    with tempfile.TemporaryDirectory() as folder:
        folders = [Path(folder, str(number)) for number, _ in enumerate(checkouts)]
        for each in folders:
            each.mkdir()
        pairs = zip(checkouts, folders, strict=True)
        found = await asyncio.gather(
            *(measure(checkout, options.resources, options.nodes, at) for checkout, at in pairs)
        )
    for checkout, footprint in zip(checkouts, found, strict=True):
        print(f"{checkout}: {options.resources} resources, {options.nodes} nodes")
        print(describe(footprint, options.resources))


def main() -> None:
    """Measures this checkout, and others beside it."""
    parser = argparse.ArgumentParser(prog="python -m e2e.footprint", description=__doc__)
    parser.add_argument("--resources", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--against", type=Path, action="append", default=[], metavar="CHECKOUT")
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
