"""Makes weights int8 while a model is loaded."""

from collections.abc import Iterable

from plimsoll_runtime.model.int8 import TorchInt8Matrix, quantize_weight
from plimsoll_runtime.model.parallel import Part, Weighted


class LayerQuantizer:
    """Makes each layer's weight int8 as soon as all of it was read, and gives the read one back to
    the system: of what is not yet read only addresses are taken, so that memory holds the int8
    model and one layer.

    `parts` are where the checkpoint's tensors go; those of finished layers are taken out.
    """

    def __init__(
        self, layers: Iterable[Weighted], parts: dict[str, Part], *, weight_only: bool
    ) -> None:
        self._weight_only = weight_only
        self._parts = parts
        by_storage = {_storage(Part.all_of(layer.weight)): layer for layer in layers}
        self._owners = {
            name: by_storage[_storage(part)]
            for name, part in parts.items()
            if _storage(part) in by_storage
        }

    def loaded(self, name: str) -> None:
        """The tensor of that name is where it belongs."""
        layer = self._owners.pop(name, None)
        if layer is None:
            return
        del self._parts[name]
        if all(other is not layer for other in self._owners.values()):
            weight = layer.weight
            layer.matrix = TorchInt8Matrix(
                quantize_weight(weight), weight.dtype, weight_only=self._weight_only
            )


def _storage(part: Part) -> int:
    return part.tensor.untyped_storage().data_ptr()
