"""What `plimsoll plan` prints for the samples, byte for byte.

After an intended change: PLIMSOLL_UPDATE_GOLDEN=1 pytest tests/golden/plan, and read the diff.
"""

import os
from pathlib import Path

import pytest

from plimsoll_operator.commands.plan import main

HERE = Path(__file__).parent
SAMPLES = HERE.parents[2] / "manifests" / "samples"
CASES = {
    "chat": ("chat.yaml", "inventory-cpu.yaml", None, 0),
    "infeasible": ("infeasible.yaml", "inventory-cpu.yaml", None, 3),
    "llama-3.1-8b": ("llama-3.1-8b.yaml", "inventory-gpu.yaml", "llama-3.1-8b", 0),
}


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_output_of_the_samples(case: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    resource, inventory, config, code = CASES[case]
    arguments = ["-f", str(SAMPLES / resource), "--inventory", str(SAMPLES / inventory)]
    if config is not None:
        arguments += ["--model-config", str(HERE / config)]
    assert main([*arguments, "-o", output]) == code
    printed = capsys.readouterr().out
    golden = HERE / f"{case}.{'txt' if output == 'table' else 'json'}"
    if os.environ.get("PLIMSOLL_UPDATE_GOLDEN"):
        golden.write_text(printed, encoding="utf-8")
    assert printed == golden.read_text(encoding="utf-8")
