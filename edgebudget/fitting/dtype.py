"""Another dtype option in the same runtime."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgebudget.dtypes import DTYPES
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.verdict import Decision

GENTLE = ("float16", "bfloat16", "int8-weight-only", "int8-dynamic", "int8", "int4-weight-only")
"""Options in the order in which they change what a model answers; those that are not listed come last."""


@dataclass(frozen=True, slots=True)
class _Dtype:
    effort: int = 1

    def propose(self, case: Case) -> Iterator[Proposal]:
        """Yield every other option that this runtime has on this device."""
        others = [name for name in DTYPES.names() if name not in (case.dtype, "float32")]
        for name in sorted(others, key=lambda n: (GENTLE.index(n) if n in GENTLE else len(GENTLE), n)):
            changed = replace(case, dtype=name).with_change("dtype", f"Convert to {name}.")
            result = changed.check()
            if result.decision is not Decision.UNSUPPORTED:
                yield Proposal(changed, result)


PROPOSER = _Dtype()
