"""Chain: order, memories, sizes, and the attacker who knows all members."""

from __future__ import annotations

from typing import Any

import torch

from gradiometer.core import derive
from gradiometer.defenses import QSGD, Chain, Clip, GaussianNoise, Prune, Quantize, Sign, Ternary, TopK, chain
from gradiometer.numerics.channels import Rescaled, Rounding, Sequence


def values() -> dict[str, torch.Tensor]:
    return {"w": torch.randn(30, 20, generator=derive(0)), "b": torch.randn(30, generator=derive(1))}


def test_members_apply_in_order() -> None:
    raw = values()
    one = chain(Clip(bound=1.0), Quantize(bits=3)).on_gradients(raw, rng=derive(2), memory={})
    clipped = Clip(bound=1.0).on_gradients(raw, rng=derive(2), memory={})
    other = Quantize(bits=3).on_gradients(clipped, rng=derive(2), memory={})
    assert all(torch.equal(one[name], value) for name, value in other.items())


def test_chains_are_taken_apart() -> None:
    assert chain(chain(Clip(), Prune()), Sign()) == Chain(members=(Clip(), Prune(), Sign()))


def test_the_empty_chain_is_the_identity() -> None:
    raw = values()
    sent = chain().on_gradients(raw, rng=derive(0), memory={})
    assert all(sent[name] is value for name, value in raw.items())
    assert chain().channel() is None
    assert chain().wire_bytes(raw) == 4 * 630


def test_every_member_has_its_own_memory() -> None:
    memory: dict[str, Any] = {}
    both = chain(TopK(keep=0.1), Sign(error_feedback=True))
    raw = values()
    sent = both.on_gradients(raw, rng=derive(0), memory=memory)
    first, second = memory["member 0"]["residual"], memory["member 1"]["residual"]
    for name, value in raw.items():
        assert torch.allclose(sent[name] + first[name] + second[name], value, atol=1e-6)


def test_members_draw_differently() -> None:
    raw = {"w": torch.zeros(2000)}
    twice = chain(GaussianNoise(std=1.0), GaussianNoise(std=1.0)).on_gradients(raw, rng=derive(0), memory={})
    assert 1.3 < float(twice["w"].std()) < 1.53  # sqrt(2), and 2 if both drew the same


def test_size_is_that_of_the_shortest_encoding_that_still_fits() -> None:
    raw = values()

    def size(*members: Any) -> int:
        defense = chain(*members)
        return defense.wire_bytes(defense.on_gradients(raw, rng=derive(0), memory={}))

    assert size(Clip(), Quantize(bits=8)) == size(Quantize(bits=8)) == 638
    assert size(Quantize(bits=8), Clip()) == 638
    assert size(Quantize(bits=8), GaussianNoise()) == 4 * 630
    assert size(GaussianNoise(), Quantize(bits=8)) == 638
    assert size(Prune(keep=0.01), Quantize(bits=8, scheme="symmetric")) == size(Prune(keep=0.01))
    assert size(Quantize(bits=8), Ternary()) == Ternary().wire_bytes(raw)
    assert size(Ternary(), QSGD(bits=8)) == QSGD(bits=8).wire_bytes(raw)


def test_the_informed_attacker_knows_all_members() -> None:
    channel = chain(Clip(bound=1.0), Quantize(bits=32), Quantize(bits=4)).channel()
    assert channel == Sequence(channels=(Rescaled(bound=1.0), Rounding(bits=4)))
    assert chain(Clip(bound=1.0)).channel() == Rescaled(bound=1.0)
