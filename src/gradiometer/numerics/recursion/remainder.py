"""The few directions of the input that linear equations leave open or see dimly, settled by the whole gradient.

    min_a || S (g(x + D a) - g) / w ||^2

D are these directions and w is the error of a float32 client's gradient, which shows where one is computed in both
precisions. S adds up entries with random signs, some dozen rows an unknown: that keeps the least-squares problem and
spares its size. Gauss-Newton steps with a dense Jacobian. A vision transformer's position gradient, for one, sums to zero over
the channels, since a LayerNorm follows: with as many patches as channels one combination of the patches is missing, about
which all other gradients know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.numerics.fit import fit

from .equations import from_channels
from .graph import Layer
from .least_squares import Directions

LIMIT = 384
"""Open directions, all channels together, beyond which the Jacobian is not worth its time."""
DIM = 1e-3
"""Expected error of a direction, relative to the input's size, from which the whole gradient is to settle it."""
ROWS = 16
"""Rows of the sketched problem, an unknown."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Remainder:
    """The input as far as linear equations tell.

    Args:
        value: [n, *shape]; open: directions [k, n, *shape].
        error: expected in the others, root mean square over the input's entries.
    """

    value: Tensor
    open: Tensor
    error: float


def remainder(layer: Layer, value: Tensor, parts: Sequence[Directions]) -> Remainder | None:
    """From what the equations of a reader determine, one part a group; None if too much of the input is open."""
    channels, shape = layer.weight[0].numel() // layer.offsets, tuple(value.shape[1:])
    room = LIMIT // (channels * len(parts))
    if any(len(part.basis) - part.basis.shape[1] > room for part in parts):
        return None
    found, total = [], 0.0
    for group, part in enumerate(parts):
        size = part.coordinates.square().mean().sqrt()
        dim = int((part.level / part.eigenvalues.sqrt() > DIM * size).sum())
        dim = min(dim, room - len(part.basis) + part.basis.shape[1])
        known = part.basis[:, dim:]
        spread = part.level * known / (part.eigenvalues[dim:].sqrt() * part.scale[:, None])
        total += channels * float(spread.square().sum())
        rest = torch.linalg.qr(known, mode="complete").Q[:, known.shape[1] :]
        free = torch.linalg.qr(rest / part.scale.clamp_min(1e-9 * float(part.scale.max()))[:, None]).Q.T
        each = torch.zeros(len(free), channels, len(parts), free.shape[1], channels, dtype=free.dtype)
        each[:, :, group] = torch.einsum("ku,cd->kcud", free, torch.eye(channels, dtype=free.dtype))
        found += [from_channels(layer, one, shape) for one in each.flatten(0, 1)]
    return Remainder(value=value, open=torch.stack(found), error=(total / value.numel()) ** 0.5)


def settle(
    caused: Callable[[Tensor], Sequence[Tensor]],
    sent: Sequence[Tensor],
    start: Remainder,
    *,
    rng: torch.Generator,
    accuracy: float = 1e-6,
    steps: int = 12,
) -> tuple[Tensor, float]:
    """The input [n, *shape] whose gradient is nearest to the one that was sent, and its expected error, relative to its size.

    Args:
        caused: from an input to its gradient, tensor by tensor as in `sent`, in the input's precision, twice
            differentiable.
        accuracy: a step below this part of the input's size is the last; steps: upper limit of their number.
    """
    x = start.value
    pairs = zip(caused(x), caused(x.float()))
    errors = [((a - b).square().mean() + 1e-16 * a.square().mean()).sqrt().detach() for a, b in pairs]
    weights = [1 / error.clamp_min(1e-300) for error in errors]

    count, rows = sum(value.numel() for value in sent), ROWS * len(start.open)
    places = torch.randint(rows, (count,), generator=rng)
    signs = torch.randint(2, (count,), generator=rng).to(x) * 2 - 1

    def sketched(values: Sequence[Tensor]) -> Tensor:
        joined = torch.cat([(value * weight).flatten() for value, weight in zip(values, weights)])
        return x.new_zeros(rows).index_add(0, places, joined * signs)

    def images(at: Tensor) -> Tensor:
        return sketched(caused(at))

    goal, size = sketched(sent), float(x.square().mean().sqrt())
    left, (frame, triangle) = goal - images(x).detach(), _derivatives(images, x, start.open)
    for _ in range(steps):
        amount = fit(triangle, frame.T @ left)
        move = torch.einsum("k,k...->...", amount, start.open)
        after = goal - images(x + move).detach()
        for _ in range(5):
            if float(after.norm()) < float(left.norm()):
                break
            move = move / 2
            after = goal - images(x + move).detach()
        else:
            break
        slow = float(after.norm()) > 0.3 * float(left.norm())
        x, left = x + move, after
        if float(move.square().mean().sqrt()) < accuracy * size:
            break
        if slow:
            frame, triangle = _derivatives(images, x, start.open)
    spread = torch.linalg.pinv(triangle).square().sum() / x.numel()
    return x, (float(spread) + start.error**2) ** 0.5 / size


def _derivatives(images: Callable[[Tensor], Tensor], x: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """QR factors of the derivatives of the images along the directions, as the transpose's transpose."""
    at = x.detach().requires_grad_()
    found = images(at)
    dummy = torch.zeros_like(found, requires_grad=True)
    (back,) = torch.autograd.grad(found, at, dummy, create_graph=True)
    columns = [torch.autograd.grad(back, dummy, d, retain_graph=True)[0] for d in directions]
    frame, triangle = torch.linalg.qr(torch.stack(columns, 1))
    return frame, triangle
