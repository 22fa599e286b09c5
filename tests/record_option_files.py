"""Write the files that each option's own tools make, and record their sizes.

    python -m tests.record_option_files [MODEL ...]

Without a model, all of `tests.option_files.MODELS`; what is recorded already is left as it is. Every weight, bias and
statistic is drawn apart: of constants that are equal, as the zero biases of untrained models are, writers keep one or
none, which no trained model knows.
"""

import copy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from edgebudget.measure import BACKENDS
from edgebudget.measure.models import BuiltModel, build_model
from tests.option_files import MODELS, OPTIONS, OptionFile, read, write

BACKEND_OF = {"pytorch": "pytorch-cpu"}


def with_all_different(built: BuiltModel) -> BuiltModel:
    """Return the model with noise on every floating-point weight; variances stay positive."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, tensor in built.module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator)
                tensor.add_(noise if name.endswith("running_var") else 0.02 * (noise - 0.5))
    return built


def file_nbytes(built: BuiltModel, runtime: str, dtype: str, folder: Path) -> int:
    """Return the size of the file that `runtime` takes for the model under `dtype`."""
    if (runtime, dtype) == ("pytorch", "float16"):
        path = folder / "model.pt"
        torch.save(copy.deepcopy(built.module).half().state_dict(), path)
        return path.stat().st_size
    nbytes = BACKENDS.get(BACKEND_OF.get(runtime, runtime)).prepare(built, dtype, folder).nbytes
    assert nbytes is not None
    return nbytes


def main(models: Sequence[str]) -> None:
    for model, inputs in MODELS:
        known = {(each.runtime, each.dtype) for each in read() if each.model == model}
        if (models and model not in models) or not set(OPTIONS) - known:
            continue
        built = with_all_different(build_model(model, (inputs,)))
        with tempfile.TemporaryDirectory() as folder:
            for runtime, dtype in OPTIONS:
                if (runtime, dtype) in known:
                    continue
                try:
                    nbytes = file_nbytes(built, runtime, dtype, Path(folder))
                except Exception as error:  # a tool that refuses one model must not stop the others
                    print(f"{model:44} {runtime} {dtype}: {type(error).__name__}: {str(error)[:200]}", flush=True)
                    continue
                write((*read(), OptionFile(runtime, dtype, model, inputs, nbytes)))
                print(f"{model:44} {runtime:20} {dtype:18} {nbytes:>12,}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
