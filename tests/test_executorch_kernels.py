"""Which operators ExecuTorch has kernels for: what its library registers, and models that need another."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import edgebudget as eb
from edgebudget.runtimes._executorch_kernels import without_kernel
from edgebudget.runtimes.interface import Unsupported

UNMATCHED = {
    "aten.pow.Scalar",
    "aten.pow.Tensor_Scalar",
    "aten.pow.Tensor_Tensor",
    "aten._native_batch_norm_legit.default",
}
"""Operators whose out variant exir's own conversion does not find, while lowering does."""


def _name(schema: torch.FunctionSchema) -> str:
    overload = f".{schema.overload_name}" if schema.overload_name else ""
    return schema.name.removeprefix("aten::") + overload


def _lowered_to(registered: set[str]) -> Iterator[str]:
    """Yield the operators of ATen whose out variant, or which themselves, are among `registered`."""
    from executorch.exir.operator.convert import to_out_variant

    families = {name.partition(".")[0] for name in registered}
    for schema in _schemas():
        name, overload = schema.name.removeprefix("aten::"), schema.overload_name or "default"
        operator = getattr(getattr(torch.ops.aten, name), overload, None) if name in families else None
        if operator is None or any(argument.is_out for argument in schema.arguments):
            continue
        target = f"aten.{name}.{overload}"
        if _name(schema) in registered or target in UNMATCHED:
            yield target
        elif not schema.is_mutable:
            try:
                out, _ = to_out_variant(operator)
            except Exception:
                continue
            if _name(out._schema) in registered:
                yield target


def test_the_kernels_are_those_that_the_library_registers() -> None:
    bindings = pytest.importorskip("executorch.extension.pybindings.portable_lib")
    registered = {name.removeprefix("aten::") for name in bindings._get_operator_names() if name.startswith("aten::")}
    covered = set(_lowered_to(registered))
    assert len(covered) > 200
    assert without_kernel(covered) == ()
    every = {f"aten.{s.name.removeprefix('aten::')}.{s.overload_name or 'default'}" for s in _schemas()}
    assert every - set(without_kernel(every)) == covered


def _schemas() -> list[torch.FunctionSchema]:
    return [schema for schema in torch._C._jit_get_all_schemas() if schema.name.startswith("aten::")]


@pytest.mark.parametrize("runtime", ["executorch", "executorch-xnnpack"])
def test_a_model_that_needs_another_kernel_is_not_said_to_fit(runtime: str) -> None:
    model = nn.Sequential(nn.Conv3d(1, 4, 3), nn.MaxPool3d(2))
    estimate = eb.estimate(eb.trace(model, (torch.zeros(1, 1, 8, 8, 8),)), dtype="float32", runtime=runtime)
    assert isinstance(estimate.layout, Unsupported)
    assert "no kernel for aten.max_pool3d_with_indices.default" in estimate.layout.reason


def test_what_executorch_does_not_know_by_name_passes() -> None:
    assert without_kernel(["view", "dim_order_ops._to_dim_order_copy.default", "aten.relu.default"]) == ()
    assert without_kernel(["aten.geqrf.default", "aten.geqrf.default"]) == ("aten.geqrf.default",)
