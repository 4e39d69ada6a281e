"""The fast path away from the CPU: nothing of it stays behind. Shapes and devices by tensors without numbers, numbers where there is a GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gradiometer.core import Batch, Recipe, cross_entropy, derive, simulate
from gradiometer.models import convnet64, lenet, resnet18, vit
from gradiometer.numerics.distances import Cosine, Distance, SquaredL2
from gradiometer.numerics.engine import Engine
from gradiometer.numerics.engine.capture import capture
from gradiometer.numerics.engine.unfolded import Direct

S = (3, 16, 16)
VICTIMS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lambda: lenet(S, 10),
    "convnet": lambda: convnet64(S, 10, width=4),
    "resnet": lambda: resnet18(S, 10, width=0.125, init="torch"),
    "vit": lambda: vit(S, 10, width=16, depth=1, heads=2),
}


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name", VICTIMS)
def test_all_passes_stay_on_the_device_of_the_model(name: str, mode: str) -> None:
    """`meta` tensors refuse to meet those of the CPU."""
    model = VICTIMS[name]().to("meta").train(mode == "train")
    x = torch.empty(2, *S, device="meta")
    program = capture(model, x, frozenset(n for n, _ in model.named_parameters()), ghosts=False)
    for slot in program.slots:
        slot.gradient, slot.change = torch.empty_like(slot.value), torch.empty_like(slot.value)
    logits = program.forward(x)
    program.backward(torch.empty_like(logits), whole=True)
    for slot in program.slots:
        slot.move = slot.gradient
    moved = program.tangent(torch.empty_like(x))
    pulled = program.pull(torch.empty_like(logits))
    for rule in program.rules:
        rule.collect()
    assert moved is not None
    assert pulled is not None
    assert (logits.shape, moved.shape, pulled.shape) == ((2, 10), (2, 10), x.shape)
    assert {value.device.type for value in (logits, moved, pulled)} == {"meta"}
    convolutions = sum(isinstance(module, nn.Conv2d) for module in model.modules())
    assert sum(isinstance(rule, Direct) for rule in program.rules) == convolutions, "rates were measured on a CPU"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("distance", [Cosine(), SquaredL2()])
@pytest.mark.parametrize("name", VICTIMS)
def test_a_gpu_gives_the_numbers_of_the_cpu(name: str, distance: Distance) -> None:
    def gradient(device: str, general: bool) -> tuple[str, Tensor]:
        model, recipe = VICTIMS[name]().double().to(device), Recipe(examples=2)
        truth, start = (torch.randn(2, *S, generator=derive(seed)).double().to(device) for seed in (1, 2))
        y = torch.tensor([1, 4], device=device)
        sent = simulate(model, cross_entropy, recipe, Batch(x=truth, y=y)).values
        engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=distance, sent=sent, general=general)
        found = engine([start], lambda z: Batch(x=z[0], y=y)).gradient[0].cpu()
        return engine.path, found

    (path, found), (_, expected) = gradient("cuda", False), gradient("cpu", True)
    assert path == "r-operator"
    assert torch.allclose(found, expected, rtol=1e-7, atol=1e-10 * float(expected.abs().max()))
