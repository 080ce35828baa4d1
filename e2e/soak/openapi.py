"""What schemathesis makes of the server's own OpenAPI: never a 5xx, and nothing has changed after.

schemathesis comes into an environment of uv's own, not into the project's: it brings much.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from e2e.soak.canaries import Canaries
from e2e.soak.report import Report, table
from e2e.soak.server import Server

SCHEMATHESIS = "schemathesis==4.32.5"
PER_OPERATION = 1250
"""Examples drawn for each operation in a round; a round is some 10,000 requests."""
SERVER_ERROR = 500
CONNECTION_LOST = 0
"""Stands for the status of a request that got no answer."""


def run(seed: int, requests: int) -> Report:
    """Rounds of other seeds until `requests` were sent in all."""
    report = Report("openapi")
    uv = shutil.which("uv")
    if uv is None:
        report.blame(f"uv is not on the PATH, and {SCHEMATHESIS} comes by it: `make soak` has it")
        return report
    counts: Counter[int] = Counter()
    with Server() as server, tempfile.TemporaryDirectory(prefix="plimsoll-openapi-") as folder:
        canaries = Canaries(server.url)
        while counts.total() < requests:
            found = _round(uv, server.url, seed, Path(folder), report)
            if not found:
                break
            report.say(f"seed {seed}: {found.total():,} requests")
            counts += found
            seed += 1
        for line in table(("status", "answers"), sorted(counts.items())):
            report.say(line)
        if not server.alive:
            report.blame("the server has ended")
            return report
        if left := server.why_not_idle(60):
            report.blame(left)
        for change in canaries.changed():
            report.blame(change)
        if "Traceback" in server.log:
            report.blame("the server's log has an exception")
    for status, count in counts.items():
        if status >= SERVER_ERROR or status == CONNECTION_LOST:
            report.blame(f"{count} answers with status {status}")
    return report


def statuses(events: Iterable[str]) -> Counter[int]:
    """How often each status was answered, from the lines of schemathesis's NDJSON report."""
    counts: Counter[int] = Counter()
    for line in events:
        finished = json.loads(line).get("ScenarioFinished")
        if finished is None:
            continue
        for exchange in finished["recorder"].get("interactions", {}).values():
            answer = exchange["response"]
            counts[answer["status_code"] if answer else CONNECTION_LOST] += 1
    return counts


def _round(uv: str, url: str, seed: int, folder: Path, report: Report) -> Counter[int]:
    events = folder / f"{seed}.ndjson"
    command = [uv, "tool", "run", "--quiet", "--python", sys.executable, "--from", SCHEMATHESIS]
    command += ["schemathesis", "run", f"{url}/openapi.json", f"--seed={seed}"]
    command += [f"--max-examples={PER_OPERATION}", "--phases=examples,coverage,fuzzing"]
    command += ["--checks=not_a_server_error", "--continue-on-failure", "--no-shrink"]
    command += ["--workers=4", "--request-timeout=120", "--no-color"]
    command += ["--report=ndjson", f"--report-ndjson-path={events}"]
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    counts: Counter[int] = Counter()
    if events.exists():
        with events.open(encoding="utf-8") as lines:
            counts = statuses(lines)
        events.unlink()
    if not counts:
        report.blame(f"schemathesis sent nothing, and said:\n{done.stdout[-4000:]}")
    elif done.returncode:
        # Answers are judged by their status. The rest is errors of its own, such as a strategy
        # too deep for Python 3.11's parser.
        errors = re.findall(r"^(?:Errors:|  🚫 .*)$", done.stdout, re.MULTILINE)
        report.say(f"schemathesis ended with {done.returncode}: {' '.join(errors)}")
    return counts
