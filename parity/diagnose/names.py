"""Where a script's layers were constructed, by their paths."""

from __future__ import annotations

from parity.document import Place
from parity.model import LayerInfo
from parity.trace import Trace


class Names:
    """Looks up layers and the owners of parameters.

    Args:
        trace: One side's trace.
    """

    def __init__(self, trace: Trace) -> None:
        self.layers: dict[str, LayerInfo] = {}
        for layer in trace.layers:
            self.layers.setdefault(layer.path, layer)
        self.owners = {name: p.owner for p in trace.parameters for name in p.names}

    def place(self, path: str) -> Place:
        """A layer's path, or a parameter's, with the line that constructed it."""
        layer = self.layers.get(path) or self.layers.get(self.owners.get(path, ""))
        return Place(path, layer.file if layer else None, layer.line if layer else None)

    @staticmethod
    def of(layer: LayerInfo) -> Place:
        """Where one layer was constructed."""
        return Place(layer.path, layer.file, layer.line)

    def type(self, path: str) -> str:
        """The layer's class."""
        layer = self.layers.get(path)
        return layer.type if layer else ""

    def leaf(self, path: str) -> bool:
        """Whether it is a layer of the framework's own without layers inside."""
        layer = self.layers.get(path)
        return layer is not None and layer.framework and not layer.children
