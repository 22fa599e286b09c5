"""A graph under a dtype option in a runtime on a target: one estimate, all of its parts."""

from dataclasses import dataclass, replace

from edgebudget.dtypes import DTYPES, Assignment, assign
from edgebudget.graph import TracedGraph, once_per_graph
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.target import GENERIC, Target


@dataclass(frozen=True)
class MemoryEstimate:
    """What `graph` takes under `dtype` in `runtime` on `target`.

    `layout` is `Unsupported` where the runtime cannot run the option. Counts are elements with tied storage once;
    `parameter_bytes` and `buffer_bytes` include scales and zero points.
    """

    graph: TracedGraph
    dtype: str
    runtime: str
    target: Target
    parameter_numel: int
    buffer_numel: int
    parameter_bytes: int
    buffer_bytes: int
    layout: MemoryLayout | Unsupported

    @property
    def load_peak_bytes(self) -> int:
        """Heap, mapped pages and the runtime itself at the peak of loading; 0 where unsupported."""
        return 0 if isinstance(self.layout, Unsupported) else self.layout.load_peak_bytes

    @property
    def inference_peak_bytes(self) -> int:
        """Heap, mapped pages and the runtime itself at the peak of inference; 0 where unsupported."""
        return 0 if isinstance(self.layout, Unsupported) else self.layout.inference_peak_bytes

    @property
    def raw_peak_bytes(self) -> int:
        """The larger of the two peaks, before any calibration."""
        return max(self.load_peak_bytes, self.inference_peak_bytes)

    def on(self, target: Target) -> "MemoryEstimate":
        """Return the same estimate laid out for `target`."""
        if target == self.target:
            return self
        layout = RUNTIMES.get(self.runtime).lay_out(self.graph, DTYPES.get(self.dtype), target)
        return replace(self, target=target, layout=layout)


def estimate(graph: TracedGraph, *, dtype: str, runtime: str, target: Target = GENERIC) -> MemoryEstimate:
    """Return what `graph` takes under the option `dtype` in `runtime` on `target`. Pure.

    Raises UnknownNameError for a dtype or runtime that is not registered.
    """
    option = DTYPES.get(dtype)
    layout = RUNTIMES.get(runtime).lay_out(graph, option, target)
    own = None if isinstance(layout, Unsupported) else layout.held
    parameter_bytes, buffer_bytes = _weight_bytes(graph, assign(option, graph) if own is None else own)
    return MemoryEstimate(
        graph=graph,
        dtype=dtype,
        runtime=runtime,
        target=target,
        parameter_numel=graph.parameter_numel,
        buffer_numel=graph.buffer_numel,
        parameter_bytes=parameter_bytes,
        buffer_bytes=buffer_bytes,
        layout=layout,
    )


def _weight_bytes(graph: TracedGraph, held: Assignment) -> tuple[int, int]:
    """Return the bytes of the parameters and of the buffers."""
    known = _known_weight_bytes(graph)
    if id(held) not in known:
        nbytes = held.total_nbytes
        parameters, buffers = graph.parameter_storages, graph.buffer_storages
        found = sum([nbytes[s[0]] for s in parameters]), sum([nbytes[s[0]] for s in buffers])
        known[id(held)] = held, found
    return known[id(held)][1]


@once_per_graph
def _known_weight_bytes(graph: TracedGraph) -> dict[int, tuple[Assignment, tuple[int, int]]]:
    """Return what was worked out for each assignment, by its id, and the assignment, so that the id stays its own."""
    return {}
