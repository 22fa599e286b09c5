"""What malloc keeps of what eager PyTorch frees while it runs: pages that the process holds beside what is live.

glibc maps large blocks and gives their pages back at once, but each one of up to 32 MiB that is freed raises the size
from which it does: from the next run on such blocks come from the heap, whose top is given back only beyond twice that
size. A model whose peak is a still larger block holds both. Seen in a process: selecsls42b's peak is 26 MB lower with
MALLOC_MMAP_THRESHOLD_ set, which keeps the size where it is.
"""

from collections.abc import Iterator, Sequence

from edgebudget.graph import TracedGraph
from edgebudget.runtimes._glibc import Block, Heap, JoiningHeap

ALIGNED_BYTES = 64  # c10::gAlignment (c10/core/alignment.h)
IDLE_MAPPED_FROM_BYTES = 1_925_120
"""From which size malloc maps blocks in an idle process: the import of torch freed one as large (1,922,416 bytes), the
largest of its trace of malloc."""

RUNS = 2  # the second is what all later ones are


def kept_nbytes(graph: TracedGraph, nbytes: Sequence[int], scratch: Sequence[int]) -> Iterator[int]:
    """Yield the pages that are resident at their peak over several runs, less what is live at its own.

    `nbytes` is by storage, `scratch` by operator: each is one block, from before the operator's results to after them.
    """
    opened: dict[int, list[int]] = {}
    closed: dict[int, list[int]] = {}
    heap = JoiningHeap(IDLE_MAPPED_FROM_BYTES)  # the import of torch has filled the caches
    for storage in graph.activations:
        size = nbytes[storage.id]
        if storage.born < 0:
            heap.malloc(size, ALIGNED_BYTES)  # an input: the caller's
        elif size:
            opened.setdefault(storage.born, []).append(storage.id)
            closed.setdefault(storage.dies, []).append(storage.id)
    for _ in range(RUNS):
        _run(heap, opened, closed, nbytes, scratch, len(graph.ops))
    yield max(heap.peak_resident_nbytes - heap.peak_live_nbytes, 0)


def _run(
    heap: Heap,
    opened: dict[int, list[int]],
    closed: dict[int, list[int]],
    nbytes: Sequence[int],
    scratch: Sequence[int],
    steps: int,
) -> None:
    live: dict[int, Block] = {}
    for step in range(steps):
        passing = heap.malloc(scratch[step], ALIGNED_BYTES) if scratch and scratch[step] else None
        for storage in opened.get(step, ()):
            live[storage] = heap.malloc(nbytes[storage], ALIGNED_BYTES)
        if passing is not None:
            heap.free(passing)
        for storage in closed.get(step, ()):
            heap.free(live.pop(storage))
    for block in live.values():  # the caller drops the results before it asks for the next
        heap.free(block)
