"""Worker: `python -m edgebudget.measure.cuda.worker DEVICE`, which uses the GPU and is asked for model after model.

It says who it is in its first line, then reads a request a line and answers each with a line, all JSON, until its input
ends. Whatever else is printed meanwhile goes to stderr.
"""

import json
import sys
from typing import TextIO

import torch

from edgebudget.errors import EdgeBudgetError
from edgebudget.measure.cuda.device import CudaDevice, Device
from edgebudget.measure.cuda.one import Models, measure_one
from edgebudget.measure.cuda.records import BACKEND, to_json_line
from edgebudget.measure.interface import Subject
from edgebudget.measure.workers.probe import take_stdout

# After these the context is of no more use: every later call fails with the same words.
_BROKEN = ("CUDA error", "device-side assert", "illegal memory access", "CUBLAS_STATUS", "CUDNN_STATUS")


def main(device: Device, requests: TextIO, answers: TextIO) -> None:
    """Answer every request, until the device is broken."""
    _say(answers, {"gpu": device.provenance(0).gpu})
    models = Models()
    measured = 0
    for line in requests:
        request = json.loads(line)
        subject = Subject(request["model"], tuple(request["inputs"]), BACKEND, request["dtype"])
        try:
            measurement = measure_one(device, models, subject, measured)
        except torch.OutOfMemoryError as error:
            _say(answers, {"reason": f"Out of memory on the GPU: {_first_line(error)}"})
            continue
        except EdgeBudgetError as error:
            _say(answers, {"reason": str(error)})
            continue
        except Exception as error:  # a model raises whatever it likes; the reason goes into the list
            reason = {"reason": f"{type(error).__name__}: {_first_line(error)}"}
            if any(words in str(error) for words in _BROKEN):
                _say(answers, {**reason, "ends": "yes"})
                return
            _say(answers, reason)
            continue
        measured += 1
        answers.write(to_json_line(measurement) + "\n")
        answers.flush()


def _say(answers: TextIO, what: dict[str, str]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")[:300]


if __name__ == "__main__":
    own = take_stdout()
    try:
        gpu = CudaDevice(sys.argv[1])
    except EdgeBudgetError as refused:
        _say(own, {"refused": refused.message, "hint": refused.hint})
    else:
        main(gpu, sys.stdin, own)
