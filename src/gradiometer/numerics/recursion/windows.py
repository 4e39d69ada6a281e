"""Pictures near their maps behind max poolings, where windows that take from a wrong entry hold up every exact step.

A pooling whose output m is known tells more than max_j a_j = m: no entry of a window exceeds m. A pooling further down, whose
output is not known, takes from all entries of a window, softly and ever less so:

    min_x  sum over windows of  sum_j max(a_j(x) - m, 0)^2 + max(m - max_j a_j(x), 0)^2

by Gauss-Newton steps, in rounds. What a round has mended the next one starts from, so that wrong windows give way from their
rim on.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .gauss_newton import Maps, refine
from .graph import Activation, MaxPool, Node
from .left import Left
from .soft_pool import entries

SOFTNESS = (0.05, 0.02, 0.01, 0.003, 0.0)
"""Of one round, in standard deviations of what a pooling takes from."""
ROUNDS, WORTH = 6, 0.9
"""At most so many, and the part of the error above which a round leaves too much to be worth another one."""
NEAR = 0.01
"""Relative error of the known maps from which wrong windows are few."""


def loosened(known: Left, x: Tensor, error: float, ended: float) -> tuple[Tensor, float]:
    """Pictures [n, ...] after rounds, as long as these lower the relative error of the known maps, and that error.

    Args:
        ended: the error below which no window is wrong.
    """
    for _ in range(ROUNDS):
        tried, before = x, error
        for softness in SOFTNESS:
            spread = _spread(known, tried)
            soft = {name: softness * size for name, size in spread.items()}
            rows = _rows(known, soft)
            wanted = [torch.zeros_like(row) for row in rows(tried)]
            tried, _ = refine(rows, wanted, tried, steps=4, iterations=50, first=50, worth=0.95)
        tried, left = refine(known.maps, known.wanted, tried)
        if left < error:
            x, error = tried, left
        if error <= ended or error > WORTH * before:
            break
    return x, error


def _spread(known: Left, x: Tensor) -> dict[str, float]:
    """Standard deviation of what the poolings with unknown outputs take from."""
    values, told = known.forward(x), {name for node in known.watched for name in node.inputs}
    pools = [node for node in known.open if isinstance(node.operation, MaxPool) and node.name not in told]
    return {node.name: float(values[node.inputs[0]].std()) for node in pools}


def _rows(known: Left, soft: Mapping[str, float]) -> Maps:
    """Errors of the known maps; of what a pooling takes, those of its entries."""
    graph = known.graph

    def errors(node: Node, values: dict[str, Tensor]) -> tuple[Tensor, ...]:
        wanted, operation, pool = known.values[node.name], node.operation, node
        if isinstance(operation, Activation) and operation.kinked:
            pool = graph.nodes[node.inputs[0]]
        if not isinstance(pool.operation, MaxPool):
            return (operation.apply(*(values[name] for name in node.inputs)) - wanted,)
        inside = entries(pool.operation, values[pool.inputs[0]])
        inside = inside if pool is node else operation.apply(inside)
        taken = wanted.flatten(2)
        return (inside - taken[:, :, None]).clamp_min(0), (taken - inside.amax(2)).clamp_min(0)

    def rows(x: Tensor) -> tuple[Tensor, ...]:
        values = known.forward(x, soft)
        return tuple(error / known.values[n.name].norm() for n in known.watched for error in errors(n, values))

    return rows
