"""What an attacker knows of pictures without looking at the gradient: penalties on the unknown.

A prior is a small value; `prior.term(update)` prepares it for one update. All act on pictures as the model takes them
(normalized), as the papers' weights assume.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import Update

from .feature_prior import HeadFeatures
from .latent_prior import LatentNormal
from .statistics_prior import BatchStatistics
from .terms import Iterate, Term

__all__ = [
    "BatchStatistics",
    "GroupConsistency",
    "HeadFeatures",
    "LatentNormal",
    "Norm",
    "Prior",
    "TotalVariation",
    "total_variation",
]


@runtime_checkable
class Prior(Protocol):
    """A penalty on the pictures, as a value."""

    def term(self, update: Update) -> Term:
        """Prepares the penalty for this update, in which recovered labels stand where the threat grants none.

        Raises:
            MissingKnowledge, NotApplicable: what it needs is not granted, or the model has no such layer.
        """
        ...


def total_variation(
    x: Tensor, *, inner: float = 1.0, outer: float = 1.0, double_opponents: bool = False, eps: float = 1e-8
) -> Tensor:
    """mean over pixels of (|dx|^inner + |dy|^inner)^outer, dx and dy being differences to the next pixel.

    Args:
        x: [n, channels, height, width].
        inner, outer: exponents; 1 and 1 is anisotropic, 2 and 1/2 isotropic total variation.
        double_opponents: color pictures only: the differences of the three pairs of channels are added as channels.
        eps: added inside the outer power, to keep the derivative of a root finite.

    Returns:
        A scalar.

    References:
        Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms", 1992.
        Åström, Åström, Akbarzadeh, "Double opponent based regularizers for color images", 2015.
    """
    if double_opponents and x.shape[1] == 3:
        red, green, blue = x.unbind(1)
        x = torch.stack([red, green, blue, red - green, red - blue, green - blue], 1)
    if inner == outer == 1:
        return (x * _uphill(x.detach())).sum() / x.numel()
    across, down = (x[..., :, 1:] - x[..., :, :-1]).abs(), (x[..., 1:, :] - x[..., :-1, :]).abs()
    across, down = F.pad(across, (0, 1)), F.pad(down, (0, 0, 0, 1))
    if inner != 1:
        across, down = across**inner, down**inner
    total = across + down
    return ((total + eps) ** outer if outer != 1 else total).mean()


def _uphill(x: Tensor) -> Tensor:
    """The derivative of sum |dx| + |dy|; the sum itself is its inner product with x, which autograd takes through in one step."""
    slope = torch.zeros_like(x)
    for dim in (-2, -1):
        last = x.shape[dim] - 1
        step = x.diff(dim=dim).sign_()
        slope.narrow(dim, 1, last).add_(step)
        slope.narrow(dim, 0, last).sub_(step)
    return slope


@dataclass(frozen=True, kw_only=True)
class TotalVariation:
    """weight * mean((|dx|^inner + |dy|^inner)^outer): neighboring pixels of a photograph are alike."""

    weight: float = 1e-4
    inner: float = 1.0
    outer: float = 1.0
    double_opponents: bool = False

    def term(self, update: Update) -> Term:
        """See `Prior.term`."""

        def penalty(at: Iterate) -> Tensor:
            return self.weight * total_variation(
                at.x, inner=self.inner, outer=self.outer, double_opponents=self.double_opponents
            )

        return Term(penalty=penalty)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """weight * mean(x^2) / 2: pixels stay near the mean of the data."""

    weight: float = 1e-6

    def term(self, update: Update) -> Term:
        """See `Prior.term`."""
        return Term(penalty=lambda at: self.weight / 2 * at.x.square().mean())


@dataclass(frozen=True, kw_only=True)
class GroupConsistency:
    """weight * mean((x - mean over starts)^2): what several starts agree on is likelier than what one alone found."""

    weight: float = 0.01

    def term(self, update: Update) -> Term:
        """See `Prior.term`."""

        def penalty(at: Iterate) -> Tensor:
            center = at.x.detach() if at.consensus is None else at.consensus
            return self.weight * (at.x - center).square().mean()

        return Term(penalty=penalty, compares=True)
