"""Four numbers in a word, and the part of a weight that a rank reads of them."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from plimsoll_runtime.model.packed_checkpoint import PackedPart, packed_parts
from plimsoll_runtime.model.parallel import Part
from plimsoll_runtime.model.weights import WeightsError, load_weights
from tests.unit.plimsoll_runtime.model.int32_words import pack


@settings(max_examples=200)
@given(data=st.data(), shape=st.tuples(st.integers(1, 6), st.integers(1, 23)))
def test_any_part_is_read_from_the_words_that_hold_it(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    seed, filling = data.draw(st.integers(0, 99)), data.draw(st.integers(0, 255))
    dim = data.draw(st.integers(0, 1))
    start = data.draw(st.integers(0, shape[dim] - 1))
    size = data.draw(st.integers(1, shape[dim] - start))
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(-128, 128, shape, dtype=torch.int8, generator=generator)
    words = pack(numbers, filling)
    assert words.dtype == torch.int32
    fused = torch.zeros(shape[0] + 2, shape[1] + 2, dtype=torch.int8)  # its own rows lie apart
    own = fused[1 : 1 + numbers.narrow(dim, start, size).shape[0]]
    target = own[:, 1 : 1 + numbers.narrow(dim, start, size).shape[1]]
    part = PackedPart(target, dim, start, shape[dim])
    assert part.whole_shape == list(words.shape)
    assert part.is_all is (size == shape[dim])
    needed = words[part.region]
    assert needed.shape[1] <= -(-target.shape[1] // 4) + 1
    part.fill(needed)
    assert torch.equal(target, numbers.narrow(dim, start, size))
    assert fused.count_nonzero() == target.count_nonzero()


def test_only_int8_is_packed() -> None:
    int8, scale = torch.zeros(4, 6, dtype=torch.int8), torch.ones(4, 1)
    parts = packed_parts(
        {
            "q.weight": Part.all_of(int8),
            "q.weight_scale": Part.all_of(scale),
            "norm.weight": Part.all_of(torch.ones(4)),
        }
    )
    assert list(parts) == ["q.weight_packed", "q.weight_scale", "norm.weight"]
    assert [isinstance(part, PackedPart) for part in parts.values()] == [True, False, False]
    assert parts["q.weight_packed"].tensor is int8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            torch.zeros(4, 6, dtype=torch.int32),
            r"shape \[4, 6\], but config.json makes it \[4, 2\]",
        ),
        (torch.zeros(4, 2, dtype=torch.int64), r"dtype torch.int64, .* makes it torch.int32"),
    ],
)
def test_what_is_not_packed_so_is_refused(
    tmp_path: Path, words: torch.Tensor, message: str
) -> None:
    save_file({"q.weight_packed": words}, tmp_path / "model.safetensors")
    parts = packed_parts({"q.weight": Part.all_of(torch.zeros(4, 6, dtype=torch.int8))})
    with pytest.raises(WeightsError, match=f"q.weight_packed has {message}"):
        load_weights(parts, tmp_path, tied=False)


def test_each_tensor_is_told_of_when_it_is_there(tmp_path: Path) -> None:
    tensors = {"q.weight_packed": pack(torch.ones(4, 6, dtype=torch.int8))}
    tensors |= {"q.weight_scale": torch.tensor([0.5]), "q.weight_shape": torch.tensor([4, 6])}
    save_file(tensors, tmp_path / "model.safetensors")
    numbers, scales, told = torch.zeros(4, 6, dtype=torch.int8), torch.zeros(4, 1), list[str]()
    parts = {"q.weight": Part.all_of(numbers), "q.weight_scale": Part.all_of(scales)}
    load_weights(packed_parts(parts), tmp_path, tied=False, loaded=told.append)
    assert sorted(told) == ["q.weight_packed", "q.weight_scale"]
    assert torch.equal(numbers * scales, torch.full((4, 6), 0.5))


@pytest.mark.parametrize("kind", ["weight_g_idx", "weight_zero_point"])
def test_what_would_change_the_numbers_is_refused(tmp_path: Path, kind: str) -> None:
    tensors = {
        "q.weight_packed": torch.zeros(4, 2, dtype=torch.int32),
        "q.weight_shape": torch.tensor([4, 6]),
    }
    parts = packed_parts({"q.weight": Part.all_of(torch.zeros(4, 6, dtype=torch.int8))})
    save_file(tensors, tmp_path / "model.safetensors")
    load_weights(dict(parts), tmp_path, tied=False)
    save_file(
        tensors | {f"q.{kind}": torch.zeros(6, dtype=torch.int32)}, tmp_path / "model.safetensors"
    )
    with pytest.raises(WeightsError, match=f"no place: q.{kind}"):
        load_weights(parts, tmp_path, tied=False)
