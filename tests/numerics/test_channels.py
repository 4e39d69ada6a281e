"""Channels: what they state of a message is true of it, and their distances vanish where nothing contradicts."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gradiometer.core import Channel, derive
from gradiometer.numerics.channels import (
    Additive,
    Clamped,
    Dithering,
    RandomRounding,
    Rescaled,
    Rounding,
    Signs,
    Sparse,
    sequence,
)
from gradiometer.numerics.noise import laplace
from gradiometer.numerics.quantizers import Scheme, grid_steps, in_buckets, scaled_sign, stochastic, uniform
from gradiometer.numerics.shrinking import clip_layers, clip_length, keep_largest, length

Named = dict[str, Tensor]


@pytest.fixture
def raw() -> Named:
    """Heavy-tailed values of two sizes, half of the first tensor exactly zero, as of silent neurons."""
    rng = derive(0)
    large = torch.randn(60, 40, generator=rng) * torch.randn(60, 1, generator=rng)
    large[::2] = 0
    return {"large": large, "small": 0.1 * torch.randn(50, generator=rng)}


def error(decoded: Named, raw: Named, name: str) -> float:
    return float((decoded[name] - raw[name]).square().mean())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_global_steps_are_read_off_the_message(raw: Named, bits: int) -> None:
    sent = uniform(raw, bits, "global")
    low, high = min(float(v.min()) for v in raw.values()), max(float(v.max()) for v in raw.values())
    step = (high - low) / 2**bits
    channel = Rounding(bits=bits)
    for name, value in channel.variance(sent).items():
        assert value.mean() == pytest.approx(step**2 / 12, rel=1e-4)
        assert (sent[name] - raw[name]).abs().max() <= step / 2 * (1 + 1e-4)


def test_a_grid_without_zero_is_decoded_without_its_offset(raw: Named) -> None:
    sent = uniform(raw, 2, "global")
    silent = sent["large"][0, 0]
    assert silent != 0
    assert (sent["large"][::2] == silent).all()
    decoded = Rounding(bits=2).decode(sent)
    assert (decoded["large"][::2] == 0).all()
    assert error(decoded, raw, "large") < error(sent, raw, "large")


@pytest.mark.parametrize(
    ("channel", "send"),
    [
        (Rounding(bits=4), lambda v: uniform(v, 4, "global")),
        (Rounding(bits=3, scheme="symmetric"), lambda v: uniform(v, 3, "symmetric")),
        (Clamped(bound=0.3), lambda v: {k: t.clamp(-0.3, 0.3) for k, t in v.items()}),
        (Signs(), lambda v: {k: scaled_sign(t) for k, t in v.items()}),
        (Rescaled(bound=0.5), lambda v: clip_length(v, 0.5)),
        (Rescaled(bound=0.5, per_layer=True), lambda v: clip_layers(v, 0.5)),
    ],
    ids=["global", "symmetric", "clamp", "signs", "clip", "clip layers"],
)
def test_what_the_message_says_for_certain_costs_nothing(raw: Named, channel: Channel, send: object) -> None:
    """The raw values pay no more than the cosine; moving them out of what was said costs."""
    sent = send(raw)  # type: ignore[operator]
    at_truth = float(channel.distance(raw, sent))
    assert at_truth < 0.2
    moved = {name: -value for name, value in raw.items()}
    assert float(channel.distance(moved, sent)) > at_truth + 0.5


@pytest.mark.parametrize("levels", [1, 3, 7])
def test_dithering_likelihood_is_least_at_the_truth(levels: int) -> None:
    """Scaling the raw values down or up is less likely than the truth, on average over many entries."""
    raw = {"w": torch.randn(200, 100, generator=derive(1))}
    step = raw["w"].abs().max() / levels
    sent = {"w": stochastic(raw["w"], step, derive(2))}
    channel = Dithering(levels=levels)
    at = {f: float(channel.distance({"w": f * raw["w"]}, sent)) for f in (0.25, 0.5, 1.0, 2.0, 4.0)}
    assert min(at, key=at.get) == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", ["global", "symmetric", "channel"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_grids_are_read_off_the_message(raw: Named, scheme: Scheme, rounding: str) -> None:
    """Extremes are levels: the steps of what was sent are those of the raw values, and sent again it stays as it is."""
    sent = uniform(raw, 3, scheme, derive(4) if rounding == "stochastic" else None)
    for name, step in grid_steps(raw, 3, scheme).items():
        assert torch.allclose(grid_steps(sent, 3, scheme)[name], step, rtol=1e-5)
        assert ((sent[name] - raw[name]).abs() <= step * (0.5 if rounding == "nearest" else 1) * (1 + 1e-5)).all()
        assert torch.allclose(uniform(sent, 3, scheme)[name], sent[name], atol=1e-5 * float(step.max()))


@pytest.mark.parametrize("norm", ["l2", "max"])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_dithering_reads_its_steps_off_the_message(norm: str, bits: int) -> None:
    value, levels, order = torch.randn(30, 100, generator=derive(3)), 2 ** (bits - 1) - 1, {"l2": 2, "max": math.inf}
    rows = in_buckets(value, 512)
    step = torch.linalg.vector_norm(rows, ord=order[norm], dim=1, keepdim=True) / levels
    sent = stochastic(rows, step, derive(4)).reshape(-1)[: value.numel()].reshape(value.shape)
    found = Dithering(levels=levels, bucket=512, norm=norm)._steps({"w": sent})["w"]  # type: ignore[arg-type]
    assert torch.allclose(in_buckets(found, 512)[:, 0], step[:, 0], rtol=1e-5)
    scaled = in_buckets(sent, 512) / step
    assert torch.allclose(scaled, scaled.round(), atol=1e-3)


@pytest.mark.parametrize("relative", [False, True])
def test_stated_variance_of_noise_is_the_measured(raw: Named, relative: bool) -> None:
    for law, draw in (("gaussian", lambda v: torch.randn(v.shape, generator=derive(5))), ("laplace", None)):
        sent = {}
        for name, value in raw.items():
            std = 0.5 * float(value.square().mean().sqrt()) if relative else 0.5
            noise = draw(value) if draw else laplace(value, derive(6)) / math.sqrt(2)
            sent[name] = value + std * noise
        stated = Additive(std=0.5, relative=relative, law=law).variance(sent)  # type: ignore[arg-type]
        assert float(stated["large"].mean()) == pytest.approx(error(sent, raw, "large"), rel=0.1)


def test_noise_of_unlike_size_weighs_tensors(raw: Named) -> None:
    """An error within the noise of a loud tensor costs less than the same error in a quiet one."""
    channel = Additive(std=0.5, relative=True)
    gap = 0.1 * torch.ones(50)
    quiet = {"large": raw["large"], "small": raw["small"] + gap}
    loud = {"large": raw["large"].clone(), "small": raw["small"]}
    loud["large"].reshape(-1)[:50] += gap
    assert channel.distance(loud, raw) < channel.distance(quiet, raw)


def test_stated_variances_bound_the_error(raw: Named) -> None:
    """Rounding, dithering and pruning state at least what they do on average here, and not fifty times as much."""
    cases: list[tuple[Channel, Named]] = [
        (Rounding(bits=4), uniform(raw, 4, "global")),
        (Dithering(levels=1), {k: stochastic(v, v.abs().max(), derive(7)) for k, v in raw.items()}),
        *(
            (RandomRounding(bits=3, scheme=scheme), uniform(raw, 3, scheme, derive(8)))
            for scheme in ("global", "symmetric", "channel")
        ),
        (Sparse(keep=0.1), keep_largest(raw, 0.1, "tensor")),
        (Signs(), {k: scaled_sign(v) for k, v in raw.items()}),
    ]
    for channel, sent in cases:
        measured = error(channel.decode(sent), raw, "small")
        assert 0.5 * measured < float(channel.variance(sent)["small"].mean()) < 50 * measured, channel


def test_signs_of_zeros_cancel() -> None:
    """Zeros are sent as positive; decoded, both sides carry the same mass, so that a column of zeros sums to nothing."""
    delta, x = torch.tensor([1.0, -2.0, 3.0, -1.0, 0.5]), torch.tensor([0.0, 1.0, 0.0, 0.7, 0.0])
    decoded = Signs().decode({"w": scaled_sign(torch.outer(delta, x)), "b": scaled_sign(delta)})
    seen = decoded["w"].T @ decoded["b"]
    assert decoded["b"].sum().abs() < 1e-6
    assert seen[x == 0].abs().max() < 1e-6
    assert (seen[x > 0] > 0.1).all()


def test_clamped_entries_tell_only_their_side() -> None:
    sent = {"w": torch.tensor([-0.1, 0.0, 0.05, 0.1])}
    channel = Clamped(bound=0.1)
    assert torch.equal(channel.variance(sent)["w"], torch.tensor([math.inf, 0.0, 0.0, math.inf]))
    assert channel.distance({"w": torch.tensor([-9.0, 0.0, 0.05, 4.0])}, sent) < 1e-6


def test_sequence_brings_the_simulation_forward(raw: Named) -> None:
    """Clip, then quantize: the raw gradient, however long, fits what was sent."""
    sent = uniform(clip_length(raw, 0.5), 8, "global")
    both = sequence([Rescaled(bound=0.5), None, Rounding(bits=8)])
    assert both is not None
    assert length(raw) > 5
    assert both.distance(raw, sent) < 1e-2 < Rounding(bits=8).distance(raw, sent)
    ahead = both.forward(raw)
    assert length(ahead) == pytest.approx(0.5, rel=1e-5)


def test_sequence_of_nothing_and_of_one() -> None:
    assert sequence([None, None]) is None
    assert sequence([None, Signs()]) == Signs()


def test_errors_add_up(raw: Named) -> None:
    both = sequence([Sparse(keep=0.1), Additive(std=0.2)])
    assert both is not None
    assert float(both.variance(raw)["small"].min()) == pytest.approx(0.04)


@pytest.mark.parametrize(
    "channel",
    [
        Rounding(bits=3),
        RandomRounding(bits=3),
        Dithering(levels=3, bucket=64, norm="l2"),
        Signs(),
        Sparse(keep=0.1),
        Clamped(bound=0.1),
        Rescaled(bound=0.1),
        Rescaled(bound=0.1, per_layer=True),
        Additive(std=0.1),
        Additive(std=0.1, law="laplace"),
    ],
    ids=str,
)
def test_slopes_are_finite(raw: Named, channel: Channel) -> None:
    """From zero, from far away, and from the message itself."""
    for factor in (0.0, 1.0, 1e3):
        start = {name: (factor * value).requires_grad_() for name, value in raw.items()}
        slopes = torch.autograd.grad(channel.distance(start, raw), list(start.values()))
        assert all(torch.isfinite(slope).all() for slope in slopes)
