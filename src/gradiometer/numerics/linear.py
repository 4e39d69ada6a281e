"""The identity behind every analytic attack: dL/dW = sum_s delta_s x_s^T and dL/db = sum_s delta_s of a linear layer."""

from __future__ import annotations

import torch
from torch import Tensor


def ratio_row(weight_gradient: Tensor, bias_gradient: Tensor) -> Tensor:
    """The row with the largest |db| divided by its db: exact if one example alone reaches that neuron.

    Args:
        weight_gradient: [out, in]; bias_gradient: [out].

    Returns:
        The layer's input, [in].
    """
    row = int(bias_gradient.abs().argmax())
    return weight_gradient[row] / bias_gradient[row]


def rank_one_input(
    weight_gradient: Tensor, bias_gradient: Tensor, variance: Tensor | None = None, iterations: int = 100
) -> Tensor:
    """The layer's input from all rows: the best fit `[dW, db] = delta [x, 1]^T` by alternating least squares.

    Every row is a noisy measurement of the same x, and every column one of the same delta: under noise the fit beats
    both a single row and `dW^T db / |db|^2`, which trusts db alone for delta; without noise all three agree.

    Args:
        weight_gradient: [out, in]; bias_gradient: [out].
        variance: expected squared error of the entries [out, in + 1], the bias last, or None where all are alike.

    Returns:
        [in]. Zeros where nothing reached the layer.
    """
    joint = torch.cat([weight_gradient, bias_gradient[:, None]], 1)
    trust = torch.ones(1, 1, dtype=joint.dtype) if variance is None else 1 / variance
    if variance is not None:
        finite = variance[torch.isfinite(variance) & (variance > 0)]
        floor = 1e-6 * float(finite.median()) if len(finite) else 1.0
        trust = 1 / variance.clamp_min(floor) * floor
    trust = trust.expand_as(joint)
    weighted, tiny = trust * joint, torch.finfo(joint.dtype).tiny
    delta, before = bias_gradient, torch.zeros_like(joint[0])
    for _ in range(iterations):
        inputs = weighted.T @ delta / (trust.T @ delta.square()).clamp_min(tiny)
        delta = weighted @ inputs / (trust @ inputs.square()).clamp_min(tiny)
        step, before = (inputs / inputs.norm().clamp_min(tiny)) - before, inputs / inputs.norm().clamp_min(tiny)
        if step.norm() < 1e-13:
            break
    return inputs[:-1] / inputs[-1] if inputs[-1] else torch.zeros_like(inputs[:-1])


def rank_one_lines(joint: Tensor, sweeps: int = 100) -> Tensor:
    """The directions of `[x, 1]` in many gradients `[dW, db] = delta [x, 1]^T` at once: their leading right singular vectors.

    By power iteration on the smaller Gram matrix, from the bias; every entry counts alike.

    Args:
        joint: [n, out, in + 1], the bias last.

    Returns:
        [n, in + 1] of length 1, the last entry at least zero; zeros where nothing reached the layer.
    """
    tiny = torch.finfo(joint.dtype).tiny
    wide = joint.shape[1] <= joint.shape[2]
    gram = joint @ joint.mT if wide else joint.mT @ joint
    vector = joint[:, :, -1:] if wide else joint.mT @ joint[:, :, -1:]
    for _ in range(sweeps):
        vector = vector / vector.norm(dim=1, keepdim=True).clamp_min(tiny)
        vector = gram @ vector
    line = (joint.mT @ vector if wide else vector)[..., 0]
    line = line / line.norm(dim=1, keepdim=True).clamp_min(tiny)
    return torch.where(line[:, -1:] < 0, -line, line)


def without_offset(gradient: Tensor, share: float = 0.1) -> Tensor:
    """The gradient with its most common value set to zero, if more than `share` of the entries have it.

    A quantizer whose grid misses zero sends one common value for all the entries near it.
    """
    values, counts = gradient.unique(return_counts=True)
    if counts.max() <= share * gradient.numel():
        return gradient
    return torch.where(gradient == values[counts.argmax()], 0.0, gradient)


def agreeing_rows(ratios: Tensor, tolerance: float = 1e-4, most: int | None = None) -> list[Tensor]:
    """Groups of rows dW_i / db_i that show the same input: one example alone reached all of them.

    Where several examples reach a neuron, its ratio is a mixture whose weights are that neuron's own.

    Args:
        ratios: [rows, in]; tolerance: largest distance inside a group, relative to the ratio's length.

    Returns:
        Row numbers, largest group first, at least two rows a group, at most `most` groups.
    """
    groups: list[Tensor] = []
    agree = torch.cdist(ratios, ratios) < tolerance * ratios.norm(dim=1).clamp_min(1e-12)[:, None]
    free = torch.ones(len(ratios), dtype=torch.bool)
    while most is None or len(groups) < most:
        neighbors = (agree & free).sum(1) * free
        if not len(ratios) or neighbors.max() < 2:
            break
        group = agree[neighbors.argmax()] & free
        groups.append(group.nonzero()[:, 0])
        free &= ~group
    return groups


def extreme_rows(candidates: Tensor, known: Tensor, most: int) -> Tensor:
    """Rows that no mixture of others explains: successive projection, farthest from the span of those taken before.

    The inputs themselves are the corners of the set of all their mixtures, and the projection finds corners.

    Args:
        candidates: [rows, in]; known: inputs found otherwise [k, in].

    Returns:
        Numbers of at most `most` rows, in the order found.

    References:
        Araujo et al., The Successive Projections Algorithm for Variable Selection, 2001.
    """
    left = torch.cat([candidates, candidates.new_ones(len(candidates), 1)], 1)
    start = left.norm(dim=1).max() if len(left) else 0.0
    if len(known):
        basis = torch.linalg.qr(torch.cat([known, known.new_ones(len(known), 1)], 1).T)[0]
        left = left - left @ basis @ basis.T
    found: list[int] = []
    while len(found) < most and len(left):
        lengths = left.norm(dim=1)
        best = int(lengths.argmax())
        if lengths[best] <= 1e-4 * start:
            break
        found.append(best)
        axis = left[best] / lengths[best]
        left = left - (left @ axis)[:, None] * axis
    return torch.tensor(found, dtype=torch.long)
