"""`inspect`: what torchinfo counts, what PyTorch's own counter counts, and the table in every format."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import torchinfo
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from edgebudget.cli import main
from edgebudget.errors import ModelError
from edgebudget.graph import Role
from edgebudget.inspection.formats import FORMATS
from edgebudget.inspection.layers import Inspection, inspect_graph
from edgebudget.inspection.load import inspect_model
from edgebudget.inspection.rows import Selection, select
from edgebudget.inspection.weights import load_weight_counts
from edgebudget.tracing import trace
from edgebudget.tracing.calls import record_calls
from tests import torchinfo_zoo
from tests.test_reporters import NASTY, parsed_html


def inspected(model: nn.Module, args: Sequence[object], name: str = "net") -> Inspection:
    with record_calls(model) as calls:
        graph = trace(model, tuple(args), name=name)
    return inspect_graph(name, graph, calls, ("float32", "float16", "int8"))


# ---- the figures


def test_a_linear_net_has_the_known_figures() -> None:
    net = inspected(nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10)), (torch.zeros(1, 784),))
    assert net.whole.parameter_numel == 203_530
    assert net.whole.flops == 406_528
    small = inspected(nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 2)), (torch.zeros(1, 10),))
    assert small.whole.parameter_numel == 262


def test_one_layer_of_the_simple_cnn_holds_nearly_all() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128 * 56 * 56, 512, device="meta"), nn.ReLU(), nn.Linear(512, 10),
    )  # fmt: skip
    made = inspected(net, (torch.empty(1, 3, 224, 224, device="meta"),))
    assert made.whole.parameter_numel == 205_602_186
    largest = select(made, Selection(sort="parameters"))[0]
    assert (largest.path, round(100 * largest.share, 2)) == ("7", 99.96)


# ---- torchinfo


@pytest.mark.parametrize("example", torchinfo_zoo.SAME, ids=lambda example: example.__name__)
def test_totals_are_torchinfos(example) -> None:
    model, args = example()
    said = torchinfo.summary(model, input_data=list(args), verbose=0)
    made = inspected(model, args)
    totals = made.torchinfo
    assert totals.parameter_numel == said.total_params
    assert totals.trainable_numel == said.trainable_params
    assert totals.multiply_adds == said.total_mult_adds
    assert totals.forward_backward_bytes == said.total_output_bytes
    assert totals.parameter_bytes == said.total_param_bytes
    assert made.whole.parameter_numel == said.total_params
    assert made.whole.parameter_numel == sum(p.numel() for p in model.parameters())
    assert made.whole.trainable_numel == said.trainable_params
    assert not made.notes


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18"])
def test_totals_of_large_models_are_torchinfos(name: str) -> None:
    model = torchvision.models.get_model(name).eval()
    said = torchinfo.summary(model, input_data=[torch.zeros(1, 3, 64, 64)], verbose=0)
    made = inspected(model, (torch.zeros(1, 3, 64, 64),))
    assert made.torchinfo.parameter_numel == made.whole.parameter_numel == said.total_params
    assert made.torchinfo.multiply_adds == said.total_mult_adds
    assert made.torchinfo.forward_backward_bytes == said.total_output_bytes


def test_tied_parameters_count_once_and_the_table_says_why() -> None:
    model, args = torchinfo_zoo.tied()
    said = torchinfo.summary(model, input_data=list(args), verbose=0)
    made = inspected(model, args)
    assert made.torchinfo.parameter_numel == said.total_params == 2 * 160 + 20
    assert made.whole.parameter_numel == 180
    assert made.notes == (
        "torchinfo counts 340 parameters, 160 more: it counts tied parameters in every layer that holds them, here "
        "they count once.",
    )
    assert [layer.shared_numel for layer in made.layers] == [0, 160, 160]


def test_layers_that_are_not_called_are_marked() -> None:
    model, args = torchinfo_zoo.dicts_of_layers()
    made = inspected(model, args)
    never = next(layer for layer in made.layers if layer.path == "never.prelu")
    assert (never.calls, never.parameter_numel, never.outputs) == (0, 1, ())
    assert "\nnot called: never, never.prelu\n" in FORMATS.get("text").render([made], Selection())


def test_pruned_models_are_told_apart() -> None:
    from torch.nn.utils import prune

    layer = nn.Linear(8, 8)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    made = inspected(nn.Sequential(layer), (torch.zeros(1, 8),))
    assert made.whole.parameter_numel == 72
    assert any("pruned" in note for note in made.notes)


# ---- multiply-adds


@pytest.mark.parametrize("name", ["mobilenet_v2", "vit_b_32", "swin_t"])
def test_flops_are_those_of_pytorchs_counter(name: str) -> None:
    model = torchvision.models.get_model(name).eval()
    image = torch.zeros(1, 3, 224, 224)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.to("meta")(image.to("meta"))
    assert inspected(model, (image.to("meta"),)).whole.flops == counter.get_total_flops()


@pytest.mark.parametrize(
    ("model", "args", "count"),
    [
        (nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True), (torch.zeros(2, 5, 8),), 10 * 4 * 16 * 2 * (24 + 48)),
        (nn.GRUCell(4, 8), (torch.zeros(3, 4),), 3 * 24 * (4 + 8)),
        (nn.ConvTranspose2d(4, 6, 2, 2), (torch.zeros(1, 4, 5, 5),), 25 * 4 * 6 * 4),
        (nn.Conv2d(4, 8, 3, groups=4), (torch.zeros(1, 4, 5, 5),), 9 * 8 * 9),
        (nn.Embedding(10, 4), (torch.zeros(1, 3, dtype=torch.int64),), 0),
    ],
)
def test_multiply_adds_of_single_layers(model: nn.Module, args: tuple[object, ...], count: int) -> None:
    made = inspected(model, args)
    assert made.whole.multiply_adds == count
    assert made.not_counted == ()


def test_what_has_no_formula_is_named() -> None:
    made = inspected(nn.Bilinear(3, 4, 5), (torch.zeros(2, 3), torch.zeros(2, 4)))
    assert made.not_counted == ("bilinear",)


# ---- layers and their sum


@pytest.fixture(scope="module")
def net() -> Inspection:
    return inspect_model("mobilenet_v3_small", ("float32", "int8"))


def test_parts_add_up_to_the_model(net: Inspection) -> None:
    for key in ("parameter_numel", "trainable_numel", "buffer_numel", "multiply_adds"):
        assert sum(getattr(part, key) for part in net.parts) == getattr(net.whole, key), key
    for dtype in net.dtypes:
        assert sum(part.weight_bytes[dtype] for part in net.parts) == net.whole.weight_bytes[dtype]
        assert max(part.live_bytes[dtype] for part in net.parts) == net.whole.live_bytes[dtype]
    assert net.whole.weight_bytes["float32"] == 4 * net.whole.parameter_numel + sum(
        storage.nbytes for storage in trace(
            torchvision.models.mobilenet_v3_small(), (torch.empty(1, 3, 224, 224, device="meta"),)
        ).of_role(Role.BUFFER)
    )  # fmt: skip


@pytest.mark.parametrize("depth", [0, 1, 2, 3, None])
@pytest.mark.parametrize("sort", ["parameters", "bytes", "activations", "multiply-adds", "name"])
def test_sorted_layers_add_up_and_descend(net: Inspection, sort: str, depth: int | None) -> None:
    rows = select(net, Selection(sort, depth))
    assert sum(row.parameter_numel for row in rows) == net.whole.parameter_numel
    assert sum(row.multiply_adds for row in rows) == net.whole.multiply_adds
    if sort == "parameters":
        assert [row.parameter_numel for row in rows] == sorted((r.parameter_numel for r in rows), reverse=True)


def test_min_share_keeps_what_is_large_in_either(net: Inspection) -> None:
    rows = select(net, Selection("parameters", None, 5.0))
    assert rows
    for row in rows:
        assert max(row.share, row.multiply_adds / net.whole.multiply_adds) >= 0.05
    assert len(rows) < len(select(net, Selection("parameters")))


# ---- formats


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_format_has_the_totals(net: Inspection, name: str) -> None:
    form = FORMATS.get(name)
    text = form.render([net, net], Selection())
    assert text == form.render([net, net], Selection())
    assert text.endswith("\n")
    numbers = (net.whole.parameter_numel, net.whole.multiply_adds, net.whole.weight_bytes["float32"])
    plain = text.replace(",", "")
    for number in numbers[: 1 if name == "text" else 3]:
        assert str(number) in plain


def test_csv_and_json_carry_the_same_rows(net: Inspection) -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS.get("csv").render([net], Selection()))))
    layers = json.loads(FORMATS.get("json").render([net], Selection()))["models"][0]["layers"]
    assert len(rows) == len(layers) == len(net.layers)
    for row, layer in zip(rows, layers, strict=True):
        for key, value in layer.items():
            assert row[key] == ("" if value is None else str(value))


@pytest.mark.parametrize("name", NASTY)
def test_names_do_no_harm(name: str) -> None:
    layer_name = name.replace(".", "_")
    model = nn.Module()
    model.add_module(layer_name, nn.Linear(2, 2))
    model.forward = lambda x: model._modules[layer_name](x)  # type: ignore[union-attr, method-assign, assignment]
    made = inspected(model, (torch.zeros(1, 2),), name)
    plain = inspected(nn.Sequential(nn.Linear(2, 2)), (torch.zeros(1, 2),), "plain")
    for row in csv.DictReader(io.StringIO(FORMATS.get("csv").render([made], Selection()), newline="")):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
    html = FORMATS.get("html").render([made], Selection())
    assert parsed_html(html).tags == parsed_html(FORMATS.get("html").render([plain], Selection())).tags
    lines = FORMATS.get("md").render([made], Selection()).splitlines()
    assert len(lines) == len(FORMATS.get("md").render([plain], Selection()).splitlines())
    assert "<" not in "".join(lines)
    text = FORMATS.get("text").render([made], Selection())
    assert not any(ord(char) < 32 and char != "\n" for char in text)
    assert json.loads(FORMATS.get("json").render([made], Selection()))["models"][0]["model"] == name


def test_text_fits_the_terminal(net: Inspection, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in ("80", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        lines = FORMATS.get("text").render([net], Selection()).splitlines()
        assert max(map(len, lines)) <= int(columns)
        assert ("int8" in lines[2]) == (columns == "120")


# ---- real weights


def half_zero(path: Path, kind: str) -> Path:
    model = torchvision.models.squeezenet1_1()
    state = model.state_dict()
    state["classifier.1.weight"].zero_()
    state["classifier.1.bias"].fill_(1)
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path / "state.safetensors")
        return path / "state.safetensors"
    torch.save({"state_dict": state} if kind == "wrapped" else state, path / "state.pt")
    return path / "state.pt"


@pytest.mark.parametrize("kind", ["plain", "wrapped", "safetensors"])
def test_zeros_are_counted_in_real_weights(tmp_path: Path, kind: str) -> None:
    made = inspect_model("squeezenet1_1", ("float32",), weights=half_zero(tmp_path, kind))
    layer = next(part for part in made.parts if part.path == "classifier.1")
    assert layer.zero_numel == 512_000
    assert layer.sparsity == pytest.approx(512_000 / 513_000)
    assert made.whole.zero_numel is not None
    assert made.whole.zero_numel >= 512_000
    assert "99.81%" in FORMATS.get("md").render([made], Selection())


class Danger:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("open('/tmp/edgebudget-was-executed', 'w')",)


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    import pickle

    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps(Danger()))
    with pytest.raises(ModelError, match=r"cannot be read as weights only"):
        load_weight_counts(path)
    assert not Path("/tmp/edgebudget-was-executed").exists()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"classifier.1.weight": torch.zeros(3)}, "has 3 elements, in squeezenet1_1 it has 512,000"),
        ({"other": torch.zeros(3)}, "shares no name with squeezenet1_1"),
        ({"epoch": 3}, "holds no state dict"),
        ([1, 2], "holds no state dict"),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, state: object, said: str) -> None:
    torch.save(state, tmp_path / "state.pt")
    with pytest.raises(ModelError, match=re.escape(said)):
        inspect_model("squeezenet1_1", ("float32",), weights=tmp_path / "state.pt")


# ---- the command


def test_the_command_writes_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["inspect", "squeezenet1_1", "--format", "csv,json,md,html", "--out", str(tmp_path), "-q"]
    assert main(arguments) == 0
    assert capfd.readouterr().out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"inspect-squeezenet1_1{suffix}" for suffix in (".csv", ".html", ".json", ".md")
    ]


def test_a_model_that_fails_does_not_take_the_others(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "squeezenet1_1", "nothing_of_that_name", "--depth", "1"]) == 2
    out, err = capfd.readouterr()
    assert "1,235,496" in out
    assert "nothing_of_that_name" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["squeezenet1_1", "--sort", "parametres"], "Did you mean parameters"),
        (["squeezenet1_1", "--min-share", "200"], "--min-share"),
        (["squeezenet1_1", "--format", "csv,json"], "stdout takes one format"),
        (["squeezenet1_1", "--format", "xml"], "Unknown format 'xml'"),
        (["squeezenet1_1", "--weights", "missing.pt"], "There is no file missing.pt"),
        (["a", "b", "--weights", "missing.pt"], "--weights belongs to one model"),
        (["squeezenet1_1", "--dtype", "flot32"], "Unknown dtype"),
        (["nothing_of_that_name"], "Unknown model"),
    ],
)
def test_wrong_usage_gets_one_sentence(arguments: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_help_needs_no_torch() -> None:
    code = "import sys\nfrom edgebudget.cli import main\nmain(['inspect', '--help'])\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
