"""The process that estimates: `python -m edgebudget.sweeping.worker [MEMORY_LIMIT_BYTES]`.

Reads pickled requests from stdin, which only its own supervisor writes, and answers each with a line of JSON. A model
may do to this process what it likes: it loops, it dies, it eats memory, and its supervisor makes a row of that.
"""

import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import BinaryIO

IDLE_SECONDS = 120
GRACE_SECONDS = 30  # beyond the supervisor's own deadline: for when there is no supervisor any more


def main(memory_limit_bytes: int | None) -> None:
    """Serve until stdin ends; a process that is left alone, or hangs, is ended by its own alarm clock."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a model prints is not an answer
    # Listing a zoo and the trace import what every model needs, before the clock and the limit are set for one.
    from edgebudget.sources import expand_models
    from edgebudget.sweeping.work import work
    from edgebudget.tracing import trace  # noqa: F401

    expand_models(["torchvision:resnet1?"])
    if memory_limit_bytes is not None:
        limit_memory(memory_limit_bytes)
    print("ready", file=answers, flush=True)
    for message in _messages():
        unit, request, timeout_seconds = pickle.loads(message)
        signal.alarm(int(timeout_seconds) + GRACE_SECONDS)
        rows = [list(row) for row in work(unit, request).rows]
        print(json.dumps(rows), file=answers, flush=True)
        signal.alarm(IDLE_SECONDS)


def limit_memory(nbytes: int) -> None:
    """Let this process allocate `nbytes` more than it has now; what goes beyond fails with MemoryError."""
    import resource

    with open("/proc/self/status", encoding="ascii") as file:
        now = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (now + nbytes, now + nbytes))


def _messages() -> Iterator[bytes]:
    """Yield what stdin brings; end the process as soon as stdin ends, even in the middle of a model."""
    queue: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, queue), daemon=True).start()
    while True:
        yield queue.get()


def _read(stream: BinaryIO, queue: "SimpleQueue[bytes]") -> None:
    while len(size := stream.read(8)) == 8:
        queue.put(stream.read(int.from_bytes(size, "little")))
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else None)
