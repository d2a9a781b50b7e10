"""The records that a trace holds: plain data, shared by the side that writes and the side that reads."""

from __future__ import annotations

from typing import Any

import msgspec

SCHEMA = 1

EVALUATION = -2
"""The step of what is called once more in evaluation mode, after the last step."""


class TensorRef(msgspec.Struct, frozen=True, array_like=True):
    """A tensor by its content: the digest names it in `tensors/`."""

    digest: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        size = 1
        for extent in self.shape:
            size *= extent
        return size


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One tensor of a call's arguments or results: its place in the nest, its identity in the step, its content."""

    name: str
    vid: int
    ref: TensorRef


class TensorEvent(msgspec.Struct, tag="tensor"):
    """A tensor's statistics, written once, when its content is first stored."""

    ref: TensorRef
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    rms: float | None = None
    nonfinite: int = 0


class CallEvent(msgspec.Struct, tag="call"):
    """One call of a layer. `id` and `end` order it among all records of the run; `parent` is the enclosing call."""

    id: int
    step: int
    phase: str
    path: str
    layer: int
    call: int
    end: int = -1
    parent: int | None = None
    training: bool = False
    inputs: list[Item] = []
    outputs: list[Item] = []


class OpEvent(msgspec.Struct, tag="op"):
    """One functional op: its source line in the script, the identities it read, what it made.

    `reduction` is the longest sum that one element of the output takes (1 for elementwise ops);
    `parameters` are the names of the parameters it read; `view` says that it only rearranges.
    """

    id: int
    step: int
    phase: str
    name: str
    parent: int | None
    path: str
    file: str | None
    line: int | None
    inputs: list[int]
    shapes: list[tuple[int, ...]]
    parameters: list[str]
    outputs: list[Item]
    view: bool = False
    reduction: int = 1


class SourceEvent(msgspec.Struct, tag="source"):
    """A tensor that enters a step from outside: a batch, a label, a constant."""

    step: int
    vid: int
    ref: TensorRef
    origin: str


class BatchEvent(msgspec.Struct, tag="batch"):
    """What a data loader yielded; `source` is the loader's number, `position` the batch's place in its epoch."""

    step: int
    index: int
    loader: str
    items: list[Item]
    source: int = -1
    position: int = -1


class PipelineOp(msgspec.Struct):
    """One operation between a dataset's source and its batches, with its effective arguments and its source line."""

    name: str
    arguments: dict[str, Any] = {}
    given: list[str] = []
    file: str | None = None
    line: int | None = None


class LoaderEvent(msgspec.Struct, tag="loader"):
    """A data loader, when it yields its first batch.

    `name` is what the script calls it; `pipeline` goes from the source to the batch; `shuffled` is None where it
    cannot be told; `constants` are the script's global lists of numbers, by name; `code` is the call that makes the
    batches, as the script has it.
    """

    id: int
    name: str | None
    class_name: str
    file: str | None = None
    line: int | None = None
    arguments: dict[str, Any] = {}
    given: list[str] = []
    pipeline: list[PipelineOp] = []
    shuffled: bool | None = None
    constants: dict[str, list[float]] = {}
    code: str | None = None


class Column(msgspec.Struct, frozen=True, array_like=True):
    """One column of a batch that was read after the run: a digest (16 digits) and a sketch for each sample.

    The sketch is float64 [samples, 6]: mean, standard deviation, minimum, maximum and two fixed projections.
    `ref` is the whole column, None beyond the part that is kept.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    digests: str
    sketch: TensorRef
    ref: TensorRef | None = None


class LoadedEvent(msgspec.Struct, tag="loaded"):
    """A batch of the epoch that was read from a loader alone, after the run."""

    loader: int
    position: int
    columns: list[Column]


class ColumnStatistics(msgspec.Struct):
    """A column over all the batches that were read.

    `means` and `deviations` are by sample axis: `1` is the batch's second axis, `-1` its last one;
    `classes` counts the values of an integer column that has few of them.
    """

    name: str
    samples: int = 0
    values: int = 0
    nonfinite: int = 0
    minimum: float | None = None
    maximum: float | None = None
    means: dict[str, list[float]] = {}
    deviations: dict[str, list[float]] = {}
    classes: dict[str, int] | None = None


class EpochEvent(msgspec.Struct, tag="epoch"):
    """How reading a loader alone went: `complete` where the epoch came to its end, else `why` says what ended it."""

    loader: int
    batches: int
    samples: int
    complete: bool
    why: str | None = None
    seconds: float = 0.0
    columns: list[ColumnStatistics] = []


class EnteredEvent(msgspec.Struct, tag="entered"):
    """A tensor that a synchronised candidate itself would have put into a training step or its model.

    `given` is the reference's tensor that it got instead, or that it equals (`same`); None where none fits.
    """

    step: int
    place: str
    own: TensorRef
    given: TensorRef | None
    same: bool
    file: str | None = None
    line: int | None = None


class EvaluationEvent(msgspec.Struct, tag="evaluation"):
    """Calls of a model that belong to no training step: nothing is learned from them.

    `step` is how many steps were done before, `training` the model's mode, `calls` their number; `file` and `line` are
    those of the first.
    """

    step: int
    path: str
    training: bool
    calls: int
    file: str | None = None
    line: int | None = None


class MetricEvent(msgspec.Struct, tag="metric"):
    """The answer of a metric object: what it was given since it began, and its numbers by name (`""` for a single one).

    `step` is how many steps were done before; `inputs` are empty where they are too many; `library` tells a class of a
    library from one of the script's own.
    """

    step: int
    name: str
    class_name: str
    library: bool
    arguments: dict[str, Any]
    inputs: list[TensorRef]
    values: dict[str, TensorRef]
    file: str | None = None
    line: int | None = None


class ShadowEvent(msgspec.Struct, tag="shadow"):
    """A copy of the weights that the script keeps beside its model, before a step: a sample of its elements (float64),
    and the same elements of the weights.
    """

    step: int
    name: str
    class_name: str
    values: TensorRef
    weights: TensorRef
    file: str | None = None
    line: int | None = None


class RandomEvent(msgspec.Struct, tag="random"):
    """A random draw inside a step: `mask` (0/1), `uniform`, `normal` or `integer`."""

    step: int
    index: int
    kind: str
    path: str
    ref: TensorRef


class GeneratorEvent(msgspec.Struct, tag="generator"):
    """The state of the framework's random generator at the end of a step, uint8."""

    step: int
    ref: TensorRef


class GradEvent(msgspec.Struct, tag="grad"):
    """The gradient that arrived at an output of a layer call, summed over its consumers."""

    step: int
    call: int
    item: str
    ref: TensorRef


class LossEvent(msgspec.Struct, tag="loss"):
    """The tensor that was differentiated, by backward pass within the step."""

    step: int
    backward: int
    vid: int
    ref: TensorRef
    file: str | None = None
    line: int | None = None


class ParameterGradEvent(msgspec.Struct, tag="parameter-grad"):
    """A parameter's gradient as one backward pass made it."""

    step: int
    backward: int
    name: str
    ref: TensorRef


class OptimizerEvent(msgspec.Struct, tag="optimizer"):
    """One optimizer call: per parameter what it was given, the values before and after, the state after."""

    step: int
    index: int
    name: str
    class_name: str
    groups: list[dict[str, Any]]
    given: dict[str, TensorRef]
    before: dict[str, TensorRef]
    after: dict[str, TensorRef]
    state: dict[str, dict[str, TensorRef]]
    file: str | None = None
    line: int | None = None


class BufferEvent(msgspec.Struct, tag="buffer"):
    """Buffers (running statistics) when a step ended."""

    step: int
    values: dict[str, TensorRef]


class StateEvent(msgspec.Struct, tag="state"):
    """Where a run stands before a step that is followed closely, after others that were not.

    `state` holds the optimizers' state by their number and the parameters' names.
    """

    step: int
    values: dict[str, TensorRef]
    state: list[dict[str, dict[str, TensorRef]]] = []


class InitialEvent(msgspec.Struct, tag="initial"):
    """Where a parameter's initial values came from, written only where something was seen of it.

    `random` tells that they were drawn, `law` by what, at which line; `loaded` that they came from a checkpoint.
    `values` are float32 [draws, elements]: the elements that `parity.sample.spread` chooses, drawn that often.
    """

    name: str
    random: bool
    law: str
    file: str | None
    line: int | None
    loaded: bool
    values: TensorRef | None


Event = (
    TensorEvent
    | InitialEvent
    | CallEvent
    | OpEvent
    | SourceEvent
    | BatchEvent
    | RandomEvent
    | GeneratorEvent
    | GradEvent
    | LossEvent
    | ParameterGradEvent
    | OptimizerEvent
    | BufferEvent
    | StateEvent
    | LoaderEvent
    | LoadedEvent
    | EpochEvent
    | EnteredEvent
    | EvaluationEvent
    | ShadowEvent
    | MetricEvent
)


class ParameterInfo(msgspec.Struct):
    """A parameter or buffer of the model: where it hangs, its shape, its content before the first step.

    `role` is the attribute's own name; `names` are all the paths that lead to the same tensor.
    """

    name: str
    owner: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool
    buffer: bool
    names: list[str]
    ref: TensorRef | None = None
    own: TensorRef | None = None


class LayerInfo(msgspec.Struct):
    """A layer: class, where and how the script constructed it, its effective arguments (defaults filled in)."""

    id: int
    path: str
    type: str
    file: str | None = None
    line: int | None = None
    arguments: dict[str, Any] = {}
    given: list[str] = []
    framework: bool = False
    children: list[str] = []
    root: bool = False
    code: str | None = None


class ObjectInfo(msgspec.Struct):
    """What a script made or called besides layers, with its effective arguments (defaults filled in).

    `kind` is `optimizer`, `schedule`, `rates` (the learning rates of one parameter group after the last captured step,
    one value a step in `values`), `seed`, `numpy-seed`, `determinism`, `clip`, `scaler`, `epochs` (the loop or the call
    that says how many there are) or `config` (parsed options or a configuration file: `type` is `argparse` or the
    file's name, `arguments` the nest of its values); `name` is the optimizer's where it belongs to one, or what the
    script calls it; `code` the call as the script has it.
    """

    kind: str
    type: str
    name: str = ""
    file: str | None = None
    line: int | None = None
    arguments: dict[str, Any] = {}
    given: list[str] = []
    values: list[float] = []
    code: str | None = None


class Layers(msgspec.Struct):
    """`layers.json`: the model's tree, its parameters, and what else the script made."""

    layers: list[LayerInfo] = []
    parameters: list[ParameterInfo] = []
    objects: list[ObjectInfo] = []


class Meta(msgspec.Struct):
    """`meta.json`: how the trace came to be."""

    schema: int = SCHEMA
    framework: str = ""
    version: str = ""
    python: str = ""
    command: list[str] = []
    script: str = ""
    folder: str = ""
    steps: int = 0
    complete: bool = False
    stopped: bool = False
    inference: bool = False
    evaluated: bool = False
    device: str = "cpu"
    seeds: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    notes: list[str] = []
    mapping: dict[str, Any] | None = None
    unmapped: list[str] = []
    timings: dict[str, float] = {}
    error: dict[str, Any] | None = None
