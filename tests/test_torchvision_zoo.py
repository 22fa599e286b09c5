"""Every model of torchvision: all trace but the quantizable variants; detection up to what depends on data."""

import re

import pytest
import torchvision.models as zoo

from edgebudget.errors import ModelError
from edgebudget.estimation import estimate
from edgebudget.sources import load_model
from edgebudget.tracing import trace

DETECTION = zoo.list_models(module=zoo.detection)
QUANTIZED = zoo.list_models(module=zoo.quantization)
WHOLE = [name for name in zoo.list_models() if name not in {*DETECTION, *QUANTIZED}]

# The counts that torchvision publishes with its weights, buffers of batch norms not among them.
PUBLISHED = {
    name: next(iter(zoo.get_model_weights(name))).meta["num_params"]
    for name in (
        "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "maxvit_t", "mc3_18",
        "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_small", "mvit_v2_s", "raft_small", "regnet_y_400mf", "resnet50",
        "shufflenet_v2_x1_0", "squeezenet1_1", "swin3d_t", "swin_t", "swin_v2_t", "vgg16", "vit_b_16",
    )
}  # fmt: skip


def test_the_zoo_is_covered() -> None:
    assert len(WHOLE) > 90
    assert len(DETECTION) >= 10
    assert set(PUBLISHED) <= set(WHOLE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WHOLE)
def test_models_trace(name: str) -> None:
    loaded = load_model(name)
    assert all(p.device.type == "meta" for p in loaded.module.parameters())
    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=name)
    assert graph.truncation is None
    assert graph.outputs
    assert len(graph.ops) > 10
    assert graph.parameter_numel == sum(p.numel() for p in loaded.module.parameters())
    if name in PUBLISHED:
        assert graph.parameter_numel == PUBLISHED[name]
    assert all(-1 <= s.born <= s.dies <= len(graph.ops) for s in graph.storages)
    assert all(graph.tensors[t.id] is t for t in graph.tensors)
    assert all(op.index == i for i, op in enumerate(graph.ops))
    assert all(op.module in graph.modules for op in graph.ops)
    layout = estimate(graph, dtype="float32", runtime="pytorch").layout
    assert 0 < layout.activation_lower_bound_bytes <= layout.activation_bytes <= layout.activation_total_bytes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", DETECTION)
def test_detection_traces_up_to_what_depends_on_data(name: str) -> None:
    loaded = load_model(name)
    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=name, allow_truncation=loaded.allow_truncation)
    assert graph.truncation is not None
    assert re.fullmatch(r"aten\.(index\.Tensor|where\.default|nonzero\.default)", graph.truncation.target)
    assert graph.truncation.module in ("", "rpn")
    assert graph.truncation.reason == "depends on the values of tensors"
    assert any(op.module.startswith("backbone") for op in graph.ops)
    assert graph.parameter_numel == sum(p.numel() for p in loaded.module.parameters())


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantizable_variants_are_refused(name: str) -> None:
    with pytest.raises(ModelError, match="quantizable variant") as caught:
        load_model(name)
    assert caught.value.hint == f"Take {name.removeprefix('quantized_')} with --dtype int8."


@pytest.mark.parametrize("name", ["mobilenet_v2", "regnet_y_400mf", "vit_b_32", "googlenet"])
@pytest.mark.filterwarnings("ignore")
def test_the_model_is_the_one_that_torchvision_builds(name: str) -> None:
    built = zoo.get_model(name, weights=None)
    loaded = load_model(name).module
    assert {k: v.shape for k, v in loaded.named_parameters()} == {k: v.shape for k, v in built.named_parameters()}
    assert {k: v.shape for k, v in loaded.state_dict().items()} == {k: v.shape for k, v in built.state_dict().items()}
    assert not any(m.training for m in loaded.modules())
