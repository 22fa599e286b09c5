"""Small models for tests of the trace, and what a real run of a model allocates."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from edgebudget.graph import Role, TracedGraph
from edgebudget.planning import Buffer, live_bytes


class Forward(nn.Module):
    """A module whose forward is `function(self, *args, **kwargs)`; `attributes` are set as they are."""

    def __init__(self, function: Callable[..., object], *children: nn.Module, **attributes: object) -> None:
        super().__init__()
        self.function = function
        self.children_ = nn.ModuleList(children)
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.function(self, *args, **kwargs)


def names(graph: TracedGraph) -> list[str]:
    """Return the operators of `graph` in order, without namespace and overload."""
    return [op.name for op in graph.ops]


def role_bytes(graph: TracedGraph) -> dict[str, int]:
    """Return the bytes of all storages by role."""
    total: Counter[str] = Counter()
    for storage in graph.storages:
        total[storage.role.value] += storage.nbytes
    return dict(total)


def activation_curve(graph: TracedGraph) -> list[int]:
    """Return the bytes of what the forward made (without inputs) that are alive at each operator."""
    made = [Buffer(s.id, s.nbytes, s.born, s.dies) for s in graph.of_role(Role.ACTIVATION)]
    return live_bytes(made, max(len(graph.ops), 1))


def activation_peak(graph: TracedGraph) -> int:
    """Return the most bytes of what the forward made that are alive at once."""
    return max(activation_curve(graph))


def allocated_peak(model: nn.Module, *args: object, **kwargs: object) -> int:
    """Return the peak of the bytes that PyTorch's CPU allocator hands out in a real forward, by its own profiler."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            model(*args, **kwargs)  # what is allocated once and kept does not belong to the forward
            with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
                result = model(*args, **kwargs)
        current = peak = 0
        for event in profiled.profiler.kineto_results.events():
            if event.name() == "[memory]":
                current += event.nbytes()
                peak = max(peak, current)
    finally:
        torch.set_num_threads(threads)
    del result
    return peak
