"""Cutting units out: which can go, and that the smaller network is the whole one without them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from gradiometer.core import derive
from gradiometer.models import convnet64, densenet, lenet, mlp, mobilenet, resnet20, vgg11, vit
from gradiometer.numerics.cutting import Units, cut, units

SHAPE = (3, 16, 16)


def halved(groups: list[Units]) -> dict[str, Tensor]:
    """Every other unit of each layer."""
    return {group.layer: torch.arange(0, group.count, 2) for group in groups}


def silenced(model: nn.Module, kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """The whole model's weights with the columns that read other units set to zero."""
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    for group in units(model):
        gone = torch.ones(group.count, dtype=torch.bool)
        gone[kept[group.layer]] = False
        for name, block in group.readers.items():
            weights[f"{name}.weight"][:, gone.repeat_interleave(block)] = 0
    return weights


class Mixed(nn.Module):
    """A residual sum, a concatenation, and a layer that is used twice: their units cannot go; the head's cannot either."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.twice = nn.Linear(8, 6), nn.Linear(8, 6), nn.Linear(12, 12)
        self.inner, self.head = nn.Linear(12, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        both = torch.cat([self.one(x), self.two(x)], 1)
        both = both + self.twice(self.twice(both).relu())
        return self.head(torch.tanh(self.inner(both)))


def models() -> dict[str, Callable[[], nn.Module]]:
    return {
        "mlp": lambda: mlp(SHAPE, 10, widths=(20, 12), activation="sigmoid"),
        "lenet": lambda: lenet(SHAPE, 10),
        "convnet": lambda: convnet64(SHAPE, 10, width=8),
        "resnet20": lambda: resnet20(SHAPE, 10),
        "vgg": lambda: vgg11((3, 32, 32), 10),
        "vit": lambda: vit((3, 32, 32), 10),
        "mobilenet": lambda: mobilenet((3, 32, 32), 10),
        "densenet": lambda: densenet((3, 32, 32), 10),
    }


@pytest.mark.parametrize("name", ["mlp", "lenet", "convnet", "resnet20"])
def test_smaller_network_is_the_whole_one_without_those_units(name: str) -> None:
    model = models()[name]().eval()
    groups = units(model)
    kept = halved(groups)
    small = cut(model, kept)
    x = torch.randn(2, *SHAPE, generator=derive(0))
    want = functional_call(model, silenced(model, kept), (x,))
    assert torch.allclose(small.model(x), want, atol=1e-5)
    sizes = [sum(p.numel() for p in m.parameters()) for m in (small.model, model)]
    assert sizes[0] < (0.6 if name != "resnet20" else 0.8) * sizes[1]
    for group in groups:
        assert small.model.get_submodule(group.layer).weight.shape[0] == -(-group.count // 2)  # type: ignore[union-attr, index]


@pytest.mark.parametrize("name", ["mlp", "resnet20"])
def test_values_go_to_their_places_and_come_back(name: str) -> None:
    model = models()[name]()
    small = cut(model, halved(units(model)))
    whole = dict([*model.named_parameters(), *model.named_buffers()])
    for own, value in (*small.model.named_parameters(), *small.model.named_buffers()):
        assert torch.equal(small.gather({own: whole[own].detach()})[own], value)
        spread = small.spread({own: value.detach()}, model)[own]
        assert spread.shape == whole[own].shape
        assert torch.equal(small.gather({own: spread})[own], value)
        assert int(spread.count_nonzero()) == int(value.count_nonzero())


@pytest.mark.slow
@pytest.mark.parametrize("name", models())
def test_every_built_in_model_still_runs(name: str) -> None:
    model = models()[name]().eval()
    groups = units(model)
    x = torch.randn(
        2, *((3, 32, 32) if name in ("vgg", "vit", "mobilenet", "densenet") else SHAPE), generator=derive(0)
    )
    assert cut(model, halved(groups)).model(x).shape == model(x).shape
    print(name, len(groups))


def test_residual_streams_concatenations_and_shared_layers_stay() -> None:
    assert [(group.layer, group.readers) for group in units(Mixed())] == [("inner", {"head": 1})]


def test_shortcuts_keep_their_channels() -> None:
    assert {group.layer.split(".")[-1] for group in units(resnet20(SHAPE, 10))} == {"conv1"}


def test_flattened_pictures_have_several_columns_a_unit() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 10))
    (group,) = units(model)
    assert (group.layer, group.readers) == ("0", {"3": 36})
    assert cut(model, {"0": torch.tensor([1, 3])}).model(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_the_given_model_stays() -> None:
    model = resnet20(SHAPE, 10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = cut(model, halved(units(model)))
    with torch.no_grad():
        for value in small.model.parameters():
            value.zero_()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_one_layer_alone_has_nothing_to_leave_out() -> None:
    assert units(nn.Sequential(nn.Flatten(), nn.Linear(8, 3))) == []
