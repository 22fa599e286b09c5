"""The file that `torch.save` writes for a state dict: a zip of uncompressed records, each aligned, and a pickle.

The container is exact (caffe2/serialize/inline_container.cc); the pickle's size is an average per tensor, measured with
torch 2.15 and torchao 0.18. Names are those of a file called `model.pt`.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

from edgebudget.dtypes._static import SCALE_NBYTES, ZERO_POINT_NBYTES
from edgebudget.dtypes.interface import Assignment
from edgebudget.graph import Role, TracedGraph, once_per_graph

ALIGNMENT = 64  # .storage_alignment
LOCAL_HEADER_BYTES, CENTRAL_HEADER_BYTES, DESCRIPTOR_BYTES, END_BYTES = 30, 46, 16, 98
PADDING_HEADER_BYTES = 4  # of the extra field that aligns the data
PICKLE_BYTES, PICKLE_TENSOR_BYTES = 110, 54  # of an empty state dict; of a tensor beside its name
PICKLE_MODULE_BYTES = 20  # of a module beside its path: `state_dict()._metadata`
PICKLE_MANY, PICKLE_MANY_TENSOR_BYTES = 26, 82  # beyond so many tensors the pickle's references take 5 bytes, not 2
QUANTIZED_PICKLE_BYTES: Mapping[str, tuple[int, int]] = {
    "int8-weight-only": (340, 317),
    "int8-dynamic": (580, 340),
    "int4-weight-only": (310, 306),
}
"""What a pickle takes for the classes of an option, once, and for each weight beside its name."""


def state_dict_nbytes(graph: TracedGraph, held: Assignment, options: Sequence[str]) -> int:
    """Return the bytes of the file: parameters and persistent buffers, scales and zero points, headers. Pure."""
    quantized = _quantized(graph, held, options)
    if not quantized:
        nbytes = held.total_nbytes
        return _zip_nbytes(_plain_pickle_nbytes(graph), [nbytes[i] for i in _saved(graph)])
    records: list[int] = []
    for i in _saved(graph):
        of = held.held[i]
        if i in quantized:
            pairs = of.quantization_nbytes // (SCALE_NBYTES + ZERO_POINT_NBYTES)
            records += (of.nbytes, pairs * SCALE_NBYTES, pairs * ZERO_POINT_NBYTES)
        else:
            records.append(of.total_nbytes)
    return _zip_nbytes(_pickle_nbytes(graph, quantized), records)


@once_per_graph
def _saved(graph: TracedGraph) -> tuple[int, ...]:
    """Return the storages that the file holds."""
    constant = Role.CONSTANT
    return tuple([s[0] for s in graph.weights if s[3] is not constant and s[7]])


@once_per_graph
def _plain_pickle_nbytes(graph: TracedGraph) -> int:
    return _pickle_nbytes(graph, {})


def _quantized(graph: TracedGraph, held: Assignment, options: Sequence[str]) -> dict[int, str]:
    """Return the option of each storage that holds a quantized weight and nothing else."""
    if QUANTIZED_PICKLE_BYTES.keys().isdisjoint(options):
        return {}
    return {
        graph.tensors[graph.ops[index].inputs[1]].storage: options[index]
        for index in held.covered
        if options[index] in QUANTIZED_PICKLE_BYTES
    }


def _pickle_nbytes(graph: TracedGraph, quantized: Mapping[int, str]) -> int:
    entries = (*graph.parameters.items(), *graph.buffers.items())
    saved = frozenset(_saved(graph))
    if len(saved) < len(graph.weights):
        entries = tuple([(name, of) for name, of in entries if of[0] in saved])
    lengths = [len(name) for name, _ in entries]
    few = min(len(lengths), PICKLE_MANY)
    nbytes = PICKLE_BYTES + sum(map(len, graph.modules)) + PICKLE_MODULE_BYTES * len(graph.modules) + sum(lengths)
    nbytes += few * PICKLE_TENSOR_BYTES + (len(lengths) - few) * PICKLE_MANY_TENSOR_BYTES
    if not quantized:
        return nbytes
    storages = [of[0] for _, of in entries]
    classes = [(at, quantized[storage]) for at, storage in enumerate(storages) if storage in quantized]
    for at, option in classes:
        plain = PICKLE_TENSOR_BYTES if at < PICKLE_MANY else PICKLE_MANY_TENSOR_BYTES
        nbytes += QUANTIZED_PICKLE_BYTES[option][1] - plain
    return nbytes + sum([QUANTIZED_PICKLE_BYTES[option][0] for option in {option for _, option in classes}])


def _zip_nbytes(pickle_nbytes: int, records: Sequence[int]) -> int:
    """Each entry is a header, a name, padding, aligned data and a descriptor; so what one needs of padding follows from
    the size of the one before and its own name. The central directory names all of them again."""
    pickle_name, *names = _name_lengths(len(records))
    before = LOCAL_HEADER_BYTES + PADDING_HEADER_BYTES
    sizes = [pickle_nbytes, 1, 2, 6, *records, 2]  # and 40, which pads no other
    unaligned = before + DESCRIPTOR_BYTES
    padding = [-(size + name + unaligned) & (ALIGNMENT - 1) for size, name in zip(sizes, names, strict=True)]
    entries = sum(sizes) + 40 + sum(padding) + -(pickle_name + before) % ALIGNMENT + 2 * (pickle_name + sum(names))
    return entries + (len(sizes) + 1) * (before + DESCRIPTOR_BYTES + CENTRAL_HEADER_BYTES) + END_BYTES


@lru_cache(maxsize=64)
def _name_lengths(records: int) -> tuple[int, ...]:
    """Return the lengths of the entries' names: of the pickle, 1, 2 and 6 bytes, of `records`, then of 2 and 40."""
    before = ("data.pkl", ".format_version", ".storage_alignment", "byteorder")
    names = (*before, *[f"data/{i}" for i in range(records)], "version", ".data/serialization_id")
    return tuple([len("model/") + len(name) for name in names])
