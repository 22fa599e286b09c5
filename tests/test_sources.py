"""Where models come from: references of every kind, good and bad. No reference allocates weights."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn

from edgebudget.errors import MissingExtraError, ModelError, UnknownNameError
from edgebudget.inputs import InputSpec, parse_input
from edgebudget.sources import SOURCES, load_model
from edgebudget.sources._construct import construct
from edgebudget.tracing import trace
from tests.traces import names

FACTORIES = """
    import sys
    import torch
    from torch import nn
    from sibling import width

    def net():
        return nn.Linear(width, 4)

    def with_tensor():
        return net(), torch.zeros(2, width)

    def with_tuple():
        return nn.Bilinear(8, 3, 4), (torch.zeros(2, 8), torch.zeros(2, 3))

    def with_dict():
        x = torch.zeros(5, 8)
        return nn.MultiheadAttention(8, 2), dict(query=x, key=x, value=x)

    def with_integers():
        return nn.Embedding(10, 4), torch.zeros(2, 3, dtype=torch.int64)

    def with_number():
        return net(), 3

    class Klass(nn.Module):
        def forward(self, x):
            return x.relu()

    class Holder:
        factory = Klass

    instance = net()
    pair = (net(), torch.zeros(2, width))

    def raises():
        raise KeyError("no\\nsuch key")

    def leaves():
        sys.exit("going home")

    def interrupts():
        raise KeyboardInterrupt

    def text():
        return "a model"

    def nothing():
        pass

    def needs(argument):
        return net()

    def prints():
        print("building")
        return net()

    def lists():
        return [net()]

    def reads():
        weight = nn.Parameter(torch.ones(4, 8))
        layer = net()
        layer.weight = weight
        layer.scale = float(layer.weight.sum())
        return layer

    def finds():
        layer = net()
        layer.found = layer.weight.nonzero().shape
        return layer

    def trains():
        return nn.Sequential(net(), nn.Dropout()).train()

    not_a_factory = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "sibling.py").write_text("width = 8\n")
    path = tmp_path / "models.py"
    path.write_text(dedent(FACTORIES))
    return path


# ---- factories


@pytest.mark.parametrize(
    ("factory", "shapes", "keywords"),
    [
        ("with_tensor", [(2, 8)], []),
        ("with_tuple", [(2, 8), (2, 3)], []),
        ("with_dict", [], ["query", "key", "value"]),
        ("with_integers", [(2, 3)], []),
        ("pair", [(2, 8)], []),
    ],
)
def test_factories_with_example_inputs(
    file: Path, factory: str, shapes: list[tuple[int, ...]], keywords: list[str]
) -> None:
    loaded = load_model(f"{file}:{factory}")
    assert [tuple(value.shape) for value in loaded.args] == shapes
    assert list(loaded.kwargs) == keywords
    graph = trace(loaded.module, loaded.args, loaded.kwargs)
    assert len(graph.inputs) == len(shapes) + len(keywords)


@pytest.mark.parametrize(
    "factory", ["net", "Klass", "Holder.factory", "instance", "prints", "reads", "finds", "trains"]
)
def test_factories_without_example_inputs_take_shapes(
    file: Path, factory: str, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_model(f"{file}:{factory}", [parse_input("3x8")])
    assert [tuple(value.shape) for value in loaded.args] == [(3, 8)]
    assert trace(loaded.module, loaded.args).ops
    assert not any(module.training for module in loaded.module.modules())
    assert capsys.readouterr().out == ""
    with pytest.raises(ModelError, match="returns no example inputs") as caught:
        load_model(f"{file}:{factory}")
    assert "--input 1x3x224x224" in caught.value.hint


def test_weights_of_a_factory_are_on_meta(file: Path) -> None:
    assert load_model(f"{file}:with_tensor").module.weight.is_meta
    assert not load_model(f"{file}:reads", [parse_input("1x8")]).module.weight.is_meta  # its constructor reads them


def test_shapes_replace_what_a_factory_returns_and_keep_its_types(file: Path) -> None:
    loaded = load_model(f"{file}:with_integers", [InputSpec((5, 7))])
    assert (tuple(loaded.args[0].shape), loaded.args[0].dtype) == ((5, 7), torch.int64)
    typed = load_model(f"{file}:with_integers", [InputSpec((5, 7), "int32")])
    assert typed.args[0].dtype == torch.int32


def test_batch_sets_the_first_dimension_everywhere(file: Path) -> None:
    assert [tuple(t.shape) for t in load_model(f"{file}:with_tuple", batch=9).args] == [(9, 8), (9, 3)]
    assert {k: tuple(t.shape) for k, t in load_model(f"{file}:with_dict", batch=9).kwargs.items()} == {
        "query": (9, 8),
        "key": (9, 8),
        "value": (9, 8),
    }
    with pytest.raises(ModelError, match="an input without dimensions"):
        load_model(f"{file}:net", [InputSpec(())], batch=2)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("raises", r"raised KeyError: 'no\\nsuch key'"),
        ("leaves", "raised SystemExit: going home"),
        ("text", "returned a str, not a model"),
        ("nothing", "returned a NoneType, not a model"),
        ("lists", "returned a list, not a model"),
        ("not_a_factory", "returned a int, not a model"),
        ("needs", "raised TypeError"),
        ("with_number", "example inputs that .* returns are a int"),
    ],
)
def test_factories_that_fail(file: Path, factory: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(f"{file}:{factory}")
    assert str(file) in caught.value.message
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_interrupting_a_factory_interrupts(file: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_model(f"{file}:interrupts")


def test_unknown_factories_are_answered_with_the_nearest(file: Path) -> None:
    with pytest.raises(UnknownNameError, match="with_tensr") as caught:
        load_model(f"{file}:with_tensr")
    assert "with_tensor" in caught.value.hint


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("/nowhere/models.py:net", "There is no file /nowhere/models.py"),
        ("nowhere.at.all:net", "There is no Python module 'nowhere.at.all'"),
        ("json.nowhere:net", "There is no Python module 'json.nowhere'"),
        ("not a module:net", "There is no Python module 'not a module'"),
        (":net", "is not the name of a Python module"),
        ("..:net", "is not the name of a Python module"),
        ("a-b+c", "is not a model reference"),
        ("", "is not a model reference"),
        ("model.onnx", "is not a model reference"),
    ],
)
def test_references_to_nothing(reference: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        load_model(reference)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def net(:\n", "raised SyntaxError"),
        ("import nowhere_at_all\ndef net(): ...\n", "raised ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("1 / 0\n", "raised ZeroDivisionError"),
        ("raise SystemExit(3)\n", "raised SystemExit: 3"),
    ],
)
def test_files_that_cannot_be_imported(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(ModelError, match=message):
        load_model(f"{path}:net")


def test_a_binary_file_is_no_python(tmp_path: Path) -> None:
    path = tmp_path / "binary.py"
    path.write_bytes(b"\x00\xff\xfe")
    with pytest.raises(ModelError, match="raised"):
        load_model(f"{path}:net")


def test_modules_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "a_package_of_models"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("width = 8\n")
    (package / "nets.py").write_text(
        "from torch import nn, zeros\n"
        "from .parts import width\n"
        "def net():\n"
        "    return nn.Linear(width, 2), zeros(1, width)\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_model("a_package_of_models.nets:net").module.in_features == 8
    assert str(tmp_path) not in sys.path
    with pytest.raises(ModelError, match=r"no Python module 'a_package_of_models\.net'"):
        load_model("a_package_of_models.net:net")


def test_two_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    for width in (3, 5):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "net.py").write_text(f"from torch import nn\ndef net():\n    return nn.Linear({width}, 1)\n")
        assert load_model(f"{folder / 'net.py'}:net", [InputSpec((1, width))]).module.in_features == width


# ---- exported programs


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 4)
        self.register_buffer("offset", torch.ones(4))

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": self.linear(x) * scale + self.offset}


@pytest.fixture(scope="module")
def conv_pt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
    path = tmp_path_factory.mktemp("pt2") / "conv.pt2"
    torch.export.save(torch.export.export(model.eval(), (torch.zeros(1, 3, 8, 8),)), path)
    return path


def test_an_exported_program(conv_pt2: Path) -> None:
    loaded = load_model(str(conv_pt2))
    assert [tuple(value.shape) for value in loaded.args] == [(1, 3, 8, 8)]
    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name)
    assert graph.name == "conv"
    assert [name for name in names(graph) if name in ("conv2d", "batch_norm", "relu", "linear")] == [
        "conv2d",
        "batch_norm",
        "relu",
        "linear",
    ]
    assert graph.parameter_numel == 4 * 27 + 4 + 4 + 4 + 256 * 5 + 5
    assert graph.buffer_numel == 4 + 4 + 1


def test_an_exported_program_with_keywords(tmp_path: Path) -> None:
    path = tmp_path / "scaled.pt2"
    program = torch.export.export(Scaled(), (torch.zeros(2, 8),), {"scale": torch.ones(())})
    torch.export.save(program, path)
    loaded = load_model(str(path))
    assert list(loaded.kwargs) == ["scale"]
    graph = trace(loaded.module, loaded.args, loaded.kwargs)
    assert names(graph) == ["linear", "mul", "add"]
    assert [graph.tensors[t].shape for t in graph.outputs] == [(2, 4)]


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 but cut short"])
def test_a_corrupt_program(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "corrupt.pt2"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"corrupt\.pt2 is not a readable exported program") as caught:
        load_model(str(path))
    assert "torch.export.save" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_program_cut_short(conv_pt2: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.pt2"
    path.write_bytes(conv_pt2.read_bytes()[:-500])
    with pytest.raises(ModelError, match="is not a readable exported program"):
        load_model(str(path))


def test_a_program_with_a_broken_graph(conv_pt2: Path, tmp_path: Path) -> None:
    path = tmp_path / "broken.pt2"
    with zipfile.ZipFile(conv_pt2) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.namelist():
            content = old.read(item)
            new.writestr(item, json.dumps({"nothing": 1}) if item.endswith(("model.json", ".json")) else content)
    with pytest.raises(ModelError, match="is not a readable exported program"):
        load_model(str(path))


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        load_model(str(tmp_path / "absent.pt2"))
    with pytest.raises(ModelError, match="There is no file"):
        load_model(f"{tmp_path}/.pt2")


class Bomb:
    """Unpickling one runs code."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (open, (self.path, "w"))


def test_pickles_in_a_program_are_refused_and_not_run(conv_pt2: Path, tmp_path: Path) -> None:
    import io
    import pickle

    trap = tmp_path / "ran"
    for style in ("torch.save", "pickle"):
        buffer = io.BytesIO()
        if style == "pickle":
            pickle.dump(Bomb(str(trap)), buffer)
        else:
            torch.save({"example": Bomb(str(trap))}, buffer)
        path = tmp_path / "trap.pt2"
        replaced = 0
        with zipfile.ZipFile(conv_pt2) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as new:
            for item in old.namelist():
                is_pickle = item.endswith((".pt", ".pkl")) or ("sample_inputs" in item and not item.endswith(".json"))
                replaced += is_pickle
                new.writestr(item, buffer.getvalue() if is_pickle else old.read(item))
        assert replaced
        with pytest.raises(ModelError, match=r"pickled objects|is not a readable exported program"):
            load_model(str(path))
        assert not trap.exists()
    assert pickle.loads(pickle.dumps(3)) == 3  # the guard is gone afterwards


def test_shapes_for_a_program(conv_pt2: Path) -> None:
    loaded = load_model(str(conv_pt2), [parse_input("1x3x8x8")])
    assert trace(loaded.module, loaded.args).ops


# ---- torchvision and timm


def test_torchvision_names() -> None:
    assert load_model("torchvision:mobilenet_v2").name == "mobilenet_v2"
    for wrong, right in (("mobilenetv2", "mobilenet_v2"), ("resnet_50", "resnet50"), ("vit_b16", "vit_b_16")):
        with pytest.raises(UnknownNameError) as caught:
            load_model(wrong)
        assert right in caught.value.hint
    with pytest.raises(UnknownNameError, match="Unknown model 'xyzzyx'") as caught:
        load_model("xyzzyx")
    assert caught.value.hint.startswith("Known: ")


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("mobilenet_v2", [(1, 3, 224, 224)]),
        ("inception_v3", [(1, 3, 299, 299)]),
        ("efficientnet_b7", [(1, 3, 600, 600)]),
        ("swin_v2_t", [(1, 3, 256, 256)]),
        ("r3d_18", [(1, 3, 16, 112, 112)]),
        ("mvit_v1_b", [(1, 3, 16, 224, 224)]),
        ("lraspp_mobilenet_v3_large", [(1, 3, 520, 520)]),
        ("raft_small", [(1, 3, 520, 960)] * 2),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_torchvision_input_sizes(name: str, shapes: list[tuple[int, ...]]) -> None:
    assert [tuple(value.shape) for value in load_model(name).args] == shapes


def test_detection_inputs_are_a_list_of_images() -> None:
    name = "ssdlite320_mobilenet_v3_large"
    ((image,),) = load_model(name).args
    assert tuple(image.shape) == (3, 320, 320)
    ((given,),) = load_model(name, [parse_input("1x3x100x200")]).args
    assert tuple(given.shape) == (3, 100, 200)


def test_shapes_for_a_torchvision_model() -> None:
    loaded = load_model("mobilenet_v2", [parse_input("2x3x96x96")], batch=4)
    assert [tuple(value.shape) for value in loaded.args] == [(4, 3, 96, 96)]


def test_timm_models() -> None:
    pytest.importorskip("timm")
    loaded = load_model("timm:mobilenetv4_conv_small")
    assert all(parameter.is_meta for parameter in loaded.module.parameters())
    graph = trace(loaded.module, loaded.args)
    assert graph.parameter_numel == 3_774_024  # as timm publishes it
    assert load_model("timm:resnet18", [parse_input("1x3x64x64")]).args[0].shape == (1, 3, 64, 64)
    with pytest.raises(UnknownNameError) as caught:
        load_model("timm:resnet_18")
    assert "resnet18" in caught.value.hint


def test_timm_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgebudget\[timm\]'"):
        load_model("timm:resnet18")


def test_every_reference_is_claimed_by_one_source() -> None:
    for reference in ("mobilenet_v2", "torchvision:resnet18", "a.b:c", "x/y.py:net", "model.pt2", "timm:resnet18"):
        assert len([name for name, source in SOURCES if source.claims(reference)]) == 1


# ---- no weights

MEASURE = """
import sys, torch, torchvision
def peak(reset):
    if reset:
        open("/proc/self/clear_refs", "w").write("5")
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
from edgebudget.sources import load_model
from edgebudget.tracing import trace
from edgebudget.estimation import estimate
def run(factory):
    loaded = load_model(f"{sys.argv[1]}:{factory}")
    graph = trace(loaded.module, loaded.args)
    for dtype in ("float32", "float16", "int8"):
        estimate(graph, dtype=dtype, runtime="pytorch")
    return graph.parameter_numel
run("small")
before = peak(reset=True)
print(run(sys.argv[2]), peak(reset=False) - before)
"""

LARGE = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.up, self.gate = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.scale = nn.Parameter(torch.ones(width))
        self.register_buffer("mask", torch.ones(2048, 2048).tril(), persistent=False)

    def forward(self, x):
        q, k, v = (part(x).unflatten(2, (32, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.o(y) * self.scale
        return x + self.down(nn.functional.silu(self.gate(x)) * self.up(x))

class Model(nn.Module):
    def __init__(self, layers, width, hidden, words):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(Block(width, hidden) for _ in range(layers))
        self.head = nn.Linear(width, words, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

def example():
    return torch.zeros(1, 128, dtype=torch.int64)

def small():
    return Model(1, 64, 128, 100), example()

def one():
    return Model(16, 2048, 5632, 32000), example()

def seven():
    return Model(32, 4096, 11008, 32000), example()
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")
@pytest.mark.parametrize(
    # blocks x (4 w^2 + 3 w h + w) + 2 x words x w
    ("factory", "numel", "limit_mib"),
    [
        ("one", 16 * (4 * 2048**2 + 3 * 2048 * 5632 + 2048) + 2 * 32000 * 2048, 50),
        ("seven", 32 * (4 * 4096**2 + 3 * 4096 * 11008 + 4096) + 2 * 32000 * 4096, 300),
    ],
)
def test_large_models_take_no_memory(tmp_path: Path, factory: str, numel: int, limit_mib: int) -> None:
    path = tmp_path / "large.py"
    path.write_text(LARGE)
    command = [sys.executable, "-c", MEASURE, str(path), factory]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, grown = map(int, done.stdout.split())
    assert found == numel
    assert grown < limit_mib * 2**20


class _ReadsWhatItMakes(torch.nn.Module):
    """Reads small tensors from the factories that its layers are made with, and makes large ones."""

    def __init__(self) -> None:
        super().__init__()
        self.widths = [int(n) for n in torch.ones(3) + torch.zeros((3,)) + torch.tensor(100_000)]
        self.large = torch.nn.Parameter(torch.empty(2**20, dtype=torch.float16))
        self.register_buffer("mask", torch.ones([2048, 2048], device="cpu"))
        self.norm = torch.nn.BatchNorm2d(4)
        self.norm.reset_running_stats()


def test_a_constructor_reads_the_small_tensors_it_makes_and_gives_no_memory_to_the_large() -> None:
    module = construct(_ReadsWhatItMakes)
    assert module.widths == [100_001] * 3
    held = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert all(tensor.is_meta for tensor in held.values())
    assert (held["large"].dtype, held["mask"].shape) == (torch.float16, (2048, 2048))
    assert held["norm.num_batches_tracked"].dtype == torch.int64
    assert torch.empty(2).device.type == torch.tensor(1.0).device.type == "cpu"
