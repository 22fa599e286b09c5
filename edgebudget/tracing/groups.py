"""Storages that are written through views, in groups that no operator joins to others, and what is known of them.

What an operator on such storages becomes depends on all that was done to them before. It is remembered by that: a
second group that comes the same way, in this model or another, is written down without running anything.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from edgebudget.graph import Arg, Op
from edgebudget.tracing.export_modes import Engine, Meta
from edgebudget.tracing.replay import Running
from edgebudget.tracing.templates import Template, typed

_MAX_KNOWN = 100_000  # bounds memory in a long-lived process


class _Known:
    """What the last of a group's operators became, and what is known of operators that came after it."""

    __slots__ = ("after", "template")
    count: ClassVar[int] = 0

    def __init__(self, template: Template) -> None:
        self.template = template
        self.after: dict[tuple[object, ...], _Known] = {}
        _Known.count += 1


_START = _Known(Template(0, (), (), (), ()))


class _Step(NamedTuple):
    """One operator on a group, as `Running.run` takes it; without an operator, a look at one of the tensors."""

    op: Op | None
    args: tuple[Arg, ...]
    kwargs: tuple[tuple[str, Arg], ...]
    metas: tuple[Meta, ...]
    entering: tuple[int, ...]
    staying: tuple[int, ...]


class Group:
    """Tensors that stay, by their positions, and the values of one graph by their numbers in the group's templates."""

    def __init__(self, engine: Callable[[], Engine], graph_name: str) -> None:
        self._engine = engine
        self._graph_name = graph_name
        self._known: _Known | None = _START
        self._past: list[_Step] = []
        self._running: Running | None = None
        self.positions: dict[int, int] = {}  # of the trace's tensors that stay
        self.values: dict[int, int] = {}
        self._staying = 0

    def stay(self, tensor: int) -> None:
        """Give a tensor of the trace the next position."""
        self.positions[tensor] = self._staying
        self._staying += 1

    def run(
        self,
        op: Op,
        args: tuple[Arg, ...],
        kwargs: tuple[tuple[str, Arg], ...],
        metas: tuple[Meta, ...],
        entering: tuple[int, ...],
        staying: tuple[int, ...],
    ) -> Template:
        """Return what `op` becomes; takes and raises what `Running.run` does."""
        key = (op.target, typed(args), typed(kwargs), metas, entering, staying)
        return self._next(key, _Step(op, args, kwargs, metas, entering, staying))

    def read(self, position: int) -> Template:
        """Return what reading the tensor in a position becomes."""
        return self._next((position,), _Step(None, (), (), (), (position,), ()))

    def _next(self, key: tuple[object, ...], step: _Step) -> Template:
        known = self._known.after.get(key) if self._known else None
        if known is not None and self._running is None:
            template = known.template
        else:
            template = self._run(self._catch_up(), step)
            if known is None and self._known is not None and _Known.count < _MAX_KNOWN:
                known = self._known.after[key] = _Known(template)
        self._past.append(step)
        self._known = known
        return template

    def _catch_up(self) -> Running:
        """Return the tensors of this group, after all that was remembered of them was done to them."""
        if self._running is None:
            self._running = Running(self._engine())
            for step in self._past:
                self._run(self._running, step)
        return self._running

    def _run(self, running: Running, step: _Step) -> Template:
        if step.op is None:
            return running.read(step.entering[0])
        return running.run(step.op, self._graph_name, *step[1:])
