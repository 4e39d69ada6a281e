"""Picture metrics against scikit-image, with the same settings, and against known answers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from gradiometer.core import Field, image_layout
from gradiometer.metrics import METRICS, mse, pixels, psnr, ssim


def pair(shape: tuple[int, ...], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    truth = torch.rand(shape, generator=rng, dtype=torch.float64)
    return (truth + 0.2 * torch.randn(shape, generator=rng, dtype=torch.float64)).clamp(0, 1), truth


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(3, 40), st.integers(3, 40), st.integers(0, 10**6))
def test_equal_scikit_image(channels, height, width, seed):
    guess, truth = pair((2, channels, height, width), seed)
    side = min(height, width, 11)
    side -= 1 - side % 2
    for i in range(2):
        a, b = guess[i].numpy(), truth[i].numpy()
        assert mse(guess, truth)[i].item() == pytest.approx(mean_squared_error(b, a), abs=1e-12)
        assert psnr(guess, truth)[i].item() == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-9)
        known = structural_similarity(
            b,
            a,
            data_range=1,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5 * side / 11,
            win_size=side,
            use_sample_covariance=False,
        )
        assert ssim(guess, truth)[i].item() == pytest.approx(known, abs=1e-4)


def test_known_answers():
    black, white = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    assert psnr(black, white).item() == 0
    assert psnr(black, black).item() == 160  # capped, not infinite
    assert psnr(black + 0.1, black).item() == pytest.approx(20, abs=1e-4)
    assert ssim(black, black).item() == pytest.approx(1)
    assert ssim(black, white).item() == pytest.approx(1e-4 / (1 + 1e-4))  # only c1 is left of the luminance term
    assert ssim(torch.ones(2, 1, 1, 2), torch.ones(2, 1, 1, 2)).tolist() == [1, 1]


def test_one_value_a_picture_and_no_sum_over_them():
    guess, truth = pair((5, 1, 12, 12), 0)
    for metric in (mse, psnr, ssim):
        assert metric(guess, truth).shape == (5,)
        assert metric(guess[2:3], truth[2:3]).item() == pytest.approx(metric(guess, truth)[2].item())


def test_pixels_undo_normalization_and_clamp():
    field = image_layout((3, 2, 2), 10, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3))["x"]
    natural = torch.rand(4, 3, 2, 2)
    assert torch.allclose(pixels(field.normalize(natural), field).float(), natural, atol=1e-6)
    assert pixels(torch.full((1, 3, 2, 2), 99.0), field).eq(1).all()
    bytes_ = Field(shape=(1, 1, 1), kind="pixels", low=0.0, high=255.0)
    assert pixels(torch.tensor([[[[51.0]]]]), bytes_).item() == pytest.approx(0.2)


def test_catalogue_is_complete():
    for metric, card in METRICS.values():
        assert callable(metric)
        assert card.summary.endswith(".")
        assert card.leak in ("higher", "lower")
        assert not math.isnan(card.low + card.high)
