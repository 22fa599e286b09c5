"""Worker: `python -m edgebudget.measure.workers.preparation`, which makes artefacts and is not measured itself.

It reads a request a line and answers each with a line, both JSON, until its input ends. Whatever else is printed
meanwhile goes to stderr.
"""

import gc
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from edgebudget.errors import EdgeBudgetError
from edgebudget.measure import BACKENDS
from edgebudget.measure.models import BuiltModel, build_model
from edgebudget.measure.workers.probe import take_stdout


def main(requests: TextIO, answers: TextIO) -> None:
    """Answer every request. The model of the last one is kept: the next is often for another dtype of it."""
    asked: tuple[str, tuple[str, ...]] | None = None
    built: BuiltModel | None = None
    for line in requests:
        request = json.loads(line)
        model = (request["model"], tuple(request["inputs"]))
        try:
            if built is None or model != asked:
                built = None  # two are never held
                built, asked = build_model(*model), model
            backend = BACKENDS.get(request["backend"])
            artefact = backend.prepare(built, request["dtype"], Path(request["folder"]))
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
    # Exporters make graphs by the million small objects: collecting garbage as often as Python does costs a sixth.
    gc.set_threshold(200_000, 20, 100)
    main(sys.stdin, take_stdout())
