"""What `fit` proposes, and that what it says of the limit is what `check` says on both sides of it."""

import pytest
import torch
from torch import nn

from edgebudget.fitting import PROPOSERS
from edgebudget.fitting._reorder import reordered
from edgebudget.fitting._search import advise
from edgebudget.fitting._text import render
from edgebudget.fitting.interface import Case, Proposal
from edgebudget.fitting.module import heaviest_flattened
from edgebudget.fitting.resolution import largest
from edgebudget.graph import TracedGraph
from edgebudget.inputs import parse_input
from edgebudget.pipeline import Request, check_model
from edgebudget.profiles import load_profile
from edgebudget.report import ReportError
from edgebudget.sources import load_model
from edgebudget.tracing import trace
from edgebudget.verdict import Decision
from tests.traces import Forward

MODELS = ["mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "resnet18"]
DEVICES = ["raspberrypi-zero-2-w", "raspberrypi-3b-plus", "iphone-se2"]


def case(model: str, device: str, **changes: str) -> Case:
    profile = load_profile(device)
    loaded = load_model(model)
    graph = trace(loaded.module, loaded.args, loaded.kwargs, name=loaded.name)
    asked = {"runtime": profile.default_runtime, "dtype": "float32"} | changes
    return Case(model, loaded, graph, profile, asked["runtime"], asked["dtype"])


def decision(model: str, device: str, size: str) -> Decision:
    """Return what a check of its own, from the model's name on, says."""
    request = Request((load_profile(device),), ("float32",), inputs=(parse_input(size),))
    outcome = check_model(model, request)
    assert not isinstance(outcome, ReportError), outcome.message
    return outcome.results[0].decision


def size_of(proposal: Proposal | None) -> str:
    assert proposal is not None
    return proposal.result.inputs[0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("model", MODELS)
def test_the_largest_input_is_the_limit_for_check_too(model: str, device: str) -> None:
    limit = largest(case(model, device))
    assert decision(model, device, size_of(limit.fitting)) is Decision.GO
    assert decision(model, device, size_of(limit.beyond)) is not Decision.GO
    heights = [int(size_of(side).split("x")[2]) for side in (limit.fitting, limit.beyond)]
    assert heights[1] - heights[0] == 1


def test_every_proposal_is_what_a_check_of_it_says() -> None:
    advice = advise(case("alexnet", "raspberrypi-zero-2-w"))
    assert not advice.asked.fits
    assert advice.fits
    kinds = {proposal.case.changes[-1][0] for proposal in advice.proposals}
    assert kinds >= {"dtype", "runtime", "module"}
    for proposal in advice.proposals:
        assert proposal.result == proposal.case.check()
        assert proposal.fits == (proposal.short_bytes == 0 and proposal.result.decision is Decision.GO)
    fitting = [proposal.fits for proposal in advice.proposals]
    assert fitting == sorted(fitting, reverse=True)
    assert "Pool before classifier.1" in render(advice)


def test_when_nothing_fits_the_nearest_says_by_how_much() -> None:
    advice = advise(case("resnet18", "stm32h743"))
    assert not advice.fits
    best = advice.best
    assert best is not None
    assert best.short_bytes == min(p.short_bytes for p in advice.proposals if p.short_bytes is not None)
    assert f"Nothing fits. The nearest fails by {best.short_bytes:,} bytes" in " ".join(render(advice).split())


def test_mapped_weights_take_the_state_dict_off_the_load_peak() -> None:
    asked = case("resnet18", "raspberrypi", runtime="pytorch")
    plain = asked.check()
    (proposal,) = PROPOSERS.get("mapped-weights").propose(asked)
    assert proposal.result.load_heap_bytes == 0
    assert proposal.result.inference_peak_bytes == plain.inference_peak_bytes
    assert proposal.result.load_mapped_bytes == plain.parameter_bytes + plain.buffer_bytes
    assert not list(PROPOSERS.get("mapped-weights").propose(case("resnet18", "raspberrypi")))


def test_a_batch_is_halved_until_it_fits() -> None:
    profile = load_profile("raspberrypi-zero-2-w")
    loaded = load_model("squeezenet1_1", (), 64)
    graph = trace(loaded.module, loaded.args)
    asked = Case("squeezenet1_1", loaded, graph, profile, profile.default_runtime, "float32")
    assert not Proposal(asked, asked.check()).fits
    (proposal,) = PROPOSERS.get("batch").propose(asked)
    assert proposal.fits
    assert proposal.result.batch < 64


def branches() -> TracedGraph:
    """Two wide branches that end narrow, both begun before either ends."""

    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        wide, other = self.children_[0](x), self.children_[1](x)
        return self.children_[2](wide) + self.children_[2](other)

    layers = (nn.Linear(8, 4096), nn.Linear(8, 4096), nn.Linear(4096, 8))
    return trace(Forward(forward, *layers), (torch.zeros(1, 8),))


def test_branches_are_run_one_after_the_other() -> None:
    graph = branches()
    moved = reordered(graph)
    assert moved is not None
    assert [op.index for op in moved.ops] == list(range(len(graph.ops)))
    assert sorted(op.module for op in moved.ops) == sorted(op.module for op in graph.ops)
    made = set(moved.inputs)
    for op in moved.ops:  # nothing is read before it is made
        assert all(t in made or moved.storage_of(t).role.is_weight for t in op.inputs)
        made.update(op.outputs)
    assert [op.inputs[0] in moved.inputs for op in moved.ops[:3]] == [True, False, True]


def test_a_chain_has_no_other_order() -> None:
    assert reordered(trace(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), (torch.zeros(1, 4),))) is None


def test_a_write_in_place_keeps_its_place() -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        wide = self.children_[0](x)
        narrow = self.children_[1](wide)
        wide.add_(1)
        return narrow + self.children_[1](wide)

    graph = trace(Forward(forward, nn.Linear(8, 512), nn.Linear(512, 8)), (torch.zeros(1, 8),))
    moved = reordered(graph)
    names = [op.name for op in (moved or graph).ops]
    assert names == ["linear", "linear", "add_", "linear", "add"]


def test_only_a_layer_that_reads_an_image_can_be_pooled_before() -> None:
    vgg = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 100))
    found = heaviest_flattened(trace(vgg, (torch.zeros(1, 3, 8, 8),)))
    assert found is not None
    assert (found.module, found.channels, found.height, found.width) == ("2", 8, 6, 6)
    assert heaviest_flattened(trace(nn.Sequential(nn.Linear(64, 64)), (torch.zeros(1, 64),))) is None
