"""The walk on networks whose answer is known: exact values, honest stops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import NotApplicable
from gradiometer.models.lenet import lenet
from gradiometer.numerics.recursion import walk as walking
from gradiometer.numerics.recursion.checksum import Check, Units
from gradiometer.numerics.recursion.least_squares import solve
from gradiometer.numerics.recursion.record import Walk
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.walk import walk


def gradient(model: nn.Module, x: Tensor, y: Tensor, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    model = model.to(dtype).eval()
    loss = F.cross_entropy(model(x.to(dtype)), y)
    names, parameters = zip(*model.named_parameters())
    return {name: g.double() for name, g in zip(names, torch.autograd.grad(loss, parameters))}


def walked(model: nn.Module, x: Tensor, y: Tensor, dtype: torch.dtype = torch.float32) -> Walk:
    values = gradient(model, x, y, dtype)
    graph = trace(model, tuple(x.shape[1:]))
    return walk(graph, values, {graph.output: values[f"{graph.nodes[graph.output].operation.where}.bias"][None]})


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("activation", "channels"),
    [("relu", 24), ("leaky_relu", 24), ("sigmoid", 12), ("tanh", 24), ("gelu", 24), ("silu", 24)],
)
def test_lenet_is_inverted_to_the_floating_point_limit(activation: str, channels: int) -> None:
    x = picture(3, 16, 16)
    found = walked(lenet((3, 16, 16), 10, activation=activation, channels=channels), x, torch.tensor([3]))
    assert found.stopped == ""
    assert (found.values[found.graph.input].value - x).abs().max() < 1e-3
    assert (found.values[found.graph.input].value - x).square().mean().sqrt() < 1e-4


def test_double_precision_gradients_give_double_precision_pictures() -> None:
    x = picture(3, 16, 16).double()
    found = walked(lenet((3, 16, 16), 10, activation="relu", channels=24), x, torch.tensor([3]), torch.float64)
    assert (found.values[found.graph.input].value - x).abs().max() < 1e-7


def test_a_narrow_network_is_not_called_exact() -> None:
    found = walked(lenet((3, 16, 16), 10, activation="relu", channels=4), picture(3, 16, 16), torch.tensor([3]))
    assert "open" in found.stopped or "contradict" in found.stopped
    assert found.graph.input not in found.values


def test_a_tensor_that_rounding_blurs_is_not_taken_for_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "DIM", 1e-9)
    found = walked(lenet((3, 16, 16), 10, activation="relu", channels=24), picture(3, 16, 16), torch.tensor([3]))
    assert "rounding leaves the equations" in found.stopped
    assert found.graph.input not in found.values


def test_groups_dilation_normalization_and_average_pooling() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 24, 3, padding=2, dilation=2),
        nn.BatchNorm2d(24),
        nn.LeakyReLU(0.1),
        nn.Conv2d(24, 24, 3, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(24),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(24 * 64, 10),
    )
    model[1].running_mean.normal_()
    model[1].running_var.uniform_(0.5, 2)
    x = picture(2, 8, 8)
    found = walked(model, x, torch.tensor([1]))
    assert found.stopped == ""
    assert (found.values[found.graph.input].value - x).abs().max() < 1e-3


def test_the_graph_computes_what_the_model_computes() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(1, 4, 3, padding="same"), nn.Conv2d(1, 4, 1), nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            u = F.leaky_relu(self.a(x) + self.b(x), 0.2)
            u = F.pad(F.avg_pool2d(u, 2), (0, 1, 0, 1))[:, :, :2, :2]
            return self.head(u.reshape(x.size(0), -1))

    net, x = Net().double(), torch.rand(3, 1, 4, 4, dtype=torch.float64)
    graph = trace(net, (1, 4, 4))
    assert torch.allclose(graph.forward(x, graph.output), net(x))
    assert {type(node.operation).__name__ for node in graph.nodes.values()} >= {
        "Layer",
        "Sum",
        "Activation",
        "Affine",
        "Reshape",
    }


def test_control_flow_on_data_is_refused_with_a_reason() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(NotApplicable, match="cannot be followed"):
        trace(Net(), (4,))


def test_shared_weights_stop_the_walk_with_the_layer_s_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.middle, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.middle(torch.tanh(self.middle(x)))))

    found = walked(Net(), picture(6), torch.tensor([1]))
    assert "no followed layer" in found.stopped
    assert found.frontier is not None


def test_no_equations_leave_every_direction_open() -> None:
    found = solve(torch.zeros(0, 5, dtype=torch.float64), torch.zeros(0, 2, dtype=torch.float64))
    assert found.null == 5
    assert found.deviation.isinf().all()


@pytest.mark.parametrize(
    ("wrong", "rounds", "solved"),
    [({1: 12, 5: 1}, 12, True), ({1: 12, 5: 1}, 1, False), ({1: 1, 5: 1}, 12, True), ({1: 1, 5: 1, 9: 3}, 12, True)],
)
def test_channels_that_contradict_the_rest_are_left_out_one_after_the_other(
    wrong: dict[int, int], rounds: int, solved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fifth more equations than unknowns: channels with slopes that no checksum doubts spoil all residuals.

    Where so few are wrong that none stands out, the worst ones are left out all the same.
    """

    def misled(found: Units, sums: Tensor, variance: Tensor | None = None) -> Check:
        flips = torch.zeros_like(found.slope, dtype=torch.bool)
        for channel, count in wrong.items():
            flips[channel, found.near(channel, count)] = True
        return Check(flips=flips, doubtful=(), residual=0.0)

    monkeypatch.setattr(walking, "check", misled)
    monkeypatch.setattr(walking, "ROUNDS", rounds)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 22 * 22, 10))
    x = picture(3, 22, 22)
    found = walked(model, x, torch.tensor([3]))
    if solved:
        assert found.stopped == ""
        assert (found.values[found.graph.input].value - x).abs().max() < 1e-4
    else:
        assert "contradict each other" in found.stopped
        assert found.graph.input not in found.values
