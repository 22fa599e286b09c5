"""Nodes and values on the way from a trace to ONNX Runtime's graph."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.graph import ITEMSIZE, Op, Role, TracedGraph
from edgebudget.runtimes._onnxruntime.ir import Graph, Node


@dataclass(frozen=True, slots=True)
class Fold:
    """What ConstantFolding computes at load: `result` from `originals`.

    Every step copies its inputs for the kernel, at most `transient_nbytes` at once with what it makes; `kept_nbytes`
    of results stay until all folding is done.
    """

    originals: tuple[int, ...]
    result: int
    kept_nbytes: int
    transient_nbytes: int


class Builder:
    """A graph in the making. `value_of` has the value that stands for each traced tensor so far."""

    def __init__(self, traced: TracedGraph) -> None:
        self.traced = traced
        self.graph = Graph()
        self.folds: list[Fold] = []
        self.value_of: dict[int, int] = {}
        self.weights: dict[tuple[object, ...], int] = {}
        # Weights that the file has under the module's own names: whether it is a buffer, and its storage.
        self.named: dict[int, tuple[bool, int]] = {}

    def of(self, tensor: int) -> int:
        """Return the value of a traced tensor; a weight becomes an initializer when it is first asked for."""
        if tensor not in self.value_of:
            spec = self.traced.tensors[tensor]
            storage = self.traced.storages[spec.storage]
            key = (spec.storage, spec.offset, spec.shape, spec.stride)
            if storage.role is Role.ACTIVATION or storage.role is Role.INPUT or key not in self.weights:
                self.weights[key] = self.graph.value(spec.shape, ITEMSIZE[spec.dtype], constant=True)
                self.named[self.weights[key]] = (storage.role is Role.BUFFER, spec.storage)
            self.value_of[tensor] = self.weights[key]
        return self.value_of[tensor]

    def constant(self, shape: Sequence[int], itemsize: int = 8) -> int:
        """Return an initializer that the exporter or an optimizer makes up, like a shape."""
        return self.graph.value(shape, itemsize, constant=True)

    def shape(self, value: int) -> tuple[int, ...]:
        return self.graph.values[value].shape

    def itemsize(self, op: Op) -> int:
        return ITEMSIZE[self.traced.tensors[op.outputs[0]].dtype]

    def bind(self, op: Op, value: int) -> None:
        self.value_of[op.outputs[0]] = value

    def emit(self, op: Op, kind: str, inputs: Sequence[int]) -> Node:
        """Add a node that makes all outputs of `op`."""
        outputs = []
        for t in op.outputs:
            spec = self.traced.tensors[t]
            self.value_of[t] = self.graph.value(spec.shape, ITEMSIZE[spec.dtype])
            outputs.append(self.value_of[t])
        return self.graph.add(kind, inputs, outputs, op.index)

    def step(self, op: Op, kind: str, inputs: Sequence[int], shape: Sequence[int], itemsize: int = 4) -> int:
        """Add a node with one output that the trace does not know, and return it."""
        out = self.graph.value(shape, itemsize)
        self.graph.add(kind, inputs, [out], op.index)
        return out

    def spec_shape(self, op: Op) -> tuple[int, ...]:
        return self.traced.tensors[op.outputs[0]].shape
