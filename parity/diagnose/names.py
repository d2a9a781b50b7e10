"""How places, names and numbers are said: where a script's layers were constructed, by their paths."""

from __future__ import annotations

from collections import defaultdict

from parity.compare.faults import Judged
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


def at(place: Place) -> str:
    """A place in words: path, file and line."""
    return (
        f"{place.path or 'the model'} ({place.file}:{place.line})" if place.file else place.path or "the training loop"
    )


def shape_of(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    return "[" + ", ".join(map(str, shape)) + "]"


def numbers(item: Judged) -> str:
    """How much a measured place differs, in words."""
    if item.record.mismatch == "shape":
        return f"shape {shape_of(item.record.candidate_shape)} where the reference has {shape_of(item.record.shape)}"
    if item.record.mismatch == "stopped":
        return "no gradient comes back, where the reference has one"
    if item.record.mismatch == "nonfinite":
        return "NaN or Inf at other places than in the reference"
    error, noise = item.relative
    return f"{error:.1e} where rounding explains {noise:.1e}"


def patterns(names: list[str]) -> str:
    """Parameters in words: by name where they are few, else by the last part of their names."""
    if len(names) <= 4:
        return ", ".join(names)
    roles: dict[str, int] = defaultdict(int)
    for name in names:
        roles[name.rpartition(".")[2]] += 1
    return ", ".join(f"*.{role}" for role, _ in sorted(roles.items(), key=lambda pair: -pair[1])[:4])
