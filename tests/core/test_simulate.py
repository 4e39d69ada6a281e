"""The one local training that the victim and every attacker share, against torch.optim and finite differences."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import Batch, Recipe, Sent, cross_entropy, derive, simulate


def net(dropout: float = 0.0, norm: bool = False, seed: int = 0) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(6, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 4)]
    if norm:
        layers.insert(1, nn.BatchNorm1d(8))
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=derive(seed, name), dtype=torch.float64))
    return model


def data(count: int = 7) -> Batch:
    x = torch.randn(count, 6, generator=derive(1), dtype=torch.float64)
    return Batch(x=x, y=torch.arange(count) % 4)


def by_torch(model: nn.Module, batch: Batch, recipe: Recipe, make) -> tuple[dict[str, Tensor], nn.Module]:
    """The same training with torch.optim: the weights' change, and the trained model."""
    model = copy.deepcopy(model).train(recipe.mode == "train")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = make(model.parameters())
    for _ in range(recipe.epochs):
        for first in range(0, batch.size, recipe.batch_size or batch.size):
            part = batch.take(slice(first, first + (recipe.batch_size or batch.size)))
            optimizer.zero_grad()
            F.cross_entropy(model(part["x"]), part["y"]).backward()
            optimizer.step()
    return {name: p.detach() - before[name] for name, p in model.named_parameters()}, model


OPTIMIZERS = {
    "sgd": (Recipe(sends="delta", epochs=3, batch_size=3, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "one batch": (Recipe(sends="delta", epochs=4, lr=0.1), lambda p: torch.optim.SGD(p, lr=0.1)),
    "momentum": (
        Recipe(sends="delta", epochs=3, batch_size=2, lr=0.05, momentum=0.9),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    ),
    "adam": (
        Recipe(sends="delta", epochs=3, batch_size=3, lr=0.01, optimizer="adam"),
        lambda p: torch.optim.Adam(p, lr=0.01),
    ),
}


@pytest.mark.parametrize(("recipe", "make"), OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch norm"])
def test_deltas_equal_those_of_torch_optim(recipe: Recipe, make, norm: bool) -> None:
    recipe = Recipe(**(vars(recipe) | {"mode": "train" if norm else "eval", "batch_size": recipe.batch_size or None}))
    model, batch = net(norm=norm), data(6 if norm else 7)
    sent = simulate(model, cross_entropy, recipe, batch)
    expected, trained = by_torch(model, batch, recipe, make)
    for name, value in expected.items():
        assert torch.allclose(sent.values[name], value, atol=1e-9 + 1e-6 * float(value.abs().max()), rtol=0)
    for name, buffer in trained.named_buffers():
        assert torch.allclose(sent.buffers[name].double(), buffer.double(), atol=1e-12)


def test_a_gradient_is_that_of_autograd_and_the_buffers_are_those_after_one_forward_pass() -> None:
    model, batch = net(norm=True), data()
    sent = simulate(model, cross_entropy, Recipe(mode="train"), batch)
    twin = copy.deepcopy(model).train()
    F.cross_entropy(twin(batch["x"]), batch["y"]).backward()
    assert all(torch.allclose(sent.values[name], p.grad) for name, p in twin.named_parameters())
    assert all(torch.equal(sent.buffers[name], buffer) for name, buffer in twin.named_buffers())
    assert int(sent.buffers["1.num_batches_tracked"]) == 1


RECIPES = {
    "gradient": Recipe(),
    "train mode": Recipe(mode="train"),
    "SGD": Recipe(sends="delta", epochs=2, batch_size=3, lr=0.1),
    "momentum": Recipe(sends="delta", epochs=2, batch_size=3, lr=0.1, momentum=0.9, mode="train"),
    "Adam": Recipe(sends="delta", epochs=2, batch_size=3, lr=0.01, optimizer="adam"),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_simulation_is_differentiable_in_the_batch(recipe: Recipe) -> None:
    model, batch = net(norm=True), data(6)
    x = batch["x"].clone().requires_grad_()
    probes = {name: torch.randn(p.shape, generator=derive(4, name)).double() for name, p in model.named_parameters()}

    def figure(x: Tensor, differentiable: bool) -> Tensor:
        sent = simulate(model, cross_entropy, recipe, batch.replace(x=x), differentiable=differentiable)
        return sum((value * probes[name]).sum() for name, value in sent.values.items())

    (slope,) = torch.autograd.grad(figure(x, True), x)
    direction = torch.randn(x.shape, generator=derive(5), dtype=torch.float64)
    step = 1e-5
    with torch.no_grad():
        change = (figure(x + step * direction, False) - figure(x - step * direction, False)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(change), rel=1e-4, abs=1e-8)
    assert torch.allclose(figure(x, True), figure(x, False))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("differentiable", [False, True])
def test_nothing_that_was_handed_over_changes(recipe: Recipe, differentiable: bool) -> None:
    model, batch = net(norm=True, dropout=0.5), data(6)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x, modes, random = batch["x"].clone(), [m.training for m in model.modules()], torch.get_rng_state()
    simulate(model, cross_entropy, recipe, batch, rng=derive(0), differentiable=differentiable)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(batch["x"], x)
    assert torch.equal(torch.get_rng_state(), random)


def test_dropout_masks_and_the_order_of_examples_follow_the_generator() -> None:
    recipe = Recipe(sends="delta", mode="train", epochs=2, batch_size=3, shuffle=True)
    model = net(dropout=0.5)

    def run(seed: int, recipe: Recipe = recipe) -> Sent:
        return simulate(model, cross_entropy, recipe, data(), rng=derive(seed))

    assert all(torch.equal(run(0).values[name], value) for name, value in run(0).values.items())
    assert not torch.equal(run(0).values["0.weight"], run(1).values["0.weight"])
    eval_mode = Recipe(sends="delta", epochs=2, batch_size=3)
    assert torch.equal(run(0, eval_mode).values["0.weight"], run(1, eval_mode).values["0.weight"])


def test_frozen_parameters_are_used_and_not_sent() -> None:
    model = net()
    model[0].requires_grad_(False)
    sent = simulate(model, cross_entropy, Recipe(sends="delta", epochs=2), data())
    assert set(sent.values) == {"3.weight", "3.bias"}


def test_a_parameter_that_the_loss_does_not_use_has_a_zero_gradient() -> None:
    model = net()
    model.register_parameter("idle", nn.Parameter(torch.ones(2).double()))
    assert simulate(model, cross_entropy, Recipe(), data()).values["idle"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_reach_is_how_far_a_constant_gradient_moves_the_weights(momentum: float) -> None:
    recipe = Recipe(sends="delta", examples=7, epochs=2, batch_size=3, lr=0.1, momentum=momentum)
    assert recipe.steps == 6
    model = nn.Linear(2, 1, bias=False)

    def linear(model: nn.Module, batch: Batch) -> Tensor:
        return model(torch.ones(1, 2)).sum()

    sent = simulate(model, linear, recipe, Batch(x=torch.zeros(7)))
    assert sent.values["weight"].flatten().tolist() == pytest.approx([-recipe.reach] * 2, rel=1e-5)


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(sends="delta", epochs=3, batch_size=3, lr=0.3),
        Recipe(sends="delta", epochs=2, batch_size=2, lr=0.2, momentum=0.9, shuffle=True),
        Recipe(sends="delta", epochs=2, batch_size=3, lr=0.05, optimizer="adam", mode="train"),
    ],
    ids=["sgd", "momentum", "adam, train mode"],
)
def test_checkpoints_change_neither_values_nor_derivatives(recipe: Recipe) -> None:
    """Dropout is drawn again as it was, and BatchNorm's averages move once, also where a step is repeated."""
    model, batch = net(dropout=0.3, norm=True), data(6)
    soft = F.one_hot(batch["y"], 4).double().requires_grad_()
    x = batch["x"].clone().requires_grad_()
    found = []
    for checkpoint in (False, True):
        sent = simulate(
            model,
            cross_entropy,
            recipe,
            Batch(x=x, y=soft),
            rng=derive(4),
            differentiable=True,
            checkpoint=checkpoint,
        )
        pulls = [torch.randn(v.shape, generator=derive(5, n), dtype=v.dtype) for n, v in sent.values.items()]
        slopes = torch.autograd.grad(list(sent.values.values()), [x, soft], pulls)
        found.append([*sent.values.values(), *sent.buffers.values(), *slopes])
    assert all(torch.allclose(a.double(), b.double(), rtol=1e-10, atol=1e-14) for a, b in zip(*found))
    assert float(found[0][-1].abs().max()) > 0


def test_checkpoints_keep_weights_instead_of_graphs() -> None:
    """What is held of an unrolled training grows by the weights and examples of a step, however much the passes record."""
    from gradiometer.numerics.engine.eager import recorded

    model = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4)).double()
    weights, examples = 8 * sum(p.numel() for p in model.parameters()), 8 * 500 * (6 + 2)  # pictures, labels, order
    batch = Batch(x=torch.randn(500, 6, dtype=torch.float64).requires_grad_(), y=torch.arange(500) % 4)

    def held(steps: int, checkpoint: bool) -> int:
        recipe = Recipe(sends="delta", epochs=steps, lr=0.1)
        unrolled = lambda: simulate(  # noqa: E731
            model, cross_entropy, recipe, batch, differentiable=True, checkpoint=checkpoint
        )
        return recorded(unrolled)[1]

    assert held(8, True) - held(4, True) <= 4 * (weights + examples)
    assert held(8, False) - held(4, False) > 4 * 10 * (weights + examples)
