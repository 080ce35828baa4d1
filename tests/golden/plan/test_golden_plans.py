"""What `plimsoll plan` prints for the samples and for a larger model, byte for byte.

After an intended change: PLIMSOLL_UPDATE_GOLDEN=1 pytest tests/golden/plan, and read the diff.
"""

import json
import os
from pathlib import Path

import pytest

from plimsoll_operator.commands.plan import main
from plimsoll_runtime.core.limits import MAX_TENSOR_PARALLEL_SIZE

HERE = Path(__file__).parent
SAMPLES = HERE.parents[2] / "manifests" / "samples"
LLAMA = HERE / "llama-3.1-8b"
SMOLLM = HERE / "smollm2-1.7b"
CASES = {
    "chat": ("chat.yaml", "inventory-cpu.yaml", None, 0),
    "traced": ("traced.yaml", "inventory-cpu.yaml", None, 0),
    "infeasible": ("infeasible.yaml", "inventory-cpu.yaml", None, 3),
    "smollm2-1.7b": ("smollm2-1.7b.yaml", "inventory-gpu.yaml", SMOLLM, 0),
    "smollm2-1.7b-slices": (
        "smollm2-1.7b.yaml accelerators.yaml",
        "../../tests/golden/plan/inventory-slices.yaml",
        SMOLLM,
        0,
    ),
    "llama-3.1-8b": (str(LLAMA / "llmdeployment.yaml"), "inventory-gpu.yaml", LLAMA, 0),
}


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_output_of_the_samples(
    case: str, output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resources, inventory, config, code = CASES[case]
    together = tmp_path / "resources.yaml"
    texts = [(SAMPLES / name).read_text(encoding="utf-8") for name in resources.split()]
    together.write_text("---\n".join(texts), encoding="utf-8")
    arguments = ["-f", str(together), "--inventory", str(SAMPLES / inventory)]
    if config is not None:
        arguments += ["--model-config", str(config)]
    assert main([*arguments, "-o", output]) == code
    printed = capsys.readouterr().out
    golden = HERE / f"{case}.{'txt' if output == 'table' else 'json'}"
    if os.environ.get("PLIMSOLL_UPDATE_GOLDEN"):
        golden.write_text(printed, encoding="utf-8")
    assert printed == golden.read_text(encoding="utf-8")


GPU = ["--inventory", str(SAMPLES / "inventory-gpu.yaml")]
SMOLLM2 = [*GPU, "--model-config", str(HERE / "smollm2-1.7b")]
CLOSED = ["--requests", "0"]
DIFF = [
    *CLOSED,
    "--diff",
    str(HERE / "diff" / "old.yaml"),
    str(HERE / "diff" / "new.yaml"),
    *SMOLLM2,
]
VIEWS = {
    "explained.txt": (["-f", str(SAMPLES / "smollm2-1.7b.yaml"), *SMOLLM2, "--explain"], 0),
    "diff/table.txt": (DIFF, 3),
    "diff/changes.json": ([*DIFF, "-o", "json", "--fail-on", "cost-increase"], 5),
    "together.txt": ([*CLOSED, "-f", str(HERE / "diff" / "old.yaml"), *SMOLLM2], 0),
}


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_other_views(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, code = VIEWS[name]
    assert main(arguments) == code
    printed = capsys.readouterr().out
    golden = HERE / name
    if os.environ.get("PLIMSOLL_UPDATE_GOLDEN"):
        golden.write_text(printed, encoding="utf-8")
    assert printed == golden.read_text(encoding="utf-8")


def test_all_tables_fit_a_terminal() -> None:
    widths = [
        len(line)
        for file in HERE.rglob("*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    assert max(widths) < 80


def test_every_sample_is_held() -> None:
    samples = {path.name for path in SAMPLES.glob("*.yaml")}
    resources = {name for name in samples if not name.startswith("inventory-")}
    assert resources <= {name for together, *_ in CASES.values() for name in together.split()}


def test_the_engine_can_run_every_plan_of_a_sample() -> None:
    for case in CASES:
        planned = json.loads((HERE / f"{case}.json").read_text(encoding="utf-8"))
        assert planned["tensorParallelSize"] <= MAX_TENSOR_PARALLEL_SIZE
