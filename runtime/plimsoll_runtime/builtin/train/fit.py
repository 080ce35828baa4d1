"""The optimisation: Muon for the matrices, AdamW for the rest, in bfloat16 autocast."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from plimsoll_runtime.builtin.train.architecture import CONFIG
from plimsoll_runtime.builtin.train.batches import IGNORE, Batch, Sampler

log = logging.getLogger(__name__)

TOKENS_PER_STEP = 4096
# (share of the run done, window): short windows learn faster on a CPU, the last
# ones teach the positions that long prompts reach.
WINDOWS = ((0.0, 256), (0.88, 1024), (0.96, 2048))
_WARMUP_STEPS = 20
_DECAY_SHARE = 0.5
_LOG_EVERY_S = 20.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to optimise. Exactly one of `steps` and `minutes` is set."""

    steps: int | None
    minutes: float | None
    seed: int
    matrix_lr: float = 4e-3
    other_lr: float = 4e-3


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run did."""

    steps: int
    tokens: int
    seconds: float


def new_model(seed: int) -> LlamaForCausalLM:
    """Return a freshly initialised model in float32."""
    torch.manual_seed(seed)
    known = {k: v for k, v in CONFIG.items() if k != "torch_dtype"}
    return LlamaForCausalLM(LlamaConfig(**known, attn_implementation="sdpa"))


def train(model: LlamaForCausalLM, sampler: Sampler, recipe: Recipe) -> Run:
    """Train `model` in place."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and "embed" not in name
        (matrices if is_matrix else others).append(parameter)
    optimizers = (
        torch.optim.Muon(
            matrices, lr=recipe.matrix_lr, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(others, lr=recipe.other_lr, betas=(0.9, 0.98), weight_decay=0.0),
    )
    peaks = (recipe.matrix_lr, recipe.other_lr)
    model.train()
    started = logged = time.monotonic()
    step, recent = 0, 0.0
    for progress in _progress(recipe, started):
        window = next(w for share, w in reversed(WINDOWS) if progress >= share)
        batch = sampler.batch(TOKENS_PER_STEP // window, window)
        value = loss(model, batch)
        torch.autograd.backward(value)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scale = min(1.0, (step + 1) / _WARMUP_STEPS, (1 - progress) / _DECAY_SHARE)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * scale
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        recent = value.item() if step == 1 else 0.95 * recent + 0.05 * value.item()
        if time.monotonic() - logged > _LOG_EVERY_S:
            logged = time.monotonic()
            rate = step * TOKENS_PER_STEP / (logged - started)
            log.info("%3.0f %%  step %d  loss %.3f  %.0f tokens/s",
                     100 * progress, step, recent, rate)  # fmt: skip
    return Run(step, step * TOKENS_PER_STEP, time.monotonic() - started)


def _progress(recipe: Recipe, started: float) -> Iterator[float]:
    """Yield the share of the run that is done, in [0, 1), once per step."""
    if recipe.steps is not None:
        yield from (step / recipe.steps for step in range(recipe.steps))
    elif recipe.minutes is not None:
        clock: Callable[[], float] = time.monotonic
        while (share := (clock() - started) / (recipe.minutes * 60)) < 1:
            yield share
    else:
        raise ValueError("a recipe needs either steps or minutes; both are missing")


def loss(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Return the mean negative log-likelihood (nats per token) of the learned labels."""
    labels = torch.from_numpy(batch.labels)
    keep = labels != IGNORE
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=torch.from_numpy(batch.inputs), use_cache=False)
        logits = model.lm_head(hidden.last_hidden_state[keep])
    return functional.cross_entropy(logits.float(), labels[keep])
