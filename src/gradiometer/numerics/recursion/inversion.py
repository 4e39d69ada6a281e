"""From the last exact tensor to the pixels: descent on the layers between, which are few and known.

    min_x ||f(x) - h||^2 / ||h||^2

Unlike gradient matching this needs first derivatives only, and h holds many more numbers than x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .graph import Graph

SCALE = 100.0
"""The objective at the start: it sets the length of the first step."""

STUCK = 1e-3
"""Relative error of the features above which a descent has not found the picture."""
SLACK = 12
"""Evaluations between two looks at the progress."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Inverted:
    """The pictures, the relative error of every example's features [n], and the evaluations used."""

    x: Tensor
    error: Tensor
    evaluations: int


def invert(
    graph: Graph,
    targets: Sequence[tuple[str, Tensor]],
    *,
    rng: torch.Generator,
    evaluations: int,
    starts: int = 3,
) -> Inverted:
    """One example after the other, from small noise; not from gray, which is a kink of all ReLUs at once.

    Args:
        graph: in the precision to compute in; float32 is enough for 130 dB.
        targets: known tensors with their values [n, *shape]. The first is descended to from the start, the others
            from where the one before led.
        evaluations: upper limit, an example, start and target.
        starts: how many are tried where the descent gets stuck.
    """
    shape = graph.nodes[graph.input].shape
    used, pictures, errors = 0, [], []
    (first, values), *others = targets
    for b, value in enumerate(values.to(graph.dtype)):
        best: tuple[float, Tensor] | None = None
        for _ in range(starts):
            x = (0.3 * torch.randn(1, *shape, generator=rng)).to(graph.dtype)
            error, x, count = _descend(graph, first, value[None], x, evaluations)
            used += count
            if best is None or error < best[0]:
                best = error, x
            if error < STUCK:
                break
        assert best is not None
        error, x = best
        for name, finer in others if error < STUCK else ():
            error, x, count = _descend(graph, name, finer[b : b + 1].to(graph.dtype), x, evaluations)
            used += count
        errors.append(error)
        pictures.append(x)
    return Inverted(x=torch.cat(pictures), error=torch.tensor(errors), evaluations=used)


def _descend(graph: Graph, wanted: str, value: Tensor, start: Tensor, evaluations: int) -> tuple[float, Tensor, int]:
    x = start.clone().requires_grad_()
    size = value.square().sum().clamp_min(1e-30)
    with torch.no_grad():
        first = float((graph.forward(start, wanted) - value).square().sum() / size)
    scale = SCALE / max(first, 1e-12)
    curve: list[float] = []

    def closure() -> Tensor:
        with torch.enable_grad():
            total = scale * (graph.forward(x, wanted) - value).square().sum() / size
        (x.grad,) = torch.autograd.grad(total, [x])
        curve.append(float(total.detach()))
        return total.detach()

    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=SLACK,
        max_eval=2 * SLACK,
        history_size=30,
        line_search_fn="strong_wolfe",
        tolerance_grad=0.0,
        tolerance_change=0.0,
    )
    while len(curve) < evaluations:
        before = min(curve, default=float("inf"))
        optimizer.step(closure)
        if min(curve) > (0.67 if min(curve) < scale * STUCK**2 else 0.97) * before:
            break
    return (min(curve) / scale) ** 0.5, x.detach(), len(curve)
