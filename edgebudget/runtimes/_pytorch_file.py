"""The file that `torch.save` writes for a state dict: a zip of uncompressed records, each aligned, and a pickle.

The container is exact (caffe2/serialize/inline_container.cc); the pickle's size is an average per tensor, measured with
torch 2.15 and torchao 0.18. Names are those of a file called `model.pt`.
"""

from collections.abc import Collection, Mapping, Sequence

from edgebudget.dtypes._static import SCALE_NBYTES, ZERO_POINT_NBYTES
from edgebudget.dtypes.interface import Assignment
from edgebudget.graph import Role, TracedGraph
from edgebudget.planning import align

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
    nbytes: dict[int, tuple[int, ...]] = {}  # storage -> its records
    quantized = _quantized(graph, held, options)
    for storage in (s for s in graph.weights if s.role is not Role.CONSTANT and s.persistent):
        of = held.held[storage.id]
        if storage.id in quantized:
            pairs = of.quantization_nbytes // (SCALE_NBYTES + ZERO_POINT_NBYTES)
            nbytes[storage.id] = (of.nbytes, pairs * SCALE_NBYTES, pairs * ZERO_POINT_NBYTES)
        else:
            nbytes[storage.id] = (of.total_nbytes,)
    names = {
        name: [s for s in storages if s in nbytes]
        for entries in (graph.parameters, graph.buffers)
        for name, storages in entries.items()
    }
    kept = {name: storages for name, storages in names.items() if storages}
    records = [size for sizes in nbytes.values() for size in sizes]
    pickled = _pickle_nbytes(kept, {s: quantized[s] for s in nbytes if s in quantized}, graph.modules)
    return _zip_nbytes(pickled, records)


def _quantized(graph: TracedGraph, held: Assignment, options: Sequence[str]) -> dict[int, str]:
    """Return the option of each storage that holds a quantized weight and nothing else."""
    return {
        graph.tensors[graph.ops[index].inputs[1]].storage: options[index]
        for index in held.covered
        if options[index] in QUANTIZED_PICKLE_BYTES
    }


def _pickle_nbytes(names: Mapping[str, Sequence[int]], quantized: Mapping[int, str], modules: Collection[str]) -> int:
    nbytes = PICKLE_BYTES + sum(len(path) + PICKLE_MODULE_BYTES for path in modules)
    nbytes += sum(QUANTIZED_PICKLE_BYTES[option][0] for option in set(quantized.values()))
    for position, (name, storages) in enumerate(names.items()):
        plain = PICKLE_TENSOR_BYTES if position < PICKLE_MANY else PICKLE_MANY_TENSOR_BYTES
        option = quantized.get(storages[0])
        nbytes += len(name) + (plain if option is None else QUANTIZED_PICKLE_BYTES[option][1])
    return nbytes


def _zip_nbytes(pickle_nbytes: int, records: Sequence[int]) -> int:
    entries = [("data.pkl", pickle_nbytes), (".format_version", 1), (".storage_alignment", 2), ("byteorder", 6)]
    entries += [(f"data/{i}", nbytes) for i, nbytes in enumerate(records)]
    entries += [("version", 2), (".data/serialization_id", 40)]
    offset = central = 0
    for name, nbytes in entries:
        length = len("model/") + len(name)
        start = align(offset + LOCAL_HEADER_BYTES + length + PADDING_HEADER_BYTES, ALIGNMENT)
        offset = start + nbytes + DESCRIPTOR_BYTES
        central += CENTRAL_HEADER_BYTES + length
    return offset + central + END_BYTES
