"""Puts weights into another form while a model is loaded."""

from collections.abc import Callable, Iterable

from torch import Tensor

from plimsoll_runtime.model.decoder import AnyPackedMatrix
from plimsoll_runtime.model.matrix import PANEL, Matrix
from plimsoll_runtime.model.parallel import Part, Weighted

Make = Callable[[Weighted], Matrix]
Begin = Callable[[Weighted], AnyPackedMatrix | None]


class LayerPacker:
    """Gives each layer its matrix as soon as all of its weight was read.

    Where `begin` has an empty one for it, what is read is packed right away. Else `make` makes it
    of the layer when that is complete, and what was read is given back to the system: of what is
    not yet read only addresses are taken, so that memory holds the model once and one layer twice.

    `parts` are where the checkpoint's tensors go; those of finished layers are taken out.
    """

    def __init__(
        self,
        layers: Iterable[Weighted],
        parts: dict[str, Part],
        make: Make,
        begin: Begin = lambda _: None,
    ) -> None:
        self._make = make
        self._begin = begin
        self._parts = parts
        self._begun: dict[Weighted, AnyPackedMatrix | None] = {}
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

    def take(self, name: str, read: Tensor) -> bool:
        """Packs what was read of the tensor of that name, if its layer is packed so."""
        layer = self._owners.get(name)
        if layer is None:
            return False
        if layer not in self._begun:
            packed = self._begin(layer)
            parts = [self._parts[other] for other, its in self._owners.items() if its is layer]
            self._begun[layer] = packed if packed and _are_panels(layer, parts) else None
        packed = self._begun[layer]
        if packed is None:
            return False
        packed.pack(_first(self._parts[name]), read)
        return True

    def loaded(self, name: str) -> None:
        """The tensor of that name is where it belongs."""
        layer = self._owners.pop(name, None)
        if layer is None:
            return
        del self._parts[name]
        if all(other is not layer for other in self._owners.values()):
            layer.matrix = self._begun.pop(layer, None) or self._make(layer)


def _are_panels(layer: Weighted, parts: list[Part]) -> bool:
    """Whether they are all of the layer's weight, each beginning where a panel does."""
    rows = sum(len(part.tensor) for part in parts)
    return rows == layer.matrix.outputs and all(_first(part) % PANEL == 0 for part in parts)


def _first(part: Part) -> int:
    """The first of the layer's outputs that it holds."""
    return int(part.tensor.storage_offset()) // part.tensor.shape[1]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
