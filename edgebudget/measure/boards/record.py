"""Records the suite on emulated boards: `python -m edgebudget.measure.boards.record FOLDER ARTEFACTS`.

Can be stopped and started again: what FOLDER holds is not measured again, what ARTEFACTS holds not exported again.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from edgebudget.measure.boards.emulated import EmulatedBoard
from edgebudget.measure.boards.machine import Hardware
from edgebudget.measure.campaign import append, measured, recorded
from edgebudget.measure.interface import Failure, Subject
from edgebudget.measure.kept import KeptArtefacts
from edgebudget.measure.suite import SUITE, Entry, data_file

BOARDS = (Hardware("cortex-a72", 2048 << 20), Hardware("cortex-a53", 2048 << 20))
OPTIONS = (
    ("executorch-xnnpack", "float32"),
    ("executorch-xnnpack", "int8"),
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
)
ON_ALL_BOARDS = 10
"""How many models every board runs before the first board runs the others: their heaps show what a core changes."""

FIRST = (
    "mobilenet_v2 squeezenet1_1 lstm_cells gru_cells keyword_cnn lcnet_050 mobilenet_v3_small text_classifier"
    " unet_small super_resolution anomaly_autoencoder mobilenetv2_050 shufflenet_v2_x0_5 mnasnet0_5"
    " mobilenetv4_conv_small resnet18 tinynet_e efficientnet_lite0 mobilevit_xxs lraspp_mobilenet_v3_large"
    " hardcorenas_a mobilenet_v3_large fbnetc_100 deit_tiny_patch16_224 regnet_y_400mf mnasnet1_0 squeezenet1_0"
    " semnasnet_075 gru_sequence lstm_sequence rexnet_100 edgenext_xx_small spnasnet_100 convnextv2_atto"
    " shufflenet_v2_x1_0 efficientnet_b0 mixer_s32_224 resmlp_12_224 regnet_x_800mf resnet34 poolformer_s12 googlenet"
    " efficientformer_l1 gernet_s deeplabv3_mobilenet_v3_large mixnet_s dla34 ghostnet_100 selecsls42b repvgg_a0"
    " levit_128s lstm_cells_long resnet50"
).split()
"""The order on boards: what is quick to emulate first, what is built on and what is judged by in turn."""


def entries() -> tuple[Entry, ...]:
    """Return the entries of the suite that are recorded on boards, in their order."""
    by_name = {entry.model.rpartition(":")[2]: entry for entry in SUITE}
    return tuple(by_name[name] for name in FIRST)


def record(wanted: Sequence[Entry], folder: Path, artefacts: Path) -> Iterator[str]:
    """Measure `wanted` on every board into `folder`/CORE, and yield a line of text after each."""
    with ExitStack() as stack:
        kept = stack.enter_context(KeptArtefacts(artefacts))
        boards = [stack.enter_context(EmulatedBoard(hardware, print)) for hardware in BOARDS]
        for entry in wanted[:ON_ALL_BOARDS]:
            for board in boards:
                yield from _record_one(entry, board, folder, kept)
        for board in boards:
            for entry in wanted[ON_ALL_BOARDS:]:
                yield from _record_one(entry, board, folder, kept)


def _record_one(entry: Entry, board: EmulatedBoard, folder: Path, kept: KeptArtefacts) -> Iterator[str]:
    path = data_file(folder / board.board.core, entry.part)
    known = recorded(path, board.board)
    for backend, dtype in OPTIONS:
        subject = Subject(entry.model, entry.inputs, backend, dtype)
        if subject in known:
            continue
        prepared = kept.prepared(subject)
        result = prepared if isinstance(prepared, Failure) else measured(prepared, board)
        append(path, result)
        said = result.reason if isinstance(result, Failure) else "recorded"
        yield f"{board.board.core} {entry.model} {backend} {dtype}: {said}"


def main(folder: str, artefacts: str) -> None:
    """Record all, a line on stdout each."""
    for line in record(entries(), Path(folder), Path(artefacts)):
        print(line, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
