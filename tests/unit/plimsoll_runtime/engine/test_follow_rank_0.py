"""What other ranks do is call for call what rank 0 does, also where prompts are scored."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM as Oracle

from plimsoll_runtime.attention.kv_cache import KVCache
from plimsoll_runtime.core.limits import EngineLimits
from plimsoll_runtime.core.partition import shard_config
from plimsoll_runtime.core.request import SamplingParams
from plimsoll_runtime.core.step import PromptTargets, ScheduledRequest, SchedulerOutput
from plimsoll_runtime.core.step_result import StepResult
from plimsoll_runtime.engine import scoring
from plimsoll_runtime.engine.runner import ModelRunner, plan_step
from plimsoll_runtime.model.loader import load_model, read_model_config
from plimsoll_runtime.model.parallel import SINGLE, Group
from tests.unit.plimsoll_runtime.model.rank_threads import ThreadGroup, on_ranks

CPU = torch.device("cpu")
PROMPT = [5, 17, 96, 3, 8, 21, 40]
VOCAB = 97


def runner(folder: Path, group: Group) -> ModelRunner:
    config = read_model_config(folder)
    model = load_model(
        folder, config, dtype=torch.float32, device=CPU, max_model_len=64, group=group
    )
    shard = shard_config(config, group.size)
    return ModelRunner(model, KVCache.allocate(shard, 8, 4, torch.float32, CPU), CPU)


def step(*, samples: bool) -> SchedulerOutput:
    """A request to be scored, alone; `samples` as in its last chunk."""
    sampling = SamplingParams(1, temperature=0.0, seed=0, prompt_logprobs=2, logprobs=1)
    targets = PromptTargets(0, PROMPT[1:])
    item = ScheduledRequest("a", PROMPT, 0, [1, 2], samples, 0, sampling, None, targets)
    return SchedulerOutput([item], [], len(PROMPT), len(PROMPT))


@pytest.mark.parametrize("samples", [True, False])
@pytest.mark.parametrize("per_chunk", [1, 4, 100])
@pytest.mark.parametrize("size", [2, 4])
def test_ranks_gather_every_chunk_of_prompt_scores(
    oracle_and_folder: tuple[Oracle, Path],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    per_chunk: int,
    samples: bool,
) -> None:
    monkeypatch.setattr(scoring, "CHUNK_BYTES", per_chunk * 4 * VOCAB)
    folder, output = oracle_and_folder[1], step(samples=samples)

    def run(group: ThreadGroup) -> tuple[StepResult | None, int]:
        mine = runner(folder, group)
        if group.rank == 0:
            return mine.execute(output), group.calls
        mine.follow(plan_step(output))
        return None, group.calls

    (result, calls), *others = on_ranks(size, run)
    expected = runner(folder, SINGLE).execute(output)
    assert result is not None
    assert result.sampled == expected.sampled
    assert len(result.sampled) == samples
    told, wanted = result.prompt_logprobs["a"], expected.prompt_logprobs["a"]
    assert [each.token_id for each in told] == PROMPT[1:]
    for mine, whole in zip(told, wanted, strict=True):
        assert mine.rank == whole.rank
        assert mine.logprob == pytest.approx(whole.logprob, abs=1e-4)
    # An embedding, two sums a layer, one gather for what is sampled and one for each chunk.
    assert calls == 1 + 2 * 2 + 1 + -(-6 // per_chunk)
    assert {each for _, each in others} == {calls}


def test_all_ranks_measure_the_largest_step_together(
    oracle_and_folder: tuple[Oracle, Path],
) -> None:
    limits = EngineLimits(3, 16, 32, 8, 4)

    def run(group: ThreadGroup) -> int:
        runner(oracle_and_folder[1], group).profile(limits)
        return group.calls

    assert set(on_ranks(2, run)) == {1 + 2 * 2 + 1 + 1}
