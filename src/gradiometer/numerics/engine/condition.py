"""A preconditioner for steps in the pictures: the first convolution's Gram matrix, inverted as if pictures were periodic.

All that the gradient tells of a picture passes through the first convolution C. Where C' C stretches some waves a thousand times
more than others, conjugate gradients spend their steps on that. On periodic pictures C' C is diagonal in frequencies but for
channels and, with a stride, for the places within a stride: small matrices, one a frequency, that are inverted once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FLOOR = 1e-2
"""Added to the eigenvalues, relative to the largest."""


class Conditioner:
    """Approximates (C' C + floor)^-1 on pictures.

    Args:
        kernel: of the first convolution, [out, channels, k, k].
        stride: the same in both directions; it must divide both sides.
        begin: where the first window begins, before the picture: the padding.
        sides: height and width of the pictures.
    """

    def __init__(self, kernel: Tensor, stride: int, begin: int, sides: tuple[int, int]) -> None:
        self._stride, channels = stride, kernel.shape[1]
        grid = (sides[0] // stride, sides[1] // stride)
        waves = torch.eye(channels * stride**2, dtype=kernel.dtype, device=kernel.device).view(
            -1, channels * stride**2, 1, 1
        )
        impulses = F.pixel_shuffle(F.pad(waves, (0, grid[1] - 1, 0, grid[0] - 1)), stride)
        end = kernel.shape[-1] - 1 - begin
        wrapped = F.pad(impulses, (begin, end, begin, end), mode="circular")
        answers = torch.fft.rfft2(F.conv2d(wrapped, kernel, stride=stride)).permute(2, 3, 1, 0)
        gram = answers.mH @ answers
        floor = FLOOR * torch.linalg.eigvalsh(gram).amax()
        self._inverse = torch.linalg.inv(gram + floor * torch.eye(gram.shape[-1], device=kernel.device)).contiguous()

    def __call__(self, move: Tensor) -> Tensor:
        """Pictures [n, channels, height, width] to the same."""
        waves = torch.fft.rfft2(F.pixel_unshuffle(move, self._stride))
        turned = (self._inverse @ waves.permute(0, 2, 3, 1)[..., None])[..., 0].permute(0, 3, 1, 2)
        sides = (move.shape[-2] // self._stride, move.shape[-1] // self._stride)
        return F.pixel_shuffle(torch.fft.irfft2(turned, sides), self._stride)


def of_first_layer(model: nn.Module, shape: torch.Size) -> Conditioner | None:
    """The preconditioner for pictures [n, channels, height, width] if the model begins with a convolution of them."""
    first = next((m for m in model.modules() if any(True for _ in m.parameters(recurse=False))), None)
    if not isinstance(first, nn.Conv2d) or len(shape) != 4 or first.groups != 1 or max(first.dilation) > 1:
        return None
    (down, across), (height, width) = first.stride, shape[2:]
    reach = max(first.kernel_size)
    begin = first.padding[0] if isinstance(first.padding, tuple) else 0
    fits = down == across and height % down == width % down == 0 and first.kernel_size == (reach, reach)
    if not fits or first.in_channels != shape[1] or min(height, width) < reach or begin >= reach:
        return None
    return Conditioner(first.weight.detach(), down, begin, (height, width))
