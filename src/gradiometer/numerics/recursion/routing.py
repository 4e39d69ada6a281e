"""Which position each window of a max pooling took, read off the weight gradient of the convolution below it.

The derivatives by the pooled map are known, so the convolution's delta maps hold known numbers at unknown places, one a
window. For one example the shift structure S_k = Q T_k U gives these maps up to one factor, with no place known: with V
the left singular vectors of the slices, M_k = V^T S_k, and g_p the row that reads position p's input u_p off M_0, so that
g_p M_k = u_{p+k}:
- the row of the corner is what every M_k kills whose shift k leaves the map;
- the others follow from their neighbor, g_p M_0 = g_{p-k} M_k.
Unlike the derivatives themselves, these rows need no delta at positions that no window covers. A second look solves the
maps again from the input that the first one gives.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradiometer.numerics.fit import fit

from .equations import from_channels, input_matrix, matrix, right_side
from .graph import Graph, Layer, MaxPool, Node
from .least_squares import solve
from .top import branches

CLOSE = 0.1
"""A window's place is believed if the map is there within this part of the derivative that it should hold."""
TOLD = 0.95
"""Part of all windows, by their squared derivatives, that must be believed."""


def routes(graph: Graph, gradient: Mapping[str, Tensor], pool: Node, delta: Tensor) -> Tensor | str:
    """Places [1, channels, *windows] as `MaxPool.routes` gives them, or the reason why they cannot be read.

    Args:
        delta: derivatives by the pooled map [1, channels, *windows].
    """
    operation = pool.operation
    assert isinstance(operation, MaxPool)
    below = graph.nodes[pool.inputs[0]]
    size = covered(operation, below.shape)
    found = readable(graph, pool, len(delta))
    if found is None or _layer(found[0]).weight_name not in gradient:
        return f"no convolution in front of {operation.where} has channels for its {len(delta) * size[0] * size[1]} positions"
    node, scale = found
    layer = _layer(node)
    weight = gradient[layer.weight_name]
    wanted = delta * scale[:, None, None]
    maps = torch.zeros(1, *node.shape, dtype=delta.dtype)
    maps[0, :, : size[0], : size[1]] = delta_maps(weight, size)
    taken, _ = _places(operation, maps, wanted)
    shape = graph.nodes[node.inputs[0]].shape
    taken, told = looked_again(layer, operation, weight, wanted, taken, shape)
    return taken if told > TOLD else f"the places that {operation.where} takes do not show in {layer.where}"


def readable(graph: Graph, pool: Node, examples: int) -> tuple[Node, Tensor] | None:
    """The convolution in whose gradient the places show, with the scale of what is between them; None if there is none."""
    operation, below = pool.operation, graph.nodes[pool.inputs[0]]
    assert isinstance(operation, MaxPool)
    height, width = covered(operation, below.shape)
    for node, scale in branches(graph, below.name):
        layer = _layer(node)
        if examples == 1 and layer.shifts() and height * width <= min(layer.weight.shape[:2]):
            return node, scale
    return None


def covered(pool: MaxPool, shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the part that the windows cover, from the upper left corner."""
    reach = []
    for length, kernel, stride, padding, dilation in zip(
        shape[1:], pool.kernel, pool.stride, pool.padding, pool.dilation
    ):
        extent = dilation * (kernel - 1) + 1
        reach.append(min(length, (length + 2 * padding - extent) // stride * stride + extent - padding))
    return reach[0], reach[1]


def delta_maps(gradient: Tensor, size: tuple[int, int]) -> Tensor:
    """Delta maps of one example up to a factor [out, height, width], in the covered part `size` of the map."""
    height, width = size
    out, _, down, across = gradient.shape
    row = gradient.flatten(1).norm(dim=1, keepdim=True).clamp_min(1e-300)
    flat = gradient.reshape(out, -1) / row
    left = torch.linalg.eigh(flat @ flat.T).eigenvectors[:, -height * width :]
    slices = torch.einsum("or,oikl->klri", left, gradient / row[..., None, None])
    middle = (down // 2, across // 2)
    inverse = torch.linalg.pinv(slices[middle], rtol=1e-9)

    def shift(dy: int, dx: int) -> Tensor:
        return slices[middle[0] + dy, middle[1] + dx] @ inverse

    outward = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (1, -1))
    killed = torch.cat([slices[middle[0] + dy, middle[1] + dx] for dy, dx in outward], 1)
    rows = left.new_zeros(height, width, height * width)
    rows[0, 0] = torch.linalg.eigh(killed @ killed.T).eigenvectors[:, 0]
    right, below = shift(0, 1), shift(1, 0)
    for y in range(height):
        for x in range(width):
            if x:
                rows[y, x] = rows[y, x - 1] @ right
            elif y:
                rows[y, x] = rows[y - 1, x] @ below
    return (row * fit(rows.flatten(0, 1).T, left.T).T).reshape(out, height, width)


def looked_again(
    layer: Layer, pool: MaxPool, gradient: Tensor, wanted: Tensor, taken: Tensor, shape: tuple[int, ...]
) -> tuple[Tensor, float]:
    """Solves the layer's input from the places, and the places again from that input.

    Args:
        wanted: derivatives by the pooled map, in units of the layer's output; taken: first places.
        shape: of the layer's input, one example.
    """
    told = 0.0
    for _ in range(3):
        delta = pool.pull(wanted, taken, (wanted.shape[1], *shape[1:]))
        weight = 1 / (delta.flatten(2).norm(dim=2)[0] + 1e-3 * delta.norm() / len(delta[0]) ** 0.5)
        weighted = gradient * weight[:, None, None, None]
        design = matrix(layer, delta * weight[:, None, None], shape)[0]
        value = from_channels(layer, solve(design, right_side(layer, weighted)[0]).x[None], shape)
        answer = solve(input_matrix(layer, value)[0], weighted.flatten(1).T).x.T / weight[:, None]
        before = taken
        taken, told = _places(pool, answer.reshape(delta.shape), wanted)
        if torch.equal(before, taken):
            break
    return taken, told


def _places(pool: MaxPool, maps: Tensor, wanted: Tensor) -> tuple[Tensor, float]:
    """Where each window's derivative is, and the part of all of them that is found there; the maps have any scale."""
    members = pool.members((maps.shape[2], maps.shape[3]))
    inside = torch.where(members >= 0, maps.flatten(2)[..., members].abs(), -1.0)
    taken = torch.gather(members.expand(inside.shape), 2, inside.argmax(2, keepdim=True))[:, :, 0].reshape(wanted.shape)
    there, expected = maps.flatten(2).gather(2, taken.flatten(2)), wanted.flatten(2)
    strong = expected.abs() > expected.square().mean().sqrt()
    factor = (there[strong] / expected[strong]).median()
    fits = (there / factor - expected).abs() < CLOSE * expected.abs()
    return taken, float((expected.square() * fits).sum() / expected.square().sum())


def _layer(node: Node) -> Layer:
    assert isinstance(node.operation, Layer)
    return node.operation
