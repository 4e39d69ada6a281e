"""Bias gradients as checksums: a bias' gradient is the sum of delta over examples and positions, channel by channel.

One unit whose slope is taken wrongly shows in its channel's sum at once, and the unit that mends the sum is found among
the few whose value is as small as its error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .graph import Activation, Graph, Layer, Norm, Reshape, Sum

BORDER = 6.0
"""Expected errors above zero from which a unit is taken for active."""
SPREAD = 16.0
"""A sum disagrees if its error exceeds the median channel's by this factor."""


@dataclass(frozen=True, kw_only=True)
class Repair:
    """The activation's derivative by its input after the check.

    Args:
        delta: derivatives by the activation's input.
        flips: units whose slope was changed.
        unresolved: channels whose sum still disagrees.
        checked: channels that had a checksum.
        residual: largest disagreement left, relative to a channel's mean sum of absolute terms.
    """

    delta: Tensor
    flips: int = 0
    unresolved: int = 0
    checked: int = 0
    residual: float = 0.0


def sums(graph: Graph, gradient: Mapping[str, Tensor], name: str) -> Tensor | None:
    """The gradient of a bias that is added to this tensor (directly, or in a branch that is): the sums of its delta."""
    node = graph.nodes[name]
    operation = node.operation
    if isinstance(operation, (Norm, Layer)):
        return gradient.get(operation.bias_name or "")
    if isinstance(operation, Sum):
        found = (sums(graph, gradient, branch) for branch in dict.fromkeys(node.inputs))
        return next((value for value in found if value is not None), None)
    if isinstance(operation, Reshape) and graph.nodes[node.inputs[0]].shape[:1] == node.shape[:1]:
        return sums(graph, gradient, node.inputs[0])
    return None


def checked(
    activation: Activation, value: Tensor, deviation: Tensor, delta: Tensor, sums: Tensor | None, *, dense: bool
) -> Repair:
    """Multiplies delta by the slope and mends units at the kink until the sums agree.

    Args:
        value: the activation's output [n, ...]; deviation: its expected error, same shape.
        delta: derivatives by the activation's output.
        sums: a channel's sum of derivatives by the input, or None where no bias gradient tells it.
        dense: channels come last instead of second.
    """
    sharp = torch.where(value.abs() <= BORDER * deviation, 0.0, value) if activation.kinked else value
    slope = activation.slope(sharp)
    if sums is None:
        return Repair(delta=delta * slope)
    back = (lambda t: t.movedim(0, -1)) if dense else (lambda t: t.movedim(0, 1))
    flat = [(t.movedim(-1, 0) if dense else t.movedim(1, 0)).flatten(1) for t in (value, deviation, delta, slope)]
    u, error, d, s = (t.clone() for t in flat)
    size = (d * s).abs().sum(1)
    rest = ((d * s).sum(1) - sums).abs()
    limit = float(SPREAD * rest[size > 0].median()) if bool((size > 0).any()) else 0.0
    limit = min(max(limit, 1e-7 * float(size.mean())), 1e-4 * float(size.mean()))
    flips = 0
    if activation.kinked:
        low, high = (float(activation.slope(torch.tensor([v], dtype=u.dtype))) for v in (-1.0, 1.0))
        for c in (rest > limit).nonzero()[:, 0].tolist():
            flips += _mend(u[c], error[c], d[c], s[c], float(sums[c]), limit, low + high)
    shape = (value.movedim(-1, 0) if dense else value.movedim(1, 0)).shape
    rest = ((d * s).sum(1) - sums).abs()
    return Repair(
        delta=back((d * s).reshape(shape)),
        flips=flips,
        unresolved=int((rest > limit).sum()),
        checked=len(sums),
        residual=float(rest.max() / size.mean().clamp_min(1e-300)),
    )


def _mend(u: Tensor, error: Tensor, d: Tensor, s: Tensor, target: float, limit: float, total: float) -> int:
    """Flips the likeliest one, two or three units that mend the sum, writing to the slopes `s`. Returns how many.

    An inactive unit's value is 0 with a normal error; a flip costs what it takes from the log-likelihood.
    """
    rest = float((d * s).sum()) - target
    score = (u / error.clamp_min(1e-300)).clamp(-1e3, 1e3)
    price = BORDER**2 / 2 - score.clamp_min(0).square() / 2
    price = torch.where(score > BORDER, -price, price + score.clamp_max(0).square() / 2)
    near = torch.argsort(price)[:40]
    price, change = price[near], d[near] * (total - 2 * s[near])
    for count in (1, 2, 3):
        sets = torch.combinations(torch.arange(len(near)), count)
        fits = ((rest + change[sets].sum(1)).abs() <= limit).nonzero()[:, 0]
        if len(fits):
            best = near[sets[fits[price[sets[fits]].sum(1).argmin()]]]
            s[best] = total - s[best]
            return count
    return 0
