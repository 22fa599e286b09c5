"""A snapshot as `torch.cuda.memory._snapshot` takes it, which PyTorch's memory_viz page opens.

Read in torch/cuda/memory.py (`_snapshot`) and torch/utils/viz/MemoryViz.js, whose own unpickler takes protocols 2 to 4.
"""

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgebudget.planning import Buffer, greedy_by_size
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout

_PROTOCOL = 4
_BASE_ADDRESS = 1 << 32  # of the first layout's block; each has its own, as devices have
_DRAWN_ALIGNMENT = 512  # of tensors that no planner places: where the caching allocator of CUDA would put them

Entry = dict[str, object]


@dataclass(frozen=True)
class SnapshotFormat:
    """A device a layout: every tensor is an allocation whose stack is its module and operator.

    Where a runtime plans nothing ahead, tensors are drawn where a greedy planner would put them.
    """

    name: str = "snapshot"
    suffix: str = ".pickle"

    def render(self, layouts: Mapping[str, MemoryLayout]) -> bytes:
        segments, traces = [], []
        for device, (title, layout) in enumerate(layouts.items()):
            base = _BASE_ADDRESS * (device + 1)
            placed = _placed(layout)
            nbytes = max((offset + tensor.nbytes for tensor, offset in placed), default=0)
            segments.append(_segment(device, base, nbytes, title))
            traces.append(list(_trace(placed, base)))
        return pickle.dumps({"segments": segments, "device_traces": traces}, protocol=_PROTOCOL)


def _placed(layout: MemoryLayout) -> list[tuple[LiveTensor, int]]:
    tensors = [tensor for tensor in layout.tensors if tensor.nbytes]
    loose = [Buffer(i, t.nbytes, t.first, t.last) for i, t in enumerate(tensors) if t.offset is None]
    plan = greedy_by_size(loose, _DRAWN_ALIGNMENT)
    above = max((t.offset + t.nbytes for t in tensors if t.offset is not None), default=0)
    drawn = {buffer.id: above + offset for buffer, offset in zip(plan.buffers, plan.offsets, strict=True)}
    return [(t, drawn[i] if t.offset is None else t.offset) for i, t in enumerate(tensors)]


def _segment(device: int, base: int, nbytes: int, title: str) -> Entry:
    """Return the one block of memory of a layout, empty again after the last operator."""
    frames = [{"filename": title, "line": 0, "name": "planned memory"}]
    free = {"address": base, "size": nbytes, "requested_size": nbytes, "state": "inactive", "frames": frames}
    return {
        "device": device, "address": base, "total_size": nbytes, "allocated_size": 0, "active_size": 0,
        "requested_size": 0, "stream": 0, "segment_type": "large", "segment_pool_id": (0, 0), "is_expandable": False,
        "frames": frames, "blocks": [free],
    }  # fmt: skip


def _trace(placed: list[tuple[LiveTensor, int]], base: int) -> Iterator[Entry]:
    """Yield allocations and frees in order: at each operator what is no longer held goes before what is new comes."""
    moments = [(t.first, 1, t, offset) for t, offset in placed] + [(t.last + 1, 0, t, offset) for t, offset in placed]
    for step, comes, tensor, offset in sorted(moments, key=lambda moment: moment[:2]):
        module, _, name = tensor.name.rpartition(": ")
        entry = {
            "addr": base + offset,
            "size": tensor.nbytes,
            "stream": 0,
            "time_us": step,
            "frames": [{"filename": module or "the model itself", "line": tensor.first, "name": name}],
        }
        if comes:
            yield entry | {"action": "alloc"}
        else:
            yield entry | {"action": "free_requested"}
            yield entry | {"action": "free_completed"}


TIMELINE = SnapshotFormat()
