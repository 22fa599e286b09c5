"""ExecuTorch's greedy planner: buckets that never grow, made by the largest buffer that needed one."""

from bisect import insort
from collections.abc import Sequence

from edgebudget.planning.interface import ArenaPlan, Buffer
from edgebudget.planning.lifetimes import align


class _Bucket:
    """A part of the arena as large as the buffer it was made for, and who lies in it when."""

    __slots__ = ("busy", "nbytes", "occupants", "offset")

    def __init__(self, offset: int, nbytes: int) -> None:
        self.offset = offset
        self.nbytes = nbytes
        self.busy = 0  # bit i: somebody is there at operator i
        self.occupants: list[tuple[int, int]] = []  # (end inside the bucket, operators as bits), ascending

    def place(self, moments: int, start: int, size: int) -> int:
        self.busy |= moments
        insort(self.occupants, (start + size, moments))
        return self.offset + start


def executorch_greedy(buffers: Sequence[Buffer], alignment: int = 16) -> ArenaPlan:
    """Return the plan of executorch/exir/memory_planning.py, `greedy`, for `buffers` in the order it meets them.

    Largest first, and among equals the one met last. Each goes to the start of the first bucket where nobody is alive
    with it; else above all who are alive with it in the first bucket that has the room; else into a bucket of its own.
    The arena is the sum of the buckets. `alignment` is 16 unless a program was lowered with another.
    """
    sizes = [align(buffer.nbytes, alignment) for buffer in buffers]
    order = sorted(range(len(buffers)), key=lambda i: (-sizes[i], -i))
    offsets = [0] * len(buffers)
    buckets: list[_Bucket] = []
    total = 0
    origin = min((buffer.first for buffer in buffers), default=0)
    for i in order:
        _, _, first, last = buffers[i]
        size = sizes[i]
        moments = (1 << (last + 1 - origin)) - (1 << (first - origin))
        for bucket in buckets:
            if not bucket.busy & moments:
                offsets[i] = bucket.place(moments, 0, size)
                break
        else:
            for bucket in buckets:
                if bucket.nbytes <= size:
                    continue
                start = next((end for end, alive in reversed(bucket.occupants) if alive & moments), 0)
                if 0 < start <= bucket.nbytes - size:
                    offsets[i] = bucket.place(moments, start, size)
                    break
            else:
                buckets.append(_Bucket(total, size))
                offsets[i] = buckets[-1].place(moments, 0, size)
                total += size
    return ArenaPlan(tuple(buffers), tuple(offsets), total)
