"""Puts weights into another form while a model is loaded."""

from collections.abc import Callable, Iterable

from torch import Tensor

from plimsoll_runtime.model.matrix import Matrix
from plimsoll_runtime.model.parallel import Part, Weighted

Make = Callable[[Weighted], Matrix]


class LayerPacker:
    """Gives each layer the matrix that `make` makes of it as soon as all of its weight was read,
    and gives the read one back to the system: of what is not yet read only addresses are taken, so
    that memory holds the model once and one layer twice.

    `parts` are where the checkpoint's tensors go; those of finished layers are taken out.
    """

    def __init__(self, layers: Iterable[Weighted], parts: dict[str, Part], make: Make) -> None:
        self._make = make
        self._parts = parts
        by_storage = {
            _storage(tensor): layer
            for layer in layers
            for tensor in layer.checkpoint_tensors().values()
        }
        self._owners = {
            name: by_storage[_storage(part.tensor)]
            for name, part in parts.items()
            if _storage(part.tensor) in by_storage
        }

    def loaded(self, name: str) -> None:
        """The tensor of that name is where it belongs."""
        layer = self._owners.pop(name, None)
        if layer is None:
            return
        del self._parts[name]
        if all(other is not layer for other in self._owners.values()):
            layer.matrix = self._make(layer)


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
