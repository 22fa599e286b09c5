"""What a worker reads about its own process. Imports nothing that could be taken for the model's memory."""

import ctypes
import os
import sys
from pathlib import Path
from typing import TextIO

_FIELDS = ("live_bytes", "peak_bytes", "live_blocks", "mapped_live_bytes", "mapped_peak_bytes")
_STATUS = {"peak_bytes": "VmHWM:", "anonymous_bytes": "RssAnon:", "file_bytes": "RssFile:"}

PhaseJson = dict[str, dict[str, int]]


def take_stdout() -> TextIO:
    """Return this process's stdout, for the result alone: whatever else is printed from now on goes to stderr."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return own


class _Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in _FIELDS]


class Probe:
    """Both counts of this process. Raises RuntimeError when the allocation counter is not loaded."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        if not hasattr(self._library, "edgebudget_heap_read"):
            raise RuntimeError("the allocation counter is not loaded; start this process with LD_PRELOAD")
        self._heap = _Heap()

    def reset_peaks(self) -> None:
        """Start a phase: the peaks begin at what is there now."""
        self._library.edgebudget_heap_reset_peaks()
        Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> PhaseJson:
        """Return the counts as they stand, in the shape of `Phase`."""
        self._library.edgebudget_heap_read(ctypes.byref(self._heap))
        heap = {name: int(getattr(self._heap, name)) for name in _FIELDS}
        status = Path("/proc/self/status").read_text().split()
        return {
            "heap": heap,
            "process": {name: int(status[status.index(label) + 1]) * 1024 for name, label in _STATUS.items()},
        }
