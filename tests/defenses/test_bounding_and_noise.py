"""Clip, GaussianNoise, LaplaceNoise and what they prove together."""

from __future__ import annotations

import math

import pytest
import torch

from gradiometer.core import BadConfig, derive
from gradiometer.defenses import Clip, GaussianNoise, LaplaceNoise, Prune, Quantize, TopK, chain
from gradiometer.numerics.accounting import gaussian_epsilon
from gradiometer.numerics.shrinking import length


def values(scale: float = 1.0) -> dict[str, torch.Tensor]:
    rng = derive(0, "data")
    return {"w": scale * torch.randn(30, 20, generator=rng), "b": 0.1 * scale * torch.randn(30, generator=rng)}


@pytest.mark.parametrize("norm", ["l2", "per_layer", "linf"])
@pytest.mark.parametrize("bound", [1e-3, 0.5, 7.0])
def test_bound_holds(norm: str, bound: float) -> None:
    clipped = Clip(bound=bound, norm=norm).on_gradients(values(), rng=derive(0), memory={})  # type: ignore[arg-type]
    if norm == "linf":
        assert max(float(v.abs().max()) for v in clipped.values()) <= bound * (1 + 1e-6)
    else:
        assert float(length(clipped)) <= bound * (1 + 1e-5)


def test_clip_by_hand() -> None:
    raw = {"w": torch.tensor([3.0, 0.0]), "b": torch.tensor([4.0])}
    sent = Clip(bound=1.0).on_gradients(raw, rng=derive(0), memory={})
    assert sent["w"].tolist() == pytest.approx([0.6, 0.0])
    assert sent["b"].tolist() == pytest.approx([0.8])
    each = Clip(bound=math.sqrt(2), norm="per_layer").on_gradients(raw, rng=derive(0), memory={})
    assert [*each["w"].tolist(), *each["b"].tolist()] == pytest.approx([1.0, 0.0, 1.0])
    entry = Clip(bound=3.5, norm="linf").on_gradients(raw, rng=derive(0), memory={})
    assert [*entry["w"].tolist(), *entry["b"].tolist()] == [3.0, 0.0, 3.5]


def test_short_updates_pass_unclipped() -> None:
    raw = values(1e-3)
    for norm in ("l2", "per_layer"):
        sent = Clip(bound=10.0, norm=norm).on_gradients(raw, rng=derive(0), memory={})  # type: ignore[arg-type]
        assert all(torch.equal(sent[name], value) for name, value in raw.items())


@pytest.mark.parametrize("make", [GaussianNoise, LaplaceNoise])
def test_noise_has_the_stated_size_and_shape(make: type[GaussianNoise]) -> None:
    """Standard deviation within 2 %, mean zero, fourth moment of its law (3 and 6), within sampling error."""
    zero = {"w": torch.zeros(400, 500)}
    noise = make(std=0.3).on_gradients(zero, rng=derive(1), memory={})["w"].double() / 0.3
    assert float(noise.std()) == pytest.approx(1.0, rel=0.02)
    assert abs(float(noise.mean())) < 0.01
    assert float(noise.pow(4).mean()) == pytest.approx(3.0 if make is GaussianNoise else 6.0, rel=0.1)


@pytest.mark.parametrize("make", [GaussianNoise, LaplaceNoise])
def test_relative_noise_follows_each_tensor(make: type[GaussianNoise]) -> None:
    raw = {
        "loud": 100 * torch.randn(300, 300, generator=derive(2)),
        "quiet": torch.randn(300, 300, generator=derive(3)),
    }
    sent = make(std=0.5, relative=True).on_gradients(raw, rng=derive(1), memory={})
    for name, value in raw.items():
        rms = float(value.square().mean().sqrt())
        assert float((sent[name] - value).std()) == pytest.approx(0.5 * rms, rel=0.03)


def test_noise_is_independent_between_tensors_and_rounds() -> None:
    raw, rng = {"a": torch.zeros(1000), "b": torch.zeros(1000)}, derive(4)
    first = GaussianNoise(std=1.0).on_gradients(raw, rng=rng, memory={})
    second = GaussianNoise(std=1.0).on_gradients(raw, rng=rng, memory={})
    stacked = torch.stack([first["a"], first["b"], second["a"]])
    assert (torch.corrcoef(stacked) - torch.eye(3)).abs().max() < 0.1


def test_noise_behind_a_clip_is_private() -> None:
    """The sensitivity of an update in a ball of radius C, when any other may stand in its place, is 2 C."""
    private = chain(Clip(bound=0.5), GaussianNoise(std=2.0))
    assert private.epsilon(1e-5) == gaussian_epsilon(2 * 0.5 / 2.0, 1e-5)
    assert private.epsilon(1e-6) > private.epsilon(1e-5)  # type: ignore[operator]
    assert chain(Clip(bound=0.5, norm="per_layer"), GaussianNoise(std=2.0)).epsilon() == private.epsilon()


def test_what_comes_after_cannot_weaken_and_what_comes_between_can() -> None:
    clip, noise = Clip(bound=0.5), GaussianNoise(std=2.0)
    stated = chain(clip, noise).epsilon()
    assert stated is not None
    for safe in (
        chain(clip, noise, Quantize(bits=4)),
        chain(clip, noise, TopK()),
        chain(clip, Prune(keep=0.1), noise),
        chain(Clip(bound=9.0), clip, noise),
        chain(Quantize(bits=4), clip, noise),
        chain(chain(clip), noise),
    ):
        assert safe.epsilon() == stated
    for unproven in (
        noise,
        clip,
        chain(noise, clip),
        chain(clip, Quantize(bits=4), noise),
        chain(clip, TopK(), noise),
        chain(Clip(bound=0.5, norm="linf"), noise),
        chain(Clip(bound=math.inf), noise),
        chain(clip, GaussianNoise(std=1.0, relative=True)),
        chain(clip, LaplaceNoise(std=1.0)),
        chain(clip, GaussianNoise(std=0.0)),
    ):
        assert unproven.epsilon() is None, unproven


def test_the_sensitivity_is_attained() -> None:
    """Opposite long updates are 2 C apart after the clip, so that no smaller sensitivity would be true."""
    clip = Clip(bound=0.5)
    ends = [clip.on_gradients(values(scale), rng=derive(0), memory={}) for scale in (7.0, -7.0)]
    apart = length({name: ends[0][name] - ends[1][name] for name in ends[0]})
    assert float(apart) == pytest.approx(2 * 0.5, rel=1e-5)


@pytest.mark.parametrize(
    "bad", [lambda: Clip(bound=0.0), lambda: GaussianNoise(std=-1.0), lambda: LaplaceNoise(std=-0.1)]
)
def test_settings_out_of_range(bad: object) -> None:
    with pytest.raises(BadConfig):
        bad()  # type: ignore[operator]
