"""The process ends at once and says why, where it cannot begin."""

import asyncio
import gc
import itertools
import time
from pathlib import Path
from typing import Any, cast

import pytest

from plimsoll_operator.commands import operator
from plimsoll_operator.kube import handlers
from plimsoll_operator.kube.api_server import ClusterError
from plimsoll_operator.manager import NO_CRD, Manager


class Unable:
    """A manager that finds no CRD."""

    async def start(self) -> None:
        raise ClusterError(404, "NotFound", NO_CRD)

    async def stop(self) -> None:
        pass

    async def failed(self) -> None:
        await asyncio.Event().wait()


# kopf leaves coroutines behind that it never began.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_start_that_fails_is_told_and_ends_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began = time.monotonic()
    assert not await handlers.serve(cast("Manager", Unable()), ())
    # kopf gives tasks that it has forgotten five seconds.
    assert time.monotonic() - began < 4
    gc.collect()
    told: list[Any] = [record for record in caplog.records if record.msg == "cannot go on"]
    assert NO_CRD in told[0].error


def test_an_api_server_that_is_away_is_waited_for_without_end() -> None:
    backoffs = handlers.kopf_settings().networking.error_backoffs
    assert isinstance(backoffs, handlers.Backoffs)
    for _ in range(2):  # every request begins anew
        delays = list(itertools.islice(backoffs, 1000))
        assert delays == sorted(delays)
        assert delays[0] == 1
        assert delays[-1] == 10


def test_no_cluster_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "absent"
    missing.write_text("{}", encoding="utf-8")
    monkeypatch.setenv("KUBECONFIG", str(missing))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(missing))
    assert operator.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("plimsoll operator: no way to a cluster: ")
    assert line.endswith("; name a kubeconfig file in KUBECONFIG")
    assert ".;" not in line
