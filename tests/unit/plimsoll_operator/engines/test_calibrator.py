"""Engines are asked for their steps now and then; what they tell comes into status and plans."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from plimsoll_operator.engines import calibrator as calibrators
from plimsoll_operator.engines.calibrator import Calibrator, Target
from plimsoll_operator.engines.engine_client import EngineClient
from plimsoll_operator.kube.kinds import RESOURCE, REVISION
from plimsoll_operator.revisions.record import measured_of, request_of
from plimsoll_planner.accelerator import Accelerator
from plimsoll_planner.calibration.frontend_fit import WorkTime
from plimsoll_planner.models.model import Model
from tests.unit.plimsoll_operator.calibration.test_calibrate_command import look_of
from tests.unit.plimsoll_operator.calibration.test_measured import NOW, SERVER, TINY, steps, subject
from tests.unit.plimsoll_operator.memory_cluster import MemoryCluster
from tests.unit.plimsoll_operator.process import KEY, Process, Start, edit, fresh
from tests.unit.plimsoll_planner.worked import looked, worked

GIVEN = subject("cpu")
TARGET = Target(KEY, "uid", GIVEN.spec, GIVEN.plan, (("pod-0", "127.0.0.1"),))


@dataclass
class Engine:
    """Answers on loopback as an engine's admin port does."""

    told: int = 300
    slower: float = 1.0
    server: WorkTime | None = None
    asked: list[str] = field(default_factory=list)
    port: int = 0

    def body(self) -> str:
        taken = steps("cpu", self.told, self.slower)
        listed = [
            {
                "num_tokens": item.tokens,
                "num_context_tokens": item.context,
                "num_seqs": item.sequences,
                "seconds": item.seconds,
            }
            for item in taken
        ]
        told: dict[str, object] = {"num_steps": self.told, "steps": listed}
        if self.server is not None:
            looks = looked(worked(self.server, noise=0.02, count=80))
            told["frontend"] = look_of(looks)
        return json.dumps(told)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split()[1])
        body = self.body()
        start = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((start + body).encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    found = Engine()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    found.port = server.sockets[0].getsockname()[1]
    yield found
    server.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrators, "FIRST_SECONDS", -1.0)


async def facts(key: tuple[str, str]) -> tuple[Model, tuple[Accelerator, ...]] | None:
    return TINY, ()


async def asked_once(calibrator: Calibrator, target: Target = TARGET) -> None:
    calibrator.tick([target], facts)
    for task in list(calibrator._running.values()):
        await task


async def test_what_engines_tell_is_fitted_and_then_left_alone(engine: Engine) -> None:
    client = EngineClient(admin_port=engine.port)
    woken: list[tuple[str, str]] = []
    calibrator = Calibrator(client, woken.append, lambda: NOW)
    engine.told = 100
    await asked_once(calibrator)
    assert calibrator.found("uid", GIVEN.plan) is None
    engine.told = 300
    await asked_once(calibrator)
    found = calibrator.found("uid", GIVEN.plan)
    assert found is not None
    assert found.samples > 250
    assert woken == [KEY]
    await asked_once(calibrator)
    assert engine.asked == ["/admin/steps"] * 2, "asked again before the interval is over"
    # Of another plan nothing is known, and nothing of what is gone.
    assert calibrator.found("uid", GIVEN.plan.model_copy(update={"revision": "other"})) is None
    calibrator.forget("uid")
    assert calibrator.found("uid", GIVEN.plan) is None
    await client.close()


async def test_engines_that_do_not_answer_are_asked_seldom(engine: Engine) -> None:
    client = EngineClient(admin_port=1)
    calibrator = Calibrator(client, lambda _: None, lambda: NOW)
    await asked_once(calibrator)
    assert calibrator._due["uid"] > asyncio.get_running_loop().time() + 500
    await client.close()


def status(cluster: MemoryCluster) -> dict[str, object]:
    found: dict[str, object] = cluster.objects[RESOURCE.name, *KEY]["status"]
    return found


async def measured(process: Process) -> None:
    """One measurement of the engine, whatever pods the cluster in memory has."""
    resource = process.store.get(RESOURCE.name, *KEY)
    assert resource is not None
    plan = GIVEN.plan.model_validate(resource["status"]["plan"])
    uid = resource["metadata"]["uid"]
    target = Target(KEY, uid, GIVEN.spec, plan, TARGET.replicas)
    process.calibrator.tick([target], process.controller.facts)
    for task in list(process.calibrator._running.values()):
        await task


async def test_the_next_plan_is_made_with_it_and_says_so(start: Start, engine: Engine) -> None:
    cluster = fresh()
    process = start(cluster)
    process.engines._admin_port = engine.port
    await process.settle()
    before = status(cluster)
    engine.slower, engine.server = 1.5, SERVER
    await measured(process)
    await process.settle()
    told = status(cluster)
    assert told["plan"] == before["plan"], "a plan that stands is not touched"
    assert told["currentRevision"] == before["currentRevision"]
    assert told["calibration"]["accelerator"] == "cpu"  # type: ignore[index]
    told_of = told["calibration"]["frontend"]  # type: ignore[index]
    assert float(told_of["request"].removesuffix("ms")) == pytest.approx(2, rel=0.1)
    edit(cluster, pin={"maxNumSeqs": 4})
    await process.settle()
    name = status(cluster)["currentRevision"]
    kept = cluster.objects[REVISION.name, KEY[0], name]["data"]  # type: ignore[index]
    assert len(measured_of(kept["inputs"])) == 1
    (changed,) = request_of(kept["inputs"]).accelerators
    assert changed.efficiency.error == pytest.approx(float(told["calibration"]["error"]))  # type: ignore[index]
    assert changed.frontend is not None
    assert changed.frontend.request == pytest.approx(2e-3, rel=0.1)
    first = cluster.objects[REVISION.name, KEY[0], before["currentRevision"]]["data"]  # type: ignore[index]
    assert measured_of(first["inputs"]) == ()
