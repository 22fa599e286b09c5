"""What a shell offers while a command is typed, and at what cost."""

import os
import subprocess
import sys

import pytest

from edgebudget.cli import completion
from edgebudget.dtypes import DTYPES

HEAVY = ("torch", "torchvision", "timm", "pandas", "jsonschema", "numpy")


def offered(line: str) -> list[str]:
    """Complete `line` as bash does, in a fresh process."""
    words = line.split(" ")
    environment = os.environ | {
        "_EDGEBUDGET_COMPLETE": "complete_bash",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    code = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        "from edgebudget.cli import main\nsys.exit(main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == "[]\n"
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("edgebudget che", {"check"}),
        ("edgebudget check mobilenet_v3", {"mobilenet_v3_small", "mobilenet_v3_large"}),
        ("edgebudget check --device raspberrypi-zero", {"raspberrypi-zero-2-w"}),
        ("edgebudget check --dtype float32,int8-", {"float32,int8-dynamic", "float32,int8-weight-only"}),
        ("edgebudget compare --runtime onn", {"onnxruntime"}),
        ("edgebudget check --format json,g", {"json,github"}),
        ("edgebudget devices show raspberrypi-5-1", {"raspberrypi-5-16gb"}),
    ],
)
def test_names_are_offered_without_importing_what_they_name(line: str, some: set[str]) -> None:
    assert set(offered(line)) == some


def test_models_are_all_that_can_be_named() -> None:
    from torchvision.models import list_models

    known = {name for name in list_models() if not name.startswith("quantized_")}
    assert set(completion.models("")) == known


def test_timm_models_are_offered_once_their_kind_is_written() -> None:
    timm = pytest.importorskip("timm")
    assert {name.removeprefix("timm:") for name in completion.models("timm:")} == set(timm.list_models())


def test_a_list_offers_what_it_has_not() -> None:
    assert completion.dtypes("") == DTYPES.names()
    assert "int8,int8" not in completion.dtypes("int8,")
    assert completion.dtypes("int8,float3") == ["int8,float32"]
    assert completion.devices("all") == ["all"]
    assert completion.runtimes("nothing") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_names_the_program(shell: str) -> None:
    environment = os.environ | {"_EDGEBUDGET_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "edgebudget"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "_EDGEBUDGET_COMPLETE" in done.stdout
    assert "edgebudget" in done.stdout
