"""Processes are ended by pid, and only if the pid is still theirs."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import processes
from e2e.cluster.processes import ClusterError


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        yield process
        process.kill()


def test_a_pid_file_names_the_running_process(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    processes.write_pid_file(file, sleeper.pid)
    assert processes.read_pid_file(file) == sleeper.pid


def test_a_pid_file_of_an_ended_process_names_none(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    processes.write_pid_file(file, sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert processes.read_pid_file(file) is None


@pytest.mark.parametrize(("field", "value"), [(1, "1"), (2, "another-boot")])
def test_a_stranger_with_the_same_pid_is_not_ours(
    sleeper: subprocess.Popen[bytes], tmp_path: Path, field: int, value: str
) -> None:
    file = tmp_path / "pid"
    processes.write_pid_file(file, sleeper.pid)
    words = file.read_text().split()
    words[field] = value
    file.write_text(" ".join(words))
    assert processes.read_pid_file(file) is None


@pytest.mark.parametrize("text", [None, "", "12", "a b c d"])
def test_a_missing_or_torn_pid_file_names_none(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "pid"
    if text is not None:
        file.write_text(text)
    assert processes.read_pid_file(file) is None


def test_end_is_done_when_the_process_is_gone(sleeper: subprocess.Popen[bytes]) -> None:
    processes.end(sleeper.pid)
    assert processes.start_time(sleeper.pid) is None


def test_end_kills_what_ignores_being_asked() -> None:
    stubborn = (
        "import signal,time;signal.signal(15, signal.SIG_IGN);print(1,flush=True);time.sleep(60)"
    )
    command = [sys.executable, "-c", stubborn]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 (a constant)
        assert process.stdout is not None
        process.stdout.readline()
        processes.end(process.pid, patience=0.05)
        assert process.wait() == -9


def test_a_failed_command_says_what_and_why() -> None:
    with pytest.raises(ClusterError, match=r"exit status 3: sh -c .*\nno such thing"):
        processes.run(["sh", "-c", "echo no such thing >&2; exit 3"])


def test_a_missing_command_says_so() -> None:
    with pytest.raises(ClusterError, match="no-such-command is not installed"):
        processes.run(["no-such-command"])


def test_run_hands_on_input_and_output() -> None:
    assert processes.run(["cat"], stdin="text") == "text"


def test_waiting_names_what_did_not_come() -> None:
    begun = time.monotonic()
    with pytest.raises(ClusterError, match="the moon: not within 0 s"):
        processes.wait_for("the moon", lambda: False, seconds=0.05)
    assert time.monotonic() - begun < 5
