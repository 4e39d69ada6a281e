"""Shift structure: batch size from the spectrum, delta maps up to mixing, unmixing."""

from __future__ import annotations

import torch
from torch.nn.grad import conv2d_weight

from gradiometer.numerics.recursion.columns import column_maps, solvable
from gradiometer.numerics.recursion.shift import delta_maps, spectrum
from gradiometer.numerics.recursion.unmix import unmix
from gradiometer.numerics.recursion.wide_shift import batch_spectrum, wide_delta_maps


def maps(examples: int, channels: int = 80, kernel: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    level = torch.randn(examples, channels, 1, 1, generator=rng, dtype=torch.float64)
    mask = torch.rand(examples, channels, 4, 4, generator=rng, dtype=torch.float64) > 0.5
    value = torch.randn(examples, channels, 4, 4, generator=rng, dtype=torch.float64).clamp_min(0)
    delta = level * mask
    return delta, conv2d_weight(value, (channels, channels, kernel, kernel), delta, padding=kernel // 2)


def apart(single: torch.Tensor | None, delta: torch.Tensor) -> bool:
    """Whether these maps [channels, examples, height, width] are the examples' own, up to scale and order."""
    assert single is not None
    a, b = single.transpose(0, 1).flatten(1), delta.flatten(1)
    cosine = (a @ b.T).abs() / a.norm(dim=1)[:, None] / b.norm(dim=1)
    each = sorted(cosine.argmax(1).tolist()) == list(range(len(delta)))
    return each and bool((cosine.max(1).values > 1 - 1e-6).all())


def test_the_batch_size_is_read_off_the_spectrum() -> None:
    for examples in (1, 2, 4):
        seen = spectrum(maps(examples)[1], 16)
        assert (seen.examples, seen.rank) == (examples, 16 * examples)
        assert seen.gap > 1e4


def test_a_loud_direction_is_no_cliff() -> None:
    """Singular values that fall evenly from a twentieth of the loudest to the rounding: the examples fill the channels."""
    rng = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(n, 80, generator=rng, dtype=torch.float64)).Q for n in (80, 720))
    values = torch.cat([torch.ones(1), torch.logspace(-1.3, -6.3, 79)]).double()
    seen = spectrum((left * values @ right.T).reshape(80, 80, 3, 3), 16)
    assert seen.full


def test_delta_maps_come_out_up_to_scale_and_order() -> None:
    for examples in (1, 3):
        delta, weight = maps(examples)
        assert apart(unmix(delta_maps(weight, (4, 4), examples), rng=torch.Generator().manual_seed(0)), delta)


def test_pictures_of_one_class_are_told_apart_though_their_masks_mostly_change_together() -> None:
    """Equal levels up to 1e-3, and masks that differ in a tenth: two positions differ in both examples more often than in one."""
    rng = torch.Generator().manual_seed(0)
    level = torch.randn(2, 80, 1, 1, generator=rng, dtype=torch.float64)
    level[1] = level[0] * (1 + 1e-3 * torch.randn(80, 1, 1, generator=rng, dtype=torch.float64))
    mask = torch.rand(2, 80, 4, 4, generator=rng, dtype=torch.float64) > 0.5
    mask[1] = mask[0] ^ (torch.rand(80, 4, 4, generator=rng, dtype=torch.float64) < 0.1)
    delta = level * mask
    mixing = torch.randn(2, 2, generator=rng, dtype=torch.float64)
    assert apart(unmix(torch.einsum("echw,em->cmhw", delta, mixing), rng=rng), delta)


def test_an_example_that_never_changes_alone_is_told_apart() -> None:
    """In every channel the last one's mask is that of one of the others."""
    rng = torch.Generator().manual_seed(0)
    level = torch.randn(5, 80, 1, 1, generator=rng, dtype=torch.float64)
    mask = torch.rand(5, 80, 4, 4, generator=rng, dtype=torch.float64) > 0.5
    mask[4] = mask[torch.randint(4, (80,), generator=rng), torch.arange(80)]
    delta = level * mask
    mixing = torch.randn(5, 5, generator=rng, dtype=torch.float64)
    assert apart(unmix(torch.einsum("echw,em->cmhw", delta, mixing), rng=rng), delta)


def test_more_positions_than_channels_are_followed_one_axis_at_a_time() -> None:
    for channels, kernel in ((40, 3), (45, 5)):
        delta, weight = maps(3, channels, kernel)  # 48 positions
        assert batch_spectrum(weight, (4, 4)).examples == 3
        mixed = wide_delta_maps(weight, (4, 4), 3).transpose(0, 1).flatten(1).T
        wanted = delta.flatten(1).T
        found = mixed @ torch.linalg.lstsq(mixed, wanted).solution
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)


def test_a_single_example_is_read_column_by_column() -> None:
    delta, weight = maps(1)
    found = column_maps(weight, (4, 4)).flatten(1)
    wanted = delta[0].flatten(1)
    cosine = torch.nn.functional.cosine_similarity(found, wanted).abs()
    assert (cosine[wanted.norm(dim=1) > 0] > 1 - 1e-6).all()


def test_as_few_channels_as_positions_and_fully_active_ones_are_read_too() -> None:
    rng = torch.Generator().manual_seed(3)
    mask = torch.rand(16, 4, 4, generator=rng, dtype=torch.float64) > 0.5
    mask[:6] = True  # the rank of the delta maps is 11, not 16
    level = torch.randn(16, generator=rng, dtype=torch.float64)
    delta = (level[:, None, None] * mask)[None]
    value = torch.randn(1, 16, 4, 4, generator=rng, dtype=torch.float64).clamp_min(0)
    weight = conv2d_weight(value, (16, 16, 3, 3), delta, padding=1)
    found = column_maps(weight, (4, 4)) / level[:, None, None]
    found = found / found[0].mean()
    torch.testing.assert_close(found, mask.double(), rtol=0, atol=1e-5)


def test_large_maps_are_left_to_others() -> None:
    assert solvable(torch.zeros(512, 512, 3, 3), (7, 7))
    assert not solvable(torch.zeros(512, 512, 3, 3), (14, 14))
