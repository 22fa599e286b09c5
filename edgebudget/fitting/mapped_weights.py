"""Weights mapped from the file where a runtime would read them into the heap."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgebudget.fitting.interface import Case, Proposal
from edgebudget.runtimes.interface import Unsupported


@dataclass(frozen=True, slots=True)
class _MappedWeights:
    effort: int = 5

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield the state dict mapped and assigned, for eager PyTorch; ExecuTorch maps its file as it is."""
        made = case.estimate()
        layout = made.layout
        if isinstance(layout, Unsupported) or case.runtime != "pytorch":
            return
        weights_bytes = layout.load_heap_bytes // 2  # the state dict beside the module's own
        mapped = replace(
            layout,
            load_heap_bytes=0,
            load_mapped_bytes=layout.load_mapped_bytes + weights_bytes,
            inference_heap_bytes=layout.inference_heap_bytes - weights_bytes,
            inference_mapped_bytes=layout.inference_mapped_bytes + weights_bytes,
        )
        changed = case.with_change(
            "mapped-weights", "Load with torch.load(mmap=True) and load_state_dict(assign=True), on a module on meta."
        )
        yield Proposal(changed, case.judge(replace(made, layout=mapped)))


PROPOSER = _MappedWeights()
