"""Worker: `python -m edgebudget.measure.workers.preparation`, which makes artefacts and is not measured itself.

It reads a request as JSON on its input and writes an answer a line, flushed whole, to a file in the request's folder: a
crash takes the artefact in hand with it, and none of those before.
"""

import contextlib
import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path

from edgebudget.errors import EdgeBudgetError
from edgebudget.measure import BACKENDS
from edgebudget.measure.interface import Subject
from edgebudget.measure.models import BuiltModel, build_model
from edgebudget.measure.preparation import ANSWERS


def _main() -> None:
    request = json.load(sys.stdin)
    folder = Path(request["folder"])
    # Exporters make graphs by the million small objects: collecting garbage as often as Python does costs a sixth.
    gc.set_threshold(200_000, 20, 100)
    subjects = [Subject(**{**fields, "inputs": tuple(fields["inputs"])}) for fields in request["subjects"]]
    with (folder / ANSWERS).open("w") as answers, contextlib.redirect_stdout(sys.stderr):
        built: BuiltModel | None = None
        for subject in subjects:
            try:
                built = built or build_model(subject.model, subject.inputs)
                artefact = BACKENDS.get(subject.backend).prepare(built, subject.dtype, folder)
                answer: dict[str, object] = {"artefact": asdict(artefact), "parameter_numel": built.parameter_numel}
            except EdgeBudgetError as error:
                answer = {"reason": str(error)}
            except Exception as error:  # exporters raise whatever they like; the reason goes into the list
                answer = {"reason": _reason(error)}
            answers.write(json.dumps(answer, default=str) + "\n")
            answers.flush()


def _reason(error: BaseException) -> str:
    while error.__cause__ is not None:  # an exporter wraps what the model raised in advice about itself
        error = error.__cause__
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {first[:300]}"


if __name__ == "__main__":
    _main()
