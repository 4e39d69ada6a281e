"""The engine: its derivative is the true one for every kind of client, and it leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from gradiometer.core import Batch, NotApplicable, Recipe, cross_entropy, simulate
from gradiometer.numerics.distances import Cosine, SquaredL2
from gradiometer.numerics.engine import Engine
from gradiometer.numerics.priors import total_variation

RECIPES = {
    "gradient, eval": Recipe(examples=3),
    "gradient, train": Recipe(examples=3, mode="train"),
    "SGD with momentum": Recipe(examples=3, sends="delta", epochs=2, batch_size=2, lr=0.3, momentum=0.9, mode="train"),
    "Adam": Recipe(examples=3, sends="delta", epochs=2, batch_size=2, lr=0.01, optimizer="adam"),
    "shuffled": Recipe(examples=3, sends="delta", epochs=2, batch_size=1, lr=0.3, shuffle=True),
}


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid(), nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, 3)
        ).double()


def draw(seed: int) -> Tensor:
    return torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_derivative_agrees_with_finite_differences(model: nn.Module, recipe: Recipe) -> None:
    y = torch.tensor([0, 2, 1])
    sent = simulate(model, cross_entropy, recipe, Batch(x=draw(1), y=y), rng=torch.Generator().manual_seed(5)).values
    scale = 1.0 if recipe.sends == "gradient" else -1 / (recipe.lr * recipe.steps)
    target = {name: scale * value for name, value in sent.items()}
    engine = Engine(
        model=model,
        loss=cross_entropy,
        recipe=recipe,
        distance=SquaredL2(),
        sent=target,
        scale=scale,
        watch=frozenset({"1"}),
    )

    def penalty(batch: Batch, inputs: dict[str, list[Tensor]]) -> Tensor:
        return 0.1 * total_variation(batch["x"], inner=2.0, outer=0.5) + 0.1 * inputs["1"][-1].var()

    def at(x: Tensor) -> float:
        return engine([x], lambda z: Batch(x=z[0], y=y), penalty).value

    x, way, h = draw(2), draw(3), 1e-5
    slope = float((engine([x], lambda z: Batch(x=z[0], y=y), penalty).gradient[0] * way).sum())
    assert slope == pytest.approx((at(x + h * way) - at(x - h * way)) / (2 * h), rel=1e-5)


def test_zero_at_the_true_batch_and_unknown_labels_are_differentiated(model: nn.Module) -> None:
    recipe = Recipe(examples=3)
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    x = draw(1)
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=logits.softmax(1))).values
    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=SquaredL2(), sent=sent)
    decode = lambda z: Batch(x=z[0], y=z[1].softmax(1))  # noqa: E731
    assert engine([x, logits], decode).value == pytest.approx(0, abs=1e-20)
    point = engine([draw(2), logits + 1], decode)
    assert [slope.shape for slope in point.gradient] == [x.shape, logits.shape]
    assert all(slope.abs().max() > 0 for slope in point.gradient)


def test_nothing_is_left_behind(model: nn.Module) -> None:
    recipe = RECIPES["gradient, train"]
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    sent = simulate(
        model, cross_entropy, recipe, Batch(x=draw(1), y=torch.tensor([0, 1, 2])), rng=torch.Generator()
    ).values
    engine = Engine(
        model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent, watch=frozenset({"1"})
    )
    x = draw(2)
    points = [engine([x], lambda z: Batch(x=z[0], y=torch.tensor([0, 1, 2]))) for _ in range(2)]
    assert points[0].value == points[1].value, "the dropout mask must be the same in every evaluation"
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.training
    assert not x.requires_grad
    assert x.grad is None


def test_attention_is_differentiated_twice() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            seen = self.head.weight.new_ones(()) * nn.functional.scaled_dot_product_attention(x, x, x)
            return self.head(seen.flatten(1)[:, :8])

    model, recipe, y = Attention(), Recipe(examples=2), torch.tensor([0, 1])
    x = torch.randn(2, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent)
    assert engine([x + 0.3 * x**2], lambda z: Batch(x=z[0], y=y)).gradient[0].abs().max() > 0


def test_refuses_what_does_not_depend_on_the_data_or_has_no_second_derivative() -> None:
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
            ctx.save_for_backward(x)
            return x.square()

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, slope: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
            (x,) = ctx.saved_tensors
            return 2 * x * slope

    class Squared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(self.layer(x))

    x, y = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    model, recipe = Squared(), Recipe(examples=2)
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent)
    with pytest.raises(NotApplicable, match="differentiated twice"):
        engine([x + 1], lambda z: Batch(x=z[0], y=y))

    linear = nn.Linear(4, 2)
    flat = lambda model, batch: model(torch.zeros(1, 4)).sum()  # noqa: E731
    engine = Engine(model=linear, loss=flat, recipe=recipe, distance=Cosine(), sent={"weight": torch.ones(2, 4)})
    with pytest.raises(NotApplicable, match="does not depend"):
        engine([x], lambda z: Batch(x=z[0], y=y))


@pytest.mark.parametrize("recipe", [RECIPES["SGD with momentum"], RECIPES["Adam"], RECIPES["shuffled"]], ids=str)
def test_checkpoints_between_local_steps_change_nothing(model: nn.Module, recipe: Recipe) -> None:
    y = torch.tensor([0, 2, 1])
    sent = simulate(model, cross_entropy, recipe, Batch(x=draw(1), y=y), rng=torch.Generator().manual_seed(5)).values
    points = []
    for checkpoint in (False, True):
        engine = Engine(
            model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent, checkpoint=checkpoint
        )
        points.append(engine([draw(2)], lambda z: Batch(x=z[0], y=y)))
        assert engine.path.endswith("checkpointed between its steps") == checkpoint
    assert points[0].value == pytest.approx(points[1].value, rel=1e-12)
    assert torch.allclose(points[0].gradient[0], points[1].gradient[0], rtol=1e-10, atol=1e-14)


def test_long_graphs_are_checkpointed_but_not_where_priors_look_inside(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, y = RECIPES["Adam"], torch.tensor([0, 2, 1])
    sent = simulate(model, cross_entropy, recipe, Batch(x=draw(1), y=y)).values

    def path(watch: frozenset[str] = frozenset(), recipe: Recipe = recipe) -> str:
        engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=Cosine(), sent=sent, watch=watch)
        engine([draw(2)], lambda z: Batch(x=z[0], y=y))
        return engine.path

    assert "checkpointed" not in path()
    monkeypatch.setattr("gradiometer.numerics.engine.eager.HELD", 1000)
    assert "checkpointed" in path()
    assert "checkpointed" not in path(frozenset({"1"}))
    assert "checkpointed" not in path(recipe=RECIPES["gradient, train"])
