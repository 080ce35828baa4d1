"""Options that no model could take are refused where they are made."""

from typing import Any

import pytest

from plimsoll_runtime.engine.options import EngineOptions


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dtype": "float16"}, "dtype 'float16' is not one of auto, bfloat16, float32"),
        ({"device": "tpu"}, "device 'tpu' is not one of auto, cpu, cuda"),
        ({"max_num_seqs": 0}, "max_num_seqs must be at least 1, not 0"),
        ({"long_prefill_token_threshold": 0}, "long_prefill_token_threshold must be at least 1"),
        ({"block_size": 0}, "block_size must be at least 1"),
        ({"threads": -1}, "threads must be at least 1"),
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization must be above 0"),
        ({"gpu_memory_utilization": 1.1}, "gpu_memory_utilization must be above 0"),
        ({"tensor_parallel_size": 16}, "tensor_parallel_size 16 is more than one node's"),
    ],
)
def test_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineOptions(**option)


def test_everything_may_be_left_open() -> None:
    assert EngineOptions().max_model_len is None
