"""torchao's `quantize_` as each dtype option means it, on the CPU."""

import torch
from torch import nn

from edgebudget.dtypes.int4_weight_only import GROUP_NUMEL
from edgebudget.errors import MissingExtraError


def quantize(module: nn.Module, dtype: str) -> str:
    """Quantize the linear layers of `module` in place, and return with what; raises MissingExtraError."""
    try:
        from torchao.quantization import (
            Int8DynamicActivationInt8WeightConfig,
            Int8WeightOnlyConfig,
            IntxWeightOnlyConfig,
            quantize_,
        )
        from torchao.quantization.granularity import PerGroup
    except ImportError as missing:
        raise MissingExtraError("torchao", "torchao", f"Quantizing to {dtype}") from missing

    # Int4WeightOnlyConfig packs for accelerators only: in torchao 0.18 none of its formats can be made on a CPU.
    config = {
        "int8-dynamic": Int8DynamicActivationInt8WeightConfig(set_inductor_config=False),
        "int8-weight-only": Int8WeightOnlyConfig(set_inductor_config=False),
        "int4-weight-only": IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(GROUP_NUMEL)),  # type: ignore[attr-defined]
    }[dtype]
    multiple = GROUP_NUMEL if dtype == "int4-weight-only" else 1
    quantize_(module, config, lambda m, _: isinstance(m, nn.Linear) and m.in_features % multiple == 0)
    return f"torchao {type(config).__name__}"
