"""GroupNorm and LayerNorm on the way, concatenated maps, and the scale that pixels' levels tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import NotApplicable, image_layout
from gradiometer.defenses import BatchNormToGroupNorm
from gradiometer.models import densenet, mobilenet, resnet18
from gradiometer.numerics.recursion.averages import Average
from gradiometer.numerics.recursion.beginning import begin
from gradiometer.numerics.recursion.levels import doubtful, on_levels, rounded
from gradiometer.numerics.recursion.meter import meter
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.train_top import read_train_top
from gradiometer.numerics.recursion.train_walk import train_walk
from gradiometer.numerics.recursion.walk import walk


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flat(norm: type[nn.Module] = nn.GroupNorm, activation: type[nn.Module] = nn.ReLU) -> nn.Module:
    """Two convolutions with biases, and a head that reads their maps entry by entry."""

    def normal(channels: int, side: int) -> nn.Module:
        return nn.GroupNorm(4, channels) if norm is nn.GroupNorm else nn.LayerNorm([channels, side, side])

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 24, 5, stride=2, padding=2),
        normal(24, 4),
        activation(),
        nn.Conv2d(24, 24, 3, padding=1),
        normal(24, 4),
        activation(),
        nn.Flatten(),
        nn.Linear(24 * 16, 10),
    )


def pooled() -> nn.Module:
    """No biases but the normalizations', and a head that averages."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False),
        nn.GroupNorm(8, 32),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1, bias=False),
        nn.GroupNorm(16, 64),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.GroupNorm(16, 64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def perceptron(bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 40, bias=bias),
        nn.LayerNorm(40),
        nn.ReLU(),
        nn.Linear(40, 30),
        nn.LayerNorm(30),
        nn.ReLU(),
        nn.Linear(30, 10),
    )


def sent(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    model = model.double().eval()
    names, parameters = zip(*model.named_parameters())
    loss = F.cross_entropy(model(x.double()), torch.full((len(x),), 3))
    return dict(zip(names, torch.autograd.grad(loss, parameters)))


@pytest.mark.parametrize(
    "model",
    [flat(), flat(nn.LayerNorm), flat(activation=nn.LeakyReLU), perceptron()],
    ids=["GroupNorm", "LayerNorm", "LeakyReLU", "perceptron"],
)
def test_one_example_is_followed_through_its_own_statistics(model: nn.Module) -> None:
    x = torch.randn(1, 3, 8, 8, generator=seeded())
    graph, gradient = trace(model.double(), (3, 8, 8)), sent(model, x)
    top = read_train_top(graph, gradient, rng=seeded(1))
    assert not isinstance(top, str)
    assert top.labels.tolist() == [3]
    found = train_walk(graph, gradient, top)
    assert found.stopped == ""
    assert float((found.values[graph.input].value - x).abs().max()) < 1e-4
    assert meter(graph, gradient).verdict == "exact"


def test_behind_a_global_mean_the_pictures_follow_up_to_a_scale_that_eps_tells() -> None:
    model, x = pooled(), torch.randn(1, 3, 8, 8, generator=seeded())
    graph, gradient = trace(model.double(), (3, 8, 8)), sent(model, x)
    top = read_train_top(graph, gradient, rng=seeded(1))
    assert not isinstance(top, str)
    found = train_walk(graph, gradient, top)
    assert found.stopped == ""
    picture = found.values[graph.input].value.flatten()
    assert float(F.cosine_similarity(picture, x.double().flatten(), dim=0)) > 1 - 1e-8
    assert abs(float(picture.norm() / x.norm()) - 1) < 1e-3
    assert meter(graph, gradient).verdict == "exact"


@pytest.mark.slow
def test_the_top_is_the_lowest_one_whose_gradients_agree() -> None:
    """Here the maps at 8 x 8 positions of 256 channels come out to three digits, those at 4 x 4 of 512 to six."""
    model = BatchNormToGroupNorm().on_model(resnet18((3, 32, 32), 10, init="torch"))
    x = 0.5 * torch.randn(1, 3, 32, 32, generator=seeded(), dtype=torch.float32)
    gradient = sent(model, x)
    graph = trace(model, (3, 32, 32))
    top = read_train_top(graph, gradient, rng=seeded())
    assert not isinstance(top, str)
    assert top.disagreement < 1e-5
    truth = graph.forward(x.double(), top.name)
    assert float((top.value - truth).norm() / truth.norm()) < 1e-4


def test_a_scale_that_nothing_tells_is_not_claimed() -> None:
    model, x = perceptron(bias=False), torch.randn(1, 3, 8, 8, generator=seeded())
    graph, gradient = trace(model.double(), (3, 8, 8)), sent(model, x)
    top = read_train_top(graph, gradient, rng=seeded(1))
    assert not isinstance(top, str)
    found = train_walk(graph, gradient, top)
    picture = found.values[graph.input].value.flatten()
    assert float(F.cosine_similarity(picture, x.double().flatten(), dim=0)) > 1 - 1e-8
    assert found.scale == float("inf")


def test_a_batch_behind_normalization_of_each_example_is_refused() -> None:
    model = pooled()
    graph = trace(model.double(), (3, 8, 8))
    reason = read_train_top(graph, sent(model, torch.randn(2, 3, 8, 8, generator=seeded())), rng=seeded(1))
    assert isinstance(reason, str)


def test_concatenated_maps_are_read_from_the_last_convolution_down() -> None:
    model = densenet((3, 8, 8), 10, depths=(2, 2), growth=20, seed=1)
    x = torch.randn(1, 3, 8, 8, generator=seeded())
    graph, gradient = trace(model.double(), (3, 8, 8)), sent(model, x)
    top = begin(graph, gradient, rng=seeded(1))
    assert list(top.deltas) == ["bn"]
    found = walk(graph, gradient, top.deltas)
    assert len(found.values) == 5
    for name, known in found.values.items():
        assert torch.allclose(known.value, graph.forward(x.double(), name), atol=1e-9)


def test_averages_and_1x1_convolutions_change_places() -> None:
    model = densenet((3, 8, 8), 10, depths=(2, 2), growth=20, seed=1)
    graph, x = trace(model.double(), (3, 8, 8)), torch.randn(1, 3, 8, 8, generator=seeded())
    (average,) = [node for node in graph.nodes.values() if isinstance(node.operation, Average)]
    assert average.shape == (80, 4, 4)
    assert torch.allclose(graph.forward(x.double(), graph.output), model.eval()(x.double()))


@pytest.mark.parametrize(
    "model", [densenet((3, 16, 16), 10, depths=(1, 1), growth=4), mobilenet((3, 16, 16), 10, width=0.25)]
)
def test_narrow_concatenations_and_depthwise_convolutions_are_not_foreseen_to_be_inverted(model: nn.Module) -> None:
    x = torch.randn(1, 3, 16, 16, generator=seeded())
    seen = meter(trace(model.double(), (3, 16, 16)), sent(model, x))
    assert seen.verdict != "exact"
    assert seen.reason


def test_levels_tell_the_scale() -> None:
    field = image_layout((3, 16, 16), 10, mean=(0.5,), std=(0.25,))["x"]
    pixels = torch.randint(0, 256, (1, 3, 16, 16), generator=seeded()) / 255
    x = field.normalize(pixels.double())
    found, error = on_levels(1.0007 * x, 5e-4, field)
    assert error < 1e-6
    assert torch.allclose(found, x, atol=1e-9)
    between = x + 0.002 * torch.rand(x.shape, generator=seeded(1))
    assert on_levels(between * 3, 5e-4, field)[1] == 5e-4


def test_heads_that_tell_nothing_are_refused() -> None:
    graph = trace(pooled().double(), (3, 8, 8))
    with pytest.raises(NotApplicable):
        begin(graph, {}, rng=seeded())


def test_pictures_are_rounded_to_the_levels_of_files() -> None:
    field = image_layout((3, 4, 4), 10, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))["x"]
    whole = field.normalize(torch.randint(256, (2, 3, 4, 4), generator=torch.Generator().manual_seed(0)) / 255)
    torch.testing.assert_close(rounded(whole + 1e-3, field), whole)


def test_pixels_between_two_levels_are_told() -> None:
    field = image_layout((3, 4, 4), 10, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))["x"]
    pixels = torch.randint(1, 255, (2, 3, 4, 4), generator=seeded()) / 255
    found = pixels + 0.3 / 255
    assert doubtful(field.normalize(found), field) == []
    found[1, 2, 3, 3], found[0, 1, 0, 0] = pixels[1, 2, 3, 3] - 0.45 / 255, pixels[0, 1, 0, 0] + 0.48 / 255
    (first, above), (second, below) = doubtful(field.normalize(found), field)
    assert (first, second) == (16, 95)
    for index, value, change in ((first, above, 1), (second, below, -1)):
        other = pixels.clone()
        other.view(-1)[index] += change / 255
        assert value == pytest.approx(float(field.normalize(other).flatten()[index]), abs=1e-5)
