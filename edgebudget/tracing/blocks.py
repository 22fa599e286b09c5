"""Blocks: modules of torchvision, whose forwards follow from their attributes, children, weights and inputs alone.

A block runs as it is the first time that one of its makeup is met on inputs of these forms. From then on it is written
down without running anything. A residual network is mostly the same few blocks again and again.
"""

from collections.abc import Sequence

import torch
from torch import nn

from edgebudget.graph import Ref
from edgebudget.tracing.recorder import Promise, Recorder
from edgebudget.tracing.routines import Mark, Recording, Routine, learn, play, record
from edgebudget.tracing.rules import PLAIN, RAN, Learned
from edgebudget.tracing.standing import STANDING, Own, StandInsOf, look

_PACKAGES = ("torchvision.models.", "torchvision.ops.")  # and not its transforms, some of which toss a coin

_infers = torch.is_inference_mode_enabled

_MOST_OPS = 100_000
"""Bounds memory in a sweep over image sizes, each of which makes routines of its own; all of torchvision at one size
records 43,000 operators, 28 MB."""


class _Routines(Learned[Routine | Recording | None]):
    """By makeup and what a block is called with: a recording until it is met again. None: it has to run."""

    ops = 0  # of all recordings

    def record(self, key: tuple[object, ...], recording: Recording | None) -> None:
        """Remember `recording`; where that would be too many operators, forget all others."""
        recorded = len(recording.ops) if recording else 0
        if not self or self.ops + recorded > _MOST_OPS:
            self.clear()
            self.ops = 0
        self.ops += recorded
        self[key] = recording


_ROUTINES = _Routines()


def is_block(kind: type[nn.Module]) -> bool:
    """Whether a forward of `kind` can be relied on to depend on what its instances are made of and nothing else."""
    return kind.__module__.startswith(_PACKAGES)


def play_on(own: Own, signature: int, ref: Ref) -> int | Promise | None:
    """Write down what a block does with one tensor, as `play`; None where it has to run."""
    routine = _routine((own.makeup, signature))
    return None if routine is None else play(routine, own, (ref,))


def _routine(key: tuple[object, ...]) -> Routine | None:
    found = _ROUTINES.get(key)
    if isinstance(found, Recording):
        found = _ROUTINES[key] = learn(found)
    return found


def _call(module: nn.Module, *args: object, **kwargs: object) -> object:
    own = STANDING.get(id(module))
    if own is None or kwargs or not _infers():
        return look(module)(*args, **kwargs)
    key: list[object] = [own.makeup]
    given: list[torch.Tensor] = []
    refs: list[Ref] = []
    if not _read(own.recorder, args, key, given, refs):
        return look(module)(*args)
    known = tuple(key)
    routine = _routine(known)
    if routine is None:
        return _run(own, module, args, known, refs)
    played = play(routine, own, refs)
    return given[played] if isinstance(played, int) else own.recorder.made(played)


def _read(
    recorder: Recorder, args: Sequence[object], key: list[object], given: list[torch.Tensor], refs: list[Ref]
) -> bool:
    """Add to `key` what stands for `args`, and to `given` and `refs` the tensors among them, in lists too.

    Returns False where one of them is anything else, a real tensor, or one that the recorder never met.
    """
    for arg in args:
        if isinstance(arg, torch.Tensor):
            tag = recorder.replayable_tag(arg)
            if tag is None:
                return False
            key.append(tag[2])
            given.append(arg)
            refs.append(tag[3])
        elif arg.__class__ in PLAIN:
            key += (arg, arg.__class__)
        elif arg.__class__ is list or arg.__class__ is tuple:
            key.append(arg.__class__)
            if not _read(recorder, arg, key, given, refs):
                return False
            key.append(None)
        else:
            return False
    return True


def _run(own: Own, module: nn.Module, args: Sequence[object], key: tuple[object, ...], refs: Sequence[Ref]) -> object:
    """Run a block as it is, and remember what it wrote down."""
    mark, ran = Mark.of(own.recorder), len(RAN)
    out = look(module)(*args)
    if len(RAN) == ran and key not in _ROUTINES:
        _ROUTINES.record(key, record(own, refs, mark, out))
    return out


block_stand_in = StandInsOf(_call)
"""The class that stands in for a block's."""
