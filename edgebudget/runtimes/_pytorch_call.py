"""One operator as the handlers of `_pytorch_scratch` see it."""

from collections.abc import Callable
from typing import TypeAlias, cast

from edgebudget.dtypes.interface import Assignment
from edgebudget.eager import Dims
from edgebudget.graph import FLOATING, ITEMSIZE, Arg, Op, Ref, TensorSpec, TracedGraph
from edgebudget.runtimes._pytorch_kernels import CpuKernels

Convolutions: TypeAlias = dict[tuple[object, ...], int]
"""Scratch bytes of convolutions met before, by all that they depend on."""


class Call:
    """The operator at hand, with its tensors under a dtype option. One object is moved along the graph."""

    __slots__ = ("_graph", "_held", "convolutions", "kernels", "op", "tensors")

    def __init__(self, graph: TracedGraph, held: Assignment, kernels: CpuKernels, convolutions: Convolutions) -> None:
        self._graph = graph
        self.tensors = graph.tensors
        self._held = held
        self.kernels = kernels
        self.convolutions = convolutions
        self.op: Op = graph.ops[0]

    def tensor(self, position: int, name: str = "") -> TensorSpec | None:
        """Return the tensor given at `position` or by `name`, if there is one."""
        given = self.op.arg(position, name)
        return self.tensors[given] if isinstance(given, Ref) else None

    def tensors_of(self, value: Arg) -> list[TensorSpec]:
        """Return the tensors in a list argument."""
        items = value if isinstance(value, tuple) else ()
        return [self.tensors[item] for item in items if isinstance(item, Ref)]

    def input(self, position: int = 0) -> TensorSpec:
        return self.tensors[self.op.inputs[position]]

    def output(self, position: int = 0) -> TensorSpec:
        return self.tensors[self.op.outputs[position]]

    def dtype(self, tensor: TensorSpec) -> str:
        """Return the type that `tensor` has under the dtype option; what is not floating stays what it is."""
        held = self._held.dtypes[tensor.storage]
        return held if tensor.dtype in FLOATING and held in FLOATING else tensor.dtype

    def itemsize(self, tensor: TensorSpec) -> int:
        """Bytes an element of `tensor` takes under the dtype option."""
        return ITEMSIZE[self.dtype(tensor)]

    def nbytes(self, tensor: TensorSpec) -> int:
        """Bytes of a new tensor of this one's shape and type."""
        return tensor.numel * self.itemsize(tensor)

    def requires_grad(self, tensor: TensorSpec) -> bool:
        """Whether `tensor` is a trainable parameter, or a view of one."""
        return self._graph.storages[tensor.storage].trainable

    def numbers(self, position: int, name: str, default: Arg, dims: int) -> Dims:
        """Return an argument given as one number or one a dimension, spelled out."""
        value = self.op.arg(position, name, default)
        if isinstance(value, tuple):
            return cast(Dims, value * dims if len(value) == 1 else value)
        return (cast(int, value),) * dims


Handler: TypeAlias = Callable[[Call], int]
