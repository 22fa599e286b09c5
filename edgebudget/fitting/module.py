"""The module that holds most of the weights, made smaller where that can be done without knowing the task."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from edgebudget.fitting._traces import trace_again
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.graph import Op, TracedGraph

PASSED = frozenset({"flatten", "view", "reshape", "dropout", "dropout_", "clone", "contiguous", "detach", "squeeze"})
HEAVY = 0.25  # share of all parameters from which on a layer is worth a word


@dataclass(frozen=True, slots=True)
class Flattened:
    """A linear layer that reads an image of `channels` x `height` x `width`, flattened."""

    module: str
    share: float  # of all parameters
    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class _Module:
    effort: int = 7

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield the model pooled to one pixel before its heaviest linear layer, where that reads a flattened image."""
        found = heaviest_flattened(case.graph)
        if found is None:
            return
        from edgebudget.sources._pooled import pooled_before  # needs torch

        with pooled_before(case.loaded.module, found.module, found.channels):
            changed = trace_again(case, case.loaded)
        shape = f"{found.channels}x{found.height}x{found.width}"
        changed = changed.with_change(
            "module",
            f"Pool before {found.module}: it holds {found.share:.0%} of the parameters since it reads {shape}, "
            "flattened. Needs training again.",
        )
        yield Proposal(changed, changed.check())


def heaviest_flattened(graph: TracedGraph) -> Flattened | None:
    """Return the layer with most parameters if it is linear, holds much, and reads a flattened image. Pure."""
    heaviest = max(
        (op for op in graph.ops if op.name == "linear"),
        key=lambda op: graph.tensors[op.inputs[1]].numel,
        default=None,
    )
    if heaviest is None or not graph.parameter_numel:
        return None
    weight = graph.tensors[heaviest.inputs[1]]
    share = weight.numel / graph.parameter_numel
    image = _image_before(graph, heaviest)
    if share < HEAVY or image is None or prod(image[1:]) != weight.shape[1] or prod(image[2:]) == 1:
        return None
    return Flattened(heaviest.module, share, *image[1:])


def _image_before(graph: TracedGraph, op: Op) -> tuple[int, ...] | None:
    tensor = op.inputs[0]
    while (source := graph.producers.get(tensor)) is not None and source.name in PASSED:
        tensor = source.inputs[0]
        shape = graph.tensors[tensor].shape
        if len(shape) == 4:
            return shape
    return None


PROPOSER = _Module()
