"""Memory over operators, and where each tensor stands: what the interactive figures are drawn from. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from edgebudget.printable import one_line
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout

_LISTED = 12  # tensors alive at the peak; the smaller ones are summed up


@dataclass(frozen=True, slots=True)
class Peak:
    """What is alive where the timeline is highest: the largest tensors, the sum of the others, and the rest of the
    bytes there, which is the operator's own scratch."""

    index: int
    label: str
    nbytes: int
    tensors: tuple[LiveTensor, ...]
    others: int
    others_nbytes: int
    scratch_nbytes: int


def peak_of(layout: MemoryLayout) -> Peak | None:
    """Return the peak of the layout's timeline; None where it has no operators."""
    if not layout.timeline:
        return None
    at = max(range(len(layout.timeline)), key=lambda index: layout.timeline[index][1])
    label, nbytes = layout.timeline[at]
    alive = sorted((t for t in layout.tensors if t.first <= at <= t.last), key=lambda t: -t.nbytes)
    rest = alive[_LISTED:]
    return Peak(
        index=at,
        label=label,
        nbytes=nbytes,
        tensors=tuple(alive[:_LISTED]),
        others=len(rest),
        others_nbytes=sum(t.nbytes for t in rest),
        scratch_nbytes=max(nbytes - sum(t.nbytes for t in alive), 0),
    )


def figure_data(layout: MemoryLayout) -> Mapping[str, object]:
    """Return what the page's script draws a layout from, small: each label once, tensors as lists of numbers.

    `timeline` is [label, bytes] an operator, `tensors` [label, bytes, first, last, offset or null] a tensor; labels are
    positions in `labels`. `arena_bytes` is null where nothing is planned ahead.
    """
    labels: dict[str, int] = {}

    def at(label: str) -> int:
        return labels.setdefault(one_line(label), len(labels))

    timeline = [[at(label), nbytes] for label, nbytes in layout.timeline]
    tensors = [[at(t.name), t.nbytes, t.first, t.last, t.offset] for t in layout.tensors]
    ends = [t.offset + t.nbytes for t in layout.tensors if t.offset is not None]
    return {
        "labels": list(labels),
        "timeline": timeline,
        "tensors": tensors,
        "activation_bytes": layout.activation_bytes,
        "arena_bytes": max(ends, default=None),
    }


def to_script_json(document: object) -> str:
    """Return `document` as JSON that may stand in an HTML script element: nothing in it can end the element."""
    text = json.dumps(document, separators=(",", ":"))  # ASCII only
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
