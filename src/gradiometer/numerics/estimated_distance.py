"""A distance for somebody who was told of no defense, and reads off the update what was done to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Values

from .distances import TINY, Comparison

MORE_ZEROS = 0.1
"""Entries were dropped if the sent update has more exact zeros than the simulated one by at least this share of all entries."""


@dataclass(frozen=True, kw_only=True)
class EstimatedTransform:
    """|T(s) - t|^2 / |t|^2, T(s) = m s min(1, |t| / |m s|): bounded by the length of t, and zero where entries were dropped.

    The mask m is 0 where t is, if t has far more zeros than s, and else 1: zeros that s has as well are the network's own.
    Noise is met by the squared distance itself.

    References:
        Li, Zhang, Liu, Liu, "Auditing Privacy Defenses in Federated Learning via Generative Gradient Leakage", 2022,
        arXiv:2203.15696 (clip bound from the length, sparsity from the zeros of the update).
    """

    def against(self, sent: Values) -> Comparison:
        """See `Distance.against`."""
        target = _flat(sent, sent)
        dropped = target == 0
        squared = target.square().sum().clamp_min(TINY)
        length, zeros = squared.sqrt(), dropped.float().mean()

        def compare(simulated: Values) -> tuple[Tensor, dict[str, Tensor]]:
            kept = _flat(simulated, sent)
            masked = bool(zeros - (kept == 0).float().mean() > MORE_ZEROS)
            if masked:
                kept = kept.masked_fill(dropped, 0)
            own = kept.norm().clamp_min(TINY)
            factor = (length / own).clamp_max(1)
            gap = factor * kept - target
            slope = 2 / squared * gap
            if factor < 1:  # the length is fixed: what remains is the slope across s
                slope = slope - kept * (torch.dot(kept, slope) / own.square())
            slope = factor * slope
            if masked:
                slope = slope.masked_fill(dropped, 0)
            parts = slope.split([value.numel() for value in sent.values()])
            cotangents = {name: part.view(value.shape) for (name, value), part in zip(sent.items(), parts)}
            return gap.square().sum() / squared, cotangents

        return compare


def _flat(values: Values, order: Values) -> Tensor:
    return torch.cat([values[name].reshape(-1) for name in order])
