"""Eager PyTorch on a CUDA GPU: the lifetimes that Python gives, through the caching allocator.

What is known is the tensors. Kernels on a GPU take scratch of their own (cuDNN for convolutions, cuBLAS for products),
which depends on the chip and is left to measurements: the operators that take some are named as not modelled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from edgebudget.dtypes import DtypeOption, once_per_option
from edgebudget.graph import TracedGraph
from edgebudget.runtimes._cuda_allocator import Block, CachingAllocator
from edgebudget.runtimes._pytorch_alive import lifetimes, live_tensors
from edgebudget.runtimes._pytorch_file import state_dict_nbytes
from edgebudget.runtimes._pytorch_torchao import hold
from edgebudget.runtimes.interface import MemoryLayout, OnDemand, PeakOp

_SCRATCH = frozenset({
    "conv1d", "conv2d", "conv3d", "convolution", "_convolution", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "lstm", "gru", "rnn_tanh", "rnn_relu", "scaled_dot_product_attention", "sort", "topk", "cumsum",
    "nonzero", "unique", "index_put_",
})  # fmt: skip
_NOTE = (
    "Counted as on a GPU that shares the RAM: segments of PyTorch's caching allocator, which keeps what it once took. "
    "Scratch of cuDNN and cuBLAS is not modelled; the CUDA context and libraries count only with a GPU's calibration."
)


@dataclass(frozen=True, slots=True)
class CudaFootprint:
    """What the caching allocator holds for one model, by the same names as a measurement of it.

    `load_*`: the model on the GPU; `*_peak_*`: the most of a run, weights and inputs included. `at` is the operator at
    which the blocks peak, `curve` what is held at each operator, unrounded and without weights.
    """

    load_allocated_bytes: int
    load_reserved_bytes: int
    allocated_peak_bytes: int
    reserved_peak_bytes: int
    at: int
    curve: tuple[int, ...]

    @property
    def blocks(self) -> Mapping[str, Mapping[str, int]]:
        """The parts by phase, as a calibration knows them, of what is allocated: the tensors alone."""
        inference = {
            "weights": self.load_allocated_bytes,
            "activations": self.allocated_peak_bytes - self.load_allocated_bytes,
            "workspace": 0,
        }
        return _phases(self.load_allocated_bytes, inference)

    @property
    def segments(self) -> Mapping[str, Mapping[str, int]]:
        """The same of what is reserved: what lies idle in segments is the workspace."""
        idle = self.reserved_peak_bytes - self.allocated_peak_bytes
        return _phases(self.load_reserved_bytes, {**self.blocks["inference"], "workspace": idle})


def _phases(load_bytes: int, inference: Mapping[str, int]) -> Mapping[str, Mapping[str, int]]:
    neither = {"mapped": 0, "constant": 1}
    return {"load": {"heap": load_bytes, **neither}, "inference": {**inference, **neither}}


def footprint(graph: TracedGraph, option: DtypeOption) -> CudaFootprint:
    """Return what `graph` takes under `option`, each operator's results made before what it ends is dropped. Pure."""
    nbytes = hold(option, graph).total_nbytes
    allocator = CachingAllocator()
    for storage in graph.weights:
        allocator.allocate(nbytes[storage.id])
    load_allocated, load_reserved = allocator.allocated_bytes, allocator.reserved_bytes
    steps = max(len(graph.ops), 1)
    born: dict[int, list[int]] = {}
    dies: dict[int, list[int]] = {}
    for storage in graph.activations:
        born.setdefault(max(storage.born, -1), []).append(storage.id)
        dies.setdefault(storage.dies, []).append(storage.id)
    held: dict[int, Block | None] = {i: allocator.allocate(nbytes[i]) for i in born.get(-1, [])}
    peak, at = allocator.allocated_bytes, 0
    for step in range(steps):
        for i in born.get(step, []):
            held[i] = allocator.allocate(nbytes[i])
        if allocator.allocated_bytes > peak:
            peak, at = allocator.allocated_bytes, step
        for i in dies.get(step, []):
            allocator.release(held.pop(i, None))
    curve = lifetimes(graph).alive(nbytes)
    return CudaFootprint(
        load_allocated_bytes=load_allocated,
        load_reserved_bytes=load_reserved,
        allocated_peak_bytes=allocator.allocated_peak_bytes,
        reserved_peak_bytes=allocator.reserved_peak_bytes,
        at=at,
        curve=tuple(curve),
    )


@once_per_option
def lay_out_on_cuda(graph: TracedGraph, option: DtypeOption) -> MemoryLayout:
    """Return the layout on a device whose GPU shares the RAM: what is reserved counts, the weights once. It is the same
    on every such device; what the runtime itself takes is left at 0.

    While loading, the state dict and the module are on the host at once; moving then frees there what it takes here.
    """
    options = option.by_operator(graph)
    assigned = hold(option, graph)
    nbytes = assigned.total_nbytes
    found = footprint(graph, option)
    weights = sum([nbytes[s.id] for s in graph.weights])
    alive_peak = max(found.curve)
    at_alive_peak = found.curve.index(alive_peak)
    op = graph.ops[found.at] if graph.ops else None
    return MemoryLayout(
        activation_lower_bound_bytes=alive_peak,
        activation_bytes=found.allocated_peak_bytes - found.load_allocated_bytes,
        activation_total_bytes=sum([nbytes[i] for i in lifetimes(graph).activations]),
        activation_peak_numel=lifetimes(graph).numel_alive(graph, at_alive_peak),
        workspace_bytes=found.reserved_peak_bytes - found.allocated_peak_bytes,
        load_heap_bytes=max(2 * weights, found.load_reserved_bytes),
        inference_heap_bytes=found.reserved_peak_bytes,
        load_mapped_bytes=0,
        inference_mapped_bytes=0,
        storage_bytes=state_dict_nbytes(graph, assigned, options),
        runtime_bytes=0,
        peak_op=PeakOp(found.at, op.target if op else "", op.module if op else ""),
        timeline=tuple(zip(graph.labels, found.curve, strict=False)),
        tensors=OnDemand(partial(live_tensors, graph.activations, len(graph.ops), nbytes)),
        unmodelled_ops=tuple(sorted({op.target for op in graph.ops if op.name in _SCRATCH})),
        notes=(_NOTE,),
        held=assigned,
    )
