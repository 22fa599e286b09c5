"""`edgebudget measure --backend cuda`: the models on a GPU, one process for all of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgebudget.cli.output import print_result
from edgebudget.errors import UsageError

if TYPE_CHECKING:
    from edgebudget.measure.cuda.campaign import Result
    from edgebudget.measure.interface import Subject


def is_gpu(backend: str) -> bool:
    """Whether `backend` names a GPU: `cuda`, `cuda:1`."""
    return backend.partition(":")[0] == "cuda"


def measure_on_gpu(
    models: Sequence[str], device: str, dtypes: Sequence[str], inputs: Sequence[str], out: str, quiet: bool
) -> int:
    """Measure as `edgebudget measure` does, into a file or onto stdout; return the exit code."""
    from edgebudget.measure.cuda import campaign
    from edgebudget.measure.cuda.records import CudaMeasurement, to_json_line
    from edgebudget.measure.cuda.telling import told

    failed = 0

    def tell(result: "Result") -> None:
        nonlocal failed
        if not isinstance(result, CudaMeasurement):
            failed += 1
        if not quiet or not isinstance(result, CudaMeasurement):
            typer.echo(told(result), err=True)

    subjects = _subjects(models, dtypes, inputs)
    if out == "-":
        for result in campaign.measure(subjects, device):
            tell(result)
            if isinstance(result, CudaMeasurement):
                print_result(to_json_line(result) + "\n")
    else:
        campaign.measure_to_file(subjects, device, Path(out), tell)
    return 2 if failed else 0


def _subjects(models: Sequence[str], dtypes: Sequence[str], inputs: Sequence[str]) -> "tuple[Subject, ...]":
    from edgebudget.measure.cuda.records import BACKEND
    from edgebudget.measure.cuda.suite import DTYPES
    from edgebudget.measure.interface import Subject
    from edgebudget.measure.models import input_shapes

    wrong = next((dtype for dtype in dtypes if dtype not in DTYPES), None)
    if wrong is not None:
        raise UsageError(f"The backend 'cuda' does not make {wrong!r}.", f"It makes {', '.join(DTYPES)}.")
    return tuple(
        Subject(model, shapes, BACKEND, dtype)
        for model in models
        for shapes in [input_shapes(model, inputs)]
        for dtype in dtypes or DTYPES
    )
