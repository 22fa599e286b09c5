"""The Chrome trace format, which Perfetto and chrome://tracing open.

As the "Trace Event Format" document has it: complete events (X), counters (C), async events (b, e), metadata (M).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgebudget.runtimes.interface import MemoryLayout

STEP_US = 1000
"""How long an operator lasts in the viewer: positions are what is known, not times, so each gets a millisecond."""

Event = dict[str, object]


@dataclass(frozen=True)
class TraceFormat:
    """A process a layout: its operators, the bytes alive as a counter, and each tensor from its birth to its death."""

    name: str = "trace"
    suffix: str = ".trace.json"

    def render(self, layouts: Mapping[str, MemoryLayout]) -> bytes:
        events = [event for pid, item in enumerate(layouts.items(), 1) for event in _events(pid, *item)]
        about = {"time": f"{STEP_US} us an operator: a position, not a duration", "bytes": "activations alive"}
        document = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": about}
        return json.dumps(document, separators=(",", ":")).encode("ascii")


def _events(pid: int, title: str, layout: MemoryLayout) -> Iterator[Event]:
    yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": title}}
    yield {"ph": "M", "pid": pid, "tid": 1, "name": "thread_name", "args": {"name": "operators"}}
    for index, (label, nbytes) in enumerate(layout.timeline):
        at: Event = {"pid": pid, "tid": 1, "ts": index * STEP_US}
        yield at | {
            "ph": "X", "dur": STEP_US, "name": label, "cat": "operator",
            "args": {"operator": index, "alive_bytes": nbytes},
        }  # fmt: skip
        yield at | {"ph": "C", "name": "bytes alive", "args": {"bytes": nbytes}}
    yield {
        "ph": "C", "pid": pid, "tid": 1, "ts": len(layout.timeline) * STEP_US, "name": "bytes alive",
        "args": {"bytes": 0},
    }  # fmt: skip
    for number, tensor in enumerate(layout.tensors):
        what: Event = {"pid": pid, "tid": 1, "cat": "tensor", "id": f"{pid}.{number}", "name": tensor.name}
        held = {"bytes": tensor.nbytes} | ({} if tensor.offset is None else {"offset_bytes": tensor.offset})
        yield what | {"ph": "b", "ts": tensor.first * STEP_US, "args": held}
        yield what | {"ph": "e", "ts": (tensor.last + 1) * STEP_US}


TIMELINE = TraceFormat()
