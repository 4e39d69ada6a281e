"""Every rule and every way to compute a layer against double backward, in float64, and the whole path on random networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gradiometer.core import Batch, NotApplicable, Recipe, cross_entropy, simulate
from gradiometer.models import lenet, resnet18, vit
from gradiometer.numerics.distances import L1, Cosine, Distance, LayerwiseCosine, SquaredL2
from gradiometer.numerics.engine import Engine, choice, unfolded, winograd
from gradiometer.numerics.engine.capture import capture
from gradiometer.numerics.engine.condition import of_first_layer
from gradiometer.numerics.engine.rule import Slot

CLASSES = 3


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


def compared(model: nn.Module, x: Tensor, distance: Distance, *, mode: str = "eval") -> tuple[str, float]:
    """The path that is taken, and how far its derivative is from double backward's in float64."""
    n, rng = len(x), torch.Generator().manual_seed(7)
    y = torch.randint(CLASSES, (n,), generator=rng)
    recipe = Recipe(examples=n, mode=mode)  # type: ignore[arg-type]
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    start = [torch.randn(x.shape, generator=rng, dtype=x.dtype)]

    def decode(z: list[Tensor]) -> Batch:
        return Batch(x=z[0], y=y)

    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=distance, sent=sent)
    point = engine(start, decode)
    assert point.gradient[0].is_contiguous(), "torch's L-BFGS takes views"
    general = Engine(
        model=model.double(),
        loss=cross_entropy,
        recipe=recipe,
        distance=distance,
        sent={name: value.double() for name, value in sent.items()},
        general=True,
    )
    truth = general([start[0].double()], lambda z: Batch(x=z[0], y=y))
    assert point.value == pytest.approx(truth.value, rel=1e-4, abs=1e-6)
    return engine.path, off(point.gradient[0].double(), truth.gradient[0])


class Residual(nn.Module):
    """A block with a skip, of functions instead of modules."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.gain = nn.Conv2d(channels, channels, 3, padding=1), nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.conv(x)) * self.gain + 0.5 * x


class Attending(nn.Module):
    """torch's attention over positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q, k, v) + (q @ k.transpose(1, 2)).softmax(-1) @ v
        # Contiguous, as torch 2.13's double backward of BatchNorm is wrong for one example whose channels come last.
        return mixed.transpose(1, 2).contiguous().reshape(x.shape)


PIECES: dict[str, Callable[[int], nn.Module]] = {
    "conv": lambda c: nn.Conv2d(c, c, 3, padding=1),
    "dilated": lambda c: nn.Conv2d(c, c, 3, padding=2, dilation=2, bias=False),
    "grouped": lambda c: nn.Conv2d(c, c, 3, padding=1, groups=2),
    "pointwise": lambda c: nn.Conv2d(c, c, 1),
    "strided": lambda c: nn.Conv2d(c, c, 4, stride=2, padding=2),
    "same": lambda c: nn.Conv2d(c, c, (3, 1), padding="same"),
    "sigmoid": lambda c: nn.Sigmoid(),
    "gelu": lambda c: nn.GELU(),
    "approximate": lambda c: nn.GELU("tanh"),
    "silu": lambda c: nn.SiLU(),
    "mish": lambda c: nn.Mish(),
    "tanh": lambda c: nn.Tanh(),
    "batch": lambda c: nn.BatchNorm2d(c),
    "plain batch": lambda c: nn.BatchNorm2d(c, affine=False),
    "group": lambda c: nn.GroupNorm(2, c),
    "instance": lambda c: nn.InstanceNorm2d(c, affine=True),
    "average": lambda c: nn.AvgPool2d(2, 1),
    "residual": Residual,
    "attention": Attending,
    "shared": lambda c: nn.Sequential(*[nn.Conv2d(c, c, 1)] * 2),
    "dropout": lambda c: nn.Dropout(0.0),
}
KINKED: dict[str, Callable[[int], nn.Module]] = {
    "relu": lambda c: nn.ReLU(),
    "leaky": lambda c: nn.LeakyReLU(0.1),
    "max": lambda c: nn.MaxPool2d(3, 2, 1),
}


def network(pieces: list[str], channels: int) -> nn.Module:
    torch.manual_seed(len(pieces))
    body = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), *((PIECES | KINKED)[p](channels) for p in pieces))
    return nn.Sequential(
        body, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.LayerNorm(4 * channels), nn.Linear(4 * channels, CLASSES)
    )


@pytest.mark.parametrize("piece", [*PIECES, *KINKED])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_every_piece_alone(piece: str, mode: str) -> None:
    rng = torch.Generator().manual_seed(1)
    model = network([piece], 4).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=rng)  # type: ignore[operator, union-attr]
            module.running_var.uniform_(0.5, 2, generator=rng)  # type: ignore[operator, union-attr]
    x = torch.randn(2, 3, 8, 8, generator=rng, dtype=torch.float64)
    assert compared(model, x, Cosine(), mode=mode) == ("r-operator", pytest.approx(0, abs=1e-9))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([*PIECES, *KINKED]), min_size=2, max_size=5), st.integers(1, 3))
def test_random_networks(pieces: list[str], n: int) -> None:
    x = torch.randn(n, 3, 9, 9, generator=torch.Generator().manual_seed(n))
    path, error = compared(network(pieces, 4), x, Cosine())
    assert path == "r-operator"
    assert error < 1e-4


@pytest.mark.parametrize(
    ("make", "distance"),
    [
        *((make, d) for make in ("lenet", "resnet18", "vit") for d in (Cosine(), SquaredL2(), L1())),
        # Not the vit: its keys' bias has no gradient but rounding, of which a cosine of its own says nothing.
        *((make, LayerwiseCosine()) for make in ("lenet", "resnet18")),
    ],
)
def test_every_distance_on_known_networks(make: str, distance: Distance) -> None:
    made = {
        "lenet": lambda: lenet((3, 16, 16), CLASSES),
        "resnet18": lambda: resnet18((3, 8, 8), CLASSES, width=0.25, init="torch"),
        "vit": lambda: vit((3, 8, 8), CLASSES, width=16, depth=2, heads=2),
    }
    model = made[make]().double()
    side = 16 if make == "lenet" else 8
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert compared(model, x, distance) == ("r-operator", pytest.approx(0, abs=1e-8))


@pytest.mark.parametrize("way", ["direct", "unfolded", "ghost", "winograd2", "winograd4"])
@pytest.mark.parametrize(("side", "padding"), [(8, 1), (7, 0), (5, 2)])
def test_every_way_to_convolve(way: str, side: int, padding: int) -> None:
    """All four passes against autograd."""
    rng = torch.Generator().manual_seed(5)
    weight = torch.randn(6, 4, 3, 3, generator=rng, dtype=torch.float64)
    bias, sent = torch.randn(6, generator=rng, dtype=torch.float64), torch.randn(weight.shape, generator=rng).double()
    x, move = (torch.randn(2, 4, side, side, generator=rng, dtype=torch.float64) for _ in range(2))
    geometry = unfolded.Geometry(
        shape=(2, 4, side, side),
        outputs=6,
        kernel=(3, 3),
        stride=(1, 1),
        padding=(padding, padding),
        dilation=(1, 1),
        groups=1,
    )
    layout = winograd.slot_layout if way.startswith("winograd") else unfolded.slot_layout
    slots = [Slot(name="weight", value=layout(weight).contiguous()), Slot(name="bias", value=bias)]
    rule = choice.made(way, *slots, geometry)
    delta, turn = (torch.randn(2, 6, *geometry.sides, generator=rng, dtype=torch.float64) for _ in range(2))
    for slot in slots:
        slot.gradient, slot.change = torch.zeros_like(slot.value), torch.zeros_like(slot.value)

    def run(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
        return F.conv2d(x, w, b, padding=padding)

    inputs = tuple(value.clone().requires_grad_() for value in (x, weight, bias))
    output = run(*inputs)
    pulled = torch.autograd.grad(output, inputs, delta)
    assert off(rule.forward(x), output.detach()) < 1e-12
    assert off(rule.backward(delta, True)[0], pulled[0]) < 1e-12  # type: ignore[arg-type]
    gradient, along, across = pulled[1], 0.0, 1.0
    if isinstance(rule, unfolded.Unfolded) and rule.matrix.ghost:
        rule.matrix.send(layout(sent).contiguous())
        inner, squared = rule.matrix.products().tolist()
        assert inner == pytest.approx(float((gradient * sent).sum()))
        assert squared == pytest.approx(float(gradient.square().sum()))
        along = rule.matrix.along = 0.3
        across = rule.matrix.across = -0.7
    else:
        assert slots[0].gradient is not None
        assert off(slots[0].gradient, layout(gradient)) < 1e-12
        slots[0].move = layout(sent).contiguous()
    slots[1].move = torch.ones_like(bias)
    cotangent = along * gradient + across * sent
    expected = run(move, weight, torch.zeros_like(bias)) + run(x, cotangent, torch.ones_like(bias))
    moved = rule.tangent(move)
    assert moved is not None
    assert off(moved, expected) < 1e-12
    transposed = F.conv_transpose2d(turn, weight, padding=padding) + F.conv_transpose2d(
        delta, cotangent, padding=padding
    )
    assert off(rule.pull(turn)[0], transposed) < 1e-12  # type: ignore[arg-type]
    if way != "ghost":
        rule.collect()
        change = sum(
            torch.autograd.grad(run(a, inputs[1], inputs[2]), inputs[1], d)[0] for a, d in ((x, turn), (move, delta))
        )
        assert off(slots[0].change, layout(change)) < 1e-12  # type: ignore[arg-type]
        assert off(slots[1].change, turn.sum((0, 2, 3))) < 1e-12  # type: ignore[arg-type]


def test_what_cannot_be_captured_takes_the_general_path_and_says_why() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(12, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x.flatten(1)) * (1 if x.sum() > 0 else 2)

    path, error = compared(Branching().double(), torch.randn(2, 3, 2, 2, dtype=torch.float64), Cosine())
    assert path.startswith("double backward: the forward pass")
    assert error < 1e-12
    dropout = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Dropout(0.5), nn.Linear(6, CLASSES)).train()
    with pytest.raises(NotApplicable, match="at random"):
        capture(dropout, torch.zeros(1, 3, 2, 2), frozenset(n for n, _ in dropout.named_parameters()), ghosts=True)


class Keyed(nn.Module):
    """torch's own attention module: weights, three arguments, two results; and an LSTM, a tuple of them."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.out = kind, nn.Linear(4, CLASSES)
        self.inner: nn.Module = nn.MultiheadAttention(4, 2, batch_first=True) if kind == "attention" else nn.LSTM(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        found = self.inner(tokens, tokens, tokens)[0] if self.kind == "attention" else self.inner(tokens)[0]
        return self.out(found.mean(1))


@pytest.mark.parametrize("kind", ["attention", "lstm"])
def test_modules_that_return_several_tensors_take_the_general_path(kind: str) -> None:
    x = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    path, error = compared(Keyed(kind).double(), x, Cosine())
    assert path.startswith("double backward: inner has weights")
    assert error < 1e-12


def test_a_nonlinear_function_of_a_tuple_is_right() -> None:
    class Top(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(12, 6), nn.Linear(3, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.topk(self.first(x.flatten(1)).square(), 3)[0])

    x = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    assert compared(Top().double(), x, Cosine()) == ("r-operator", pytest.approx(0, abs=1e-9))


@pytest.mark.parametrize(("m", "limit"), [(2, 2e-6), (4, 1e-5)])
def test_winograd_rounds_little_in_32_bits(m: int, limit: float) -> None:
    rng = torch.Generator().manual_seed(8)
    weight, x = torch.randn(32, 32, 3, 3, generator=rng), torch.randn(2, 32, 16, 16, generator=rng)
    geometry = unfolded.Geometry(
        shape=(2, 32, 16, 16), outputs=32, kernel=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1
    )
    rule = choice.made(f"winograd{m}", Slot(name="w", value=winograd.slot_layout(weight).contiguous()), None, geometry)
    rule.forward(x)
    moved = rule.tangent(x)
    assert moved is not None
    assert off(moved.double(), F.conv2d(x.double(), weight.double(), padding=1)) < limit


def test_frozen_layers_have_no_share_in_the_distance() -> None:
    model = network(["conv", "batch", "gelu"], 4).double()
    for parameter in model[0][0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert compared(model, x, Cosine()) == ("r-operator", pytest.approx(0, abs=1e-10))


@pytest.mark.parametrize("distance", [Cosine(), SquaredL2(), L1()])
def test_parameters_that_the_model_does_not_use_have_no_gradient(distance: Distance) -> None:
    model = network(["conv", "gelu"], 4).double()
    model.register_parameter("unused", nn.Parameter(torch.ones(3, dtype=torch.float64)))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    assert compared(model, x, distance) == ("r-operator", pytest.approx(0, abs=1e-8))


def smooth(activation: str = "sigmoid") -> nn.Module:
    return lenet((3, 16, 16), CLASSES, activation=activation)


def prepared(
    model: nn.Module, n: int, *, general: bool
) -> tuple[Engine, list[Tensor], Callable[[list[Tensor]], Batch]]:
    rng = torch.Generator().manual_seed(11)
    x, y = torch.randn(n, 3, 16, 16, generator=rng, dtype=torch.float64), torch.arange(n) % CLASSES
    recipe = Recipe(examples=n)
    sent = simulate(model, cross_entropy, recipe, Batch(x=x, y=y)).values
    engine = Engine(model=model, loss=cross_entropy, recipe=recipe, distance=SquaredL2(), sent=sent, general=general)
    return engine, [torch.rand(x.shape, generator=rng, dtype=torch.float64)], lambda z: Batch(x=z[0], y=y)


def test_both_slopes_agree_and_are_transposes() -> None:
    model, rng = smooth().double(), torch.Generator().manual_seed(12)
    (fast, start, decode), (slow, *_) = prepared(model, 2, general=False), prepared(model, 2, general=True)
    one, other = fast.slope(start, decode), slow.slope(start, decode)
    assert (fast.path, slow.path) == ("r-operator", "double backward")
    move = [torch.randn(start[0].shape, generator=rng, dtype=torch.float64)]
    pushed, slow_pushed = one.push(move), other.push(move)
    assert float(pushed.norm()) == pytest.approx(float(slow_pushed.norm()), rel=1e-9)
    assert float(one.residual.square().sum()) == pytest.approx(fast(start, decode).distance, rel=1e-9)
    again, slow_again = fast.slope(start, decode).pull(pushed)[0], other.pull(slow_pushed)[0]
    assert off(again, slow_again) < 1e-9
    assert float((again * move[0]).sum()) == pytest.approx(float(pushed.square().sum()), rel=1e-9)


def test_the_conditioner_inverts_the_first_convolution_of_periodic_pictures() -> None:
    model = smooth().double()
    conditioner = of_first_layer(model, torch.Size((1, 3, 16, 16)))
    assert conditioner is not None
    rng = torch.Generator().manual_seed(13)
    picture = torch.randn(1, 3, 16, 16, generator=rng, dtype=torch.float64).requires_grad_()
    kernel = next(model.parameters()).detach()
    seen = F.conv2d(F.pad(picture, (2, 2, 2, 2), mode="circular"), kernel, stride=2)
    (gram,) = torch.autograd.grad(seen, picture, seen.detach())
    rest, floor = picture.detach() - conditioner(gram), conditioner(picture.detach())
    assert float(F.cosine_similarity(rest.flatten(), floor.flatten(), 0)) == pytest.approx(1, abs=1e-9)
    assert of_first_layer(nn.Linear(3, 3), torch.Size((1, 3))) is None
