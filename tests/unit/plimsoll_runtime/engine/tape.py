"""What a CUDA graph may hold and does, on a CPU: launches over memory that stays where it is."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

FORBIDDEN = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "item")
"""They wait for the device, or make something as large as its memory says."""


class Tape(TorchDispatchMode):
    """Notes torch's operations while it is on; `replay` does them again, into the same memory.

    Python between them does not run again, so what it worked out from tensors or made of lists is
    what it was. Raises RuntimeError for what cannot be captured.
    """

    def __init__(self) -> None:
        super().__init__()
        self._launches: list[Callable[[], None]] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # its import takes seconds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func.overloadpacket.__name__
        if name in FORBIDDEN or name.startswith("lift"):
            raise RuntimeError(f"{func} is not permitted when a stream is capturing")
        found = func(*args, **(kwargs or {}))
        held = {each.untyped_storage().data_ptr() for each in tensors((args, kwargs))}
        made = [each for each in tensors(found) if each.untyped_storage().data_ptr() not in held]
        if made or func._schema.is_mutable:

            def again() -> None:
                for target, each in zip(
                    tensors(found), tensors(func(*args, **(kwargs or {}))), strict=True
                ):
                    if made:
                        target.copy_(each)

            self._launches.append(again)
        return found

    def launch(self, kernel: Callable[[], None]) -> None:
        """A launch that is none of torch's."""
        with torch.utils._python_dispatch._disable_current_modes():
            kernel()
        self._launches.append(kernel)

    def replay(self) -> None:
        """All of it again."""
        for launch in self._launches:
            launch()


def tensors(tree: object) -> list[Tensor]:
    return [each for each in tree_leaves(tree) if isinstance(each, Tensor)]


class Kernel:
    """A Triton kernel whose launches a tape notes while `tape` is one."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.tape: Tape | None = None

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        launch = self._kernel[grid]
        tape = self.tape
        if tape is None:
            return launch  # type: ignore[no-any-return]
        return lambda *args, **kwargs: tape.launch(lambda: launch(*args, **kwargs))


class TapeRecorder:
    """See `Recorder`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def record(self, compute: Callable[[], None]) -> Callable[[], None]:
        compute()
        self._kernel.tape = tape = Tape()
        with tape:
            compute()
        self._kernel.tape = None
        return tape.replay

    def memory_taken(self) -> int:
        return 0
