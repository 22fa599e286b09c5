"""Storages that are written through views, in groups that no operator joins to others, and what is known of them.

What an operator on such storages becomes depends on all that was done to them before. It is remembered by that: a
second group that comes the same way, in this model or another, is written down without running anything.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from edgebudget.graph import Arg, Op
from edgebudget.tracing.export_modes import Engine, Meta
from edgebudget.tracing.replay import Running
from edgebudget.tracing.templates import Template, keeps_type, retyped, retyped_metas, typed

_MAX_KNOWN = 100_000  # bounds memory in a long-lived process


class _Known:
    """What the last of a group's operators became, and what is known of operators that came after it.

    `single` is the same in float32, where the operators so far became the same but for the type.
    """

    __slots__ = ("after", "single", "template")
    count: ClassVar[int] = 0

    def __init__(self, template: Template, single: "_Known | None" = None) -> None:
        self.template = template
        self.single = single
        self.after: dict[tuple[object, ...], _Known] = {}
        _Known.count += 1


_START = _Known(Template(0, (), (), (), ()))
_START.single = _START


class _Step(NamedTuple):
    """One operator on a group, as `Running.run` takes it; without an operator, a look at one of the tensors."""

    op: Op | None
    args: tuple[Arg, ...]
    kwargs: tuple[tuple[str, Arg], ...]
    metas: tuple[Meta, ...]
    entering: tuple[int, ...]
    staying: tuple[int, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """What sets this step apart from others after the same."""
        target = self.op.target if self.op else ""
        return target, typed(self.args), typed(self.kwargs), *self[3:]


class Group:
    """Tensors that stay, by their positions, and the values of one graph by their numbers in the group's templates."""

    def __init__(self, engine: Callable[[], Engine], graph_name: str, floating_dtype: str) -> None:
        self._engine = engine
        self._graph_name = graph_name
        self._floating = floating_dtype
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
        return self._next(_Step(op, args, kwargs, metas, entering, staying))

    def read(self, position: int) -> Template:
        """Return what reading the tensor in a position becomes."""
        return self._next(_Step(None, (), (), (), (position,), ()))

    def _next(self, step: _Step) -> Template:
        before, key = self._known, step.key
        known = before.after.get(key) if before else None
        if known is None and before is not None and self._running is None:
            known = self._derived(before, step)
        if known is not None and self._running is None:
            template = known.template
        else:
            template = self._run(self._catch_up(), step)
            if known is None and before is not None and _Known.count < _MAX_KNOWN:
                known = before.after[key] = _Known(template)
        self._past.append(step)
        self._known = known
        return template

    def _derived(self, before: _Known, step: _Step) -> _Known | None:
        """Return, and remember, what `step` becomes after `before` by what it became in float32."""
        if before.single is None or (step.op is not None and not keeps_type(step.op)):
            return None
        if "float32" in [meta.dtype for meta in step.metas] or _Known.count >= _MAX_KNOWN:
            return None
        in_float32 = step._replace(metas=retyped_metas(step.metas, self._floating, "float32"))
        single = before.single.after.get(in_float32.key)
        template = retyped(single.template, "float32", self._floating) if single else None
        if template is None:
            return None
        known = before.after[step.key] = _Known(template, single)
        return known

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
