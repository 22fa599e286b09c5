"""Eager PyTorch on the CPU: the caching-free allocator, with the lifetimes that Python gives."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import add

from edgebudget.dtypes import DtypeOption
from edgebudget.graph import TracedGraph
from edgebudget.runtimes._half_range import beyond_half
from edgebudget.runtimes._pytorch_alive import lifetimes, live_tensors
from edgebudget.runtimes._pytorch_cuda import lay_out_on_cuda
from edgebudget.runtimes._pytorch_fastpath import fused_modules
from edgebudget.runtimes._pytorch_file import state_dict_nbytes
from edgebudget.runtimes._pytorch_kept import kept_nbytes
from edgebudget.runtimes._pytorch_kernels import kernels_of
from edgebudget.runtimes._pytorch_scratch import scratch_bytes
from edgebudget.runtimes._pytorch_torchao import TAKEN, UNPACKED_NOTE, add_scratch, hold
from edgebudget.runtimes.interface import MemoryLayout, OnDemand, PeakOp, Unsupported
from edgebudget.target import Target

RUNTIME_BYTES = 238_780_416
"""What a process holds once it has imported torch and run a first small model: resident, interpreter included.

Measured on x86-64 Linux with Python 3.11 and the CPU build torch 2.13.0+cpu, one fresh process each, from
/proc/self/status; the same to 0.1 MB in three runs. 149,942,272 bytes are anonymous (RssAnon: the heap and relocated
data, which nothing can reclaim), 88,838,144 pages of mapped files (RssFile: the libraries' code, shared between
processes and reclaimable). The import alone takes 229,072,896 (149,549,056 anonymous); the bare interpreter 10,051,584
of these. Builds with CUDA take more than twice as much.
"""

CUDA_BUILD_BYTES = 557_998_080
"""The same of a build with CUDA, before it makes a context: measured on x86-64 Linux as `linux-x86_64.yaml` says
(544,920 KiB). What context and libraries take on a GPU comes on top, and only a calibration by one knows it.
"""

REDUCED = frozenset({"float16", "bfloat16"})
_LOADING = "Loading holds the state dict and the module at once; torch.load(mmap=True) avoids that."
_FUSED = (
    "Self-attention modules are counted as the fused operators that PyTorch runs in evaluation under inference mode."
)


@dataclass(frozen=True, slots=True)
class _PyTorch:
    name: str = "pytorch"
    description: str = (
        "Eager PyTorch on the CPU, one thread: a tensor lives until Python drops it, operators take the scratch that "
        "ATen and oneDNN take; the state dict is held beside the module's own weights while loading."
    )

    def lay_out(self, graph: TracedGraph, option: DtypeOption, target: Target) -> MemoryLayout | Unsupported:
        """Return the allocator's live bytes at their peak. Inputs count: the caller holds them."""
        options = option.by_operator(graph)
        if len(set(options)) > 1 and not REDUCED.isdisjoint(options):
            return Unsupported(
                "Eager PyTorch refuses operands of different floating-point types: float16 and bfloat16 are for a whole"
                " model, unless it casts between its modules itself."
            )
        beyond = beyond_half(graph) if "float16" in options else None
        if beyond:
            return Unsupported(beyond)
        if target.gpu == "cuda":
            return replace(lay_out_on_cuda(graph, option), runtime_bytes=CUDA_BUILD_BYTES)
        held = hold(option, graph)
        nbytes = held.total_nbytes
        life = lifetimes(graph)
        curve = life.alive(nbytes)
        kernels = kernels_of(target)
        scratch, unmodelled = scratch_bytes(graph, held, kernels)
        notes = [_LOADING]
        quantized = frozenset() if TAKEN.isdisjoint(options) else {i for i in held.covered if options[i] in TAKEN}
        if quantized:
            add_scratch(graph, options, quantized, kernels, scratch)
        for fused in fused_modules(graph, held):
            if not quantized.isdisjoint(range(fused.first, fused.last + 1)):
                continue  # the fused operator takes plain tensors only
            notes[1:] = [_FUSED]
            before = sum(nbytes[s.id] for s in graph.activations if s.born < fused.first <= s.dies)
            count = fused.last + 1 - fused.first
            curve[fused.first : fused.last + 1] = [before] * count
            scratch[fused.first : fused.last + 1] = [fused.peak_bytes] * count
        if any(options[i] == "int4-weight-only" for i in quantized):
            notes.append(UNPACKED_NOTE)
        alive_peak = max(curve)
        with_scratch = list(map(add, curve, scratch)) if scratch else curve
        total_peak = max(with_scratch)
        at = with_scratch.index(total_peak)
        weights = sum([nbytes[i] for i in life.weights])
        op = graph.ops[at] if graph.ops else None
        return MemoryLayout(
            activation_lower_bound_bytes=alive_peak,
            activation_bytes=alive_peak,
            activation_total_bytes=sum([nbytes[i] for i in life.activations]),
            activation_peak_numel=life.numel_alive(graph, curve.index(alive_peak)),
            workspace_bytes=total_peak - alive_peak,
            load_heap_bytes=2 * weights,
            inference_heap_bytes=weights + total_peak,
            load_mapped_bytes=0,
            inference_mapped_bytes=0,
            storage_bytes=state_dict_nbytes(graph, held, options),
            runtime_bytes=RUNTIME_BYTES,
            peak_op=PeakOp(at, op.target if op else "", op.module if op else ""),
            timeline=OnDemand(partial(_timeline, graph, with_scratch)),
            tensors=OnDemand(partial(live_tensors, graph.activations, len(graph.ops), nbytes)),
            unmodelled_ops=unmodelled,
            notes=tuple(notes),
            held=held,
            kept_running=OnDemand(partial(kept_nbytes, graph, nbytes, scratch)),
        )


def _timeline(graph: TracedGraph, curve: Sequence[int]) -> Iterator[tuple[str, int]]:
    return zip(graph.labels, curve, strict=False)


RUNTIME = _PyTorch()
