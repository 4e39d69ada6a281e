"""Every model: seeded, free of side effects, the right sizes, twice differentiable, and clear about what it cannot take."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gradiometer.core import BadConfig, Batch, Recipe, cross_entropy, simulate
from gradiometer.models import (
    MODELS,
    convnet64,
    densenet,
    lenet,
    mlp,
    mobilenet,
    resnet18,
    resnet20,
    resnet50,
    vgg11,
    vgg16,
    vit,
    wide_resnet,
)

PICTURES = [name for name, (_, card) in MODELS.items() if card.modality not in ("text", "graph")]
DATA = os.environ.get("GRADIOMETER_DATA")
SMALL = {
    "mlp": {"widths": (8,)},
    "convnet64": {"width": 2},
    "resnet18": {"width": 0.05},
    "resnet20": {"width": 0.25},
    "resnet50": {"width": 0.05},
    "wide_resnet": {"depth": 10, "widen": 1},
    "densenet": {"depths": (1, 2, 1, 1), "growth": 4},
    "mobilenet": {"width": 0.1},
    "vgg11": {"width": 0.05},
    "vgg16": {"width": 0.05},
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 12, 16)])
def test_takes_pictures_of_every_kind(name, shape):
    model = MODELS[name][0](shape, 7, **SMALL.get(name, {})).eval()
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "convnet64"])
def test_takes_the_smallest_pictures(name):
    assert MODELS[name][0]((1, 8, 8), 10, **SMALL.get(name, {})).eval()(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


@pytest.mark.parametrize("name", PICTURES)
def test_same_seed_same_weights_and_global_randomness_untouched(name):
    before = torch.random.get_rng_state()
    fn, settings = MODELS[name][0], SMALL.get(name, {})
    one, same, other = (fn((3, 16, 16), 4, seed=seed, **settings).state_dict() for seed in (3, 3, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", PICTURES)
def test_second_derivatives_exist_and_are_not_zero(name):
    fn, settings = MODELS[name][0], SMALL.get(name, {})
    model = fn((1, 12, 12), 3, **settings)
    x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch = Batch(x=x, y=torch.tensor([0, 2]))
    sent = simulate(model, cross_entropy, Recipe(examples=2), batch, differentiable=True)
    (slope,) = torch.autograd.grad(sum(value.square().sum() for value in sent.values.values()), x)
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (mlp((3, 32, 32), 10), 3072 * 1024 + 1024 + 1024 * 1024 + 1024 + 10250),
        (lenet((3, 32, 32), 10), 912 + 3612 + 3612 + 7690),  # DLG's: 768 inputs to the head
        (convnet64((3, 32, 32), 10), 2_904_970),
        (resnet20((3, 32, 32), 10), 269_722),  # 0.27 million in the paper's table 6
        (resnet18((3, 32, 32), 10), 11_173_962),
        (resnet18((3, 224, 224), 1000, stem="imagenet"), 11_689_512),  # torchvision's
        (resnet50((3, 224, 224), 1000, stem="imagenet"), 25_557_032),
        (wide_resnet((3, 32, 32), 10), 2_748_890),  # 2.7 million in the paper's table 4
        (wide_resnet((3, 32, 32), 10, depth=28, widen=10), 36_479_194),
        (densenet((3, 32, 32), 10), 6_956_298),
        (densenet((3, 32, 32), 10, depths=(16, 16, 16), growth=12), 769_162),  # 0.8 million in the paper's table 2
        (mobilenet((3, 32, 32), 10), 2_236_682),  # torchvision's with ten classes
        (vgg11((3, 32, 32), 10), 9_231_114),
        (vgg16((3, 32, 32), 10), 14_728_266),
    ],
)
def test_sizes_are_the_published_ones(model, parameters):
    assert count(model) == parameters


def test_dlg_initialization_only_for_the_sigmoid():
    wide = torch.cat([parameter.flatten() for parameter in lenet((3, 32, 32), 10).parameters()])
    narrow = torch.cat([parameter.flatten() for parameter in lenet((3, 32, 32), 10, activation="relu").parameters()])
    assert 0.49 < wide.abs().max() <= 0.5
    assert wide.std().item() == pytest.approx(12**-0.5, rel=0.02)
    assert narrow.abs().max().item() < 0.13


def test_shortcuts_are_what_they_say():
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    outputs = []
    for shortcut in ("pad", "project", "none"):
        for preactivation in (False, True):
            model = resnet20((3, 16, 16), 10, width=0.5, shortcut=shortcut, preactivation=preactivation).eval()
            for name, module in model.named_modules():
                if name.endswith("conv2"):
                    nn.init.zeros_(module.weight)
            outputs.append(model(x))
            way_around = (outputs[-1][0] - outputs[-1][1]).abs().max() > 0
            assert way_around == (shortcut != "none")  # without branches, only shortcuts carry the picture
    assert len({tuple(out.flatten().tolist()) for out in outputs}) >= 4


def test_vit_pools_by_token_or_mean_and_knows_positions():
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for pool, tokens in [("class", 5), ("mean", 4)]:
        model = vit((3, 8, 8), 10, pool=pool)
        assert model.position.shape == (1, tokens, 64)
        assert not torch.allclose(model(x), model(x.flip(-1)), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: convnet64((3, 8, 8), 10), "at least 9 x 9"),
        (lambda: lenet((3, 0, 32), 10), "channels, height, width"),
        (lambda: mlp((3, 8, 8), 1), "at least 2 classes"),
        (lambda: lenet((3, 8, 8), 10, activation="Sigmoidd"), 'did you mean "sigmoid"'),
        (lambda: vit((3, 30, 30), 10, heads=5), "do not tile"),
        (lambda: resnet20((3, 8, 8), 10, width=0.01), "without channels"),
    ],
)
def test_says_what_it_cannot_take(make, says):
    with pytest.raises(BadConfig, match=says):
        make()


@pytest.mark.slow
@pytest.mark.skipif(not DATA, reason="needs GRADIOMETER_DATA")
def test_published_weights_load_and_reach_the_published_accuracy():
    from PIL import Image

    folder = Path(DATA or "")
    model = resnet20((3, 32, 32), 10).eval()
    with np.load(folder / "weights/cifar10_resnet20.npz") as weights:
        missing = model.load_state_dict({key: torch.tensor(weights[key]) for key in weights.files}, strict=False)
    assert not missing.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in missing.missing_keys)
    pixels = np.array(Image.open(folder / "images/cifar10_test3000.png")).reshape(-1, 32, 32, 3)[:600]
    y = np.loadtxt(folder / "images/cifar10_test3000.csv", delimiter=",", skiprows=1, usecols=1, dtype=int)[:600]
    x = torch.tensor(pixels).permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        accuracy = (model(x).argmax(1) == torch.tensor(y)).double().mean()
    assert accuracy > 0.9
