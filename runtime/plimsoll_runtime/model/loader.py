"""From a folder in the Hugging Face format to a model that is ready to run."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from plimsoll_runtime.core.attention_backend import AttentionBackend
from plimsoll_runtime.core.compressed_tensors import CompressedTensors
from plimsoll_runtime.core.model_config import ModelConfig, UnsupportedModelError
from plimsoll_runtime.core.quantization import Quantization
from plimsoll_runtime.model.decoder import AnyPackedMatrix
from plimsoll_runtime.model.int8 import Int8Weight, TorchInt8Matrix, quantize_weight
from plimsoll_runtime.model.layer_packer import LayerPacker
from plimsoll_runtime.model.llama import LlamaForCausalLM
from plimsoll_runtime.model.matrix import Matrix, TorchMatrix
from plimsoll_runtime.model.operations import choose_operations, in_form_of
from plimsoll_runtime.model.packed_checkpoint import packed_parts
from plimsoll_runtime.model.parallel import SINGLE, Group, Weighted
from plimsoll_runtime.model.weights import load_weights


def read_model_config(folder: Path) -> ModelConfig:
    """Reads config.json, and the ends of sequence that generation_config.json adds.

    Raises UnsupportedModelError when there is no readable config.json or it describes a model
    that cannot be run.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UnsupportedModelError(f"{folder}: config.json is missing; is this a model's folder?")
    config = ModelConfig.from_hf(_read(path))
    generation = folder / "generation_config.json"
    if not generation.is_file():
        return config
    more = _read(generation).get("eos_token_id")
    ids = more if isinstance(more, list) else [more]
    extra = (i for i in ids if isinstance(i, int) and i not in config.eos_token_ids)
    return replace(config, eos_token_ids=(*config.eos_token_ids, *extra))


def load_model(  # noqa: PLR0913 - all by name
    folder: Path,
    config: ModelConfig,
    *,
    dtype: torch.dtype,
    device: torch.device,
    max_model_len: int,
    group: Group = SINGLE,
    quantization: Quantization = Quantization.NONE,
    backend: AttentionBackend = AttentionBackend.TORCH,
) -> LlamaForCausalLM:
    """Builds the model in `dtype` on `device` and loads its weights, or this rank's share of both.

    With `quantization` the layers' weights become int8, on CPU; they have the form in which
    `backend` multiplies. Raises WeightsError when the checkpoint does not match `config`, and
    ValueError when it does not divide among the ranks of `group`.
    """
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = LlamaForCausalLM(config, max_model_len, group)
    finally:
        torch.set_default_dtype(previous)
    if config.compressed is not None:
        make_compressed(model, config.compressed, dtype, device)
    parts, tied = model.checkpoint_parts(), config.tie_word_embeddings
    if config.compressed is not None and config.compressed.packed:
        parts = packed_parts(parts)
    operations = choose_operations(model.norm.weight, backend)
    int8 = set() if quantization is Quantization.NONE else set(model.quantizable())
    weight_only = quantization is Quantization.INT8_WEIGHT_ONLY

    def made(layer: Weighted) -> Matrix:
        matrix = layer.matrix
        if layer in int8:
            numbers = quantize_weight(matrix.weight())
            matrix = TorchInt8Matrix(numbers, dtype, weight_only=weight_only)
        return in_form_of(operations, matrix)

    def begun(layer: Weighted) -> AnyPackedMatrix | None:
        if not isinstance(layer.matrix, TorchMatrix):
            return None
        if layer in int8:
            return operations.empty_int8_matrix(layer.weight.shape, weight_only=weight_only)
        return operations.empty_matrix(layer.weight)

    layers = [layer for layer in model.modules() if isinstance(layer, Weighted)]
    packer = LayerPacker(layers, parts, made, begun)
    load_weights(parts, folder, tied=tied, take=packer.take, loaded=packer.loaded)
    model.use(operations)
    return model.eval()


def make_compressed(
    model: LlamaForCausalLM, compressed: CompressedTensors, dtype: torch.dtype, device: torch.device
) -> None:
    """Gives the layers that are int8 in the checkpoint weights of that form, to be loaded."""
    for layer in model.quantizable():
        if layer is model.lm_head and (not compressed.head or layer is model.embed_tokens):
            continue
        shape = (layer.matrix.outputs, layer.matrix.inputs)
        with device:
            weight = Int8Weight(torch.zeros(shape, dtype=torch.int8), torch.ones(shape[0]))
        layer.matrix = TorchInt8Matrix(weight, dtype, weight_only=compressed.weight_only)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UnsupportedModelError(f"{path}: not readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise UnsupportedModelError(f"{path}: a JSON object is expected")
    return content
