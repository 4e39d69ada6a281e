"""Integer least squares for label counts, with the model's behavior on reference examples as the error model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .labels import largest_remainder


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Head statistics of examples whose private batch looks alike: public data, or dummies.

    Args:
        answers: p_j u_j^T [n, classes, directions] for each example, u_j being its head input along some directions.
        inputs: u_j [n, directions].
        labels: [n], or None; then every example stands for every class.
    """

    answers: Tensor
    inputs: Tensor
    labels: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Integer counts [classes] and the probability of these counts against those with one label exchanged."""

    counts: Tensor
    confidence: float


def count_labels(signal: Tensor, reference: Reference, size: int, noise: Tensor | None = None) -> Counts:
    """The counts n that explain the summed head gradient best: S = sum_i (p_i - onehot(y_i)) u_i^T.

    S is a sum over examples, so given n its mean is `sum_c n_c M_c` and its covariance `sum_c n_c V_c`, with M_c and
    V_c those of one example of class c, read off the reference. The counts minimize (S - Mn)^T V(n)^-1 (S - Mn) over
    nonnegative integers of the known sum: first over the reals, then by exchanging labels one by one.

    Args:
        signal: S [classes, directions], the head's gradient times the batch size.
        noise: covariance of what a defense added to S [classes, directions, directions], or None.
    """
    from scipy.optimize import nnls

    classes, directions = signal.shape
    means, residuals, labels = _moments(reference, classes)
    share = torch.bincount(labels, minlength=classes).clamp_min(1)
    ridge = 1e-6 * residuals.square().mean() * size + 1e-24
    extra = torch.eye(classes * directions, dtype=signal.dtype) * ridge
    if noise is not None:
        extra = extra + torch.block_diag(*noise)
    counts = torch.full((classes,), size / classes, dtype=signal.dtype)
    for _ in range(4):
        weights = (counts.clamp_min(0.05) / share)[labels]
        root = torch.linalg.cholesky((residuals * weights[:, None]).T @ residuals + extra)
        white = torch.linalg.solve_triangular(root, torch.cat([means, signal.reshape(-1, 1)], 1), upper=False)
        system, target = white[:, :-1], white[:, -1]
        total = 1e3 * system.abs().max().expand(1, classes)  # the known sum, as one more equation of great weight
        full = torch.cat([system, total]).numpy(), torch.cat([target, total[0, :1] * size]).numpy()
        counts = torch.from_numpy(nnls(*full, maxiter=100 * classes)[0])
    return _nearest_integers(system.T @ system, system.T @ target, counts, size)


def expected(reference: Reference, counts: Tensor) -> Tensor:
    """The mean signal of a batch with these counts, M n, as [classes, directions]."""
    means = _moments(reference, len(counts))[0]
    return (means @ counts.to(means.dtype)).reshape(len(counts), -1)


def _moments(reference: Reference, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Class means [classes * directions, classes], residuals [n, classes * directions], the residuals' labels [n]."""
    count = len(reference.inputs)
    unit = torch.eye(classes, dtype=reference.inputs.dtype)
    labels = torch.arange(count) % classes if reference.labels is None else reference.labels
    single = (reference.answers - unit[labels][:, :, None] * reference.inputs[:, None, :]).reshape(count, -1)
    pooled = reference.answers.mean(0) - unit[:, :, None] * reference.inputs.mean(0)
    means = pooled.reshape(classes, -1)
    if reference.labels is not None:  # the pooled mean counts as one more example, so that no class is without
        sums = means.index_add(0, labels, single)
        means = sums / (1 + torch.bincount(labels, minlength=classes))[:, None]
    return means.T, single - means[labels], labels


def _nearest_integers(gram: Tensor, moment: Tensor, real: Tensor, size: int) -> Counts:
    counts = largest_remainder(real, size)
    diagonal = gram.diagonal()
    never = torch.eye(len(gram), dtype=torch.bool)
    for _ in range(size + 1):
        slope = gram @ counts.to(gram.dtype) - moment
        # cost[c, k]: what changes if one example of class c is called k
        cost = diagonal[:, None] + diagonal - 2 * gram + 2 * (slope[None, :] - slope[:, None])
        cost = cost.masked_fill(never | (counts == 0)[:, None], torch.inf)
        best = int(cost.argmin())
        if cost.flatten()[best] >= 0:
            break
        counts[best // len(gram)] -= 1
        counts[best % len(gram)] += 1
    return Counts(counts=counts, confidence=float(1 / (1 + torch.exp(-cost / 2).sum())))
