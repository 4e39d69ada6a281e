"""The top of a network that normalizes by its own statistics: the lowest maps that its gradient gives away, p - y, the labels.

`rows` reads the input maps of a convolution up to one scale. If everything above follows from these maps alone, the
scale is the one number left: that at which the gradients of the head and of the beta below are those that were sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.numerics.fit import fit

from .checksum import BORDER
from .graph import Activation, Graph, Layer, Node, Reshape
from .head import single
from .own_norm import OwnNorm
from .rows import LARGEST, input_maps
from .shift import Spectrum, spectrum
from .top import find_head
from .train_hidden import noise
from .train_norm import shift_sums

SCALES = torch.logspace(-2, 2, 33, dtype=torch.float64)
"""Root mean squares that are tried for the maps."""
NO_WAIST = "no convolution with shift structure and its own normalization behind it stands alone between input and head"
AGREEING = 1e-4
"""Disagreement of a top's gradients with those that were sent below which the tops above it are not tried."""
OUTLIER = 10
"""Median residuals from which an equation is left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainTop:
    """What the top tells.

    Args:
        name: of the tensor; value: its maps [examples, channels, height, width].
        residues: (p - y) / batch size [examples, classes].
        labels: [examples].
        error: expected, of the maps' entries.
        spectrum: of the layer that was read, on its input's side, where one was.
        disagreement: of these gradients with what the maps would cause, relative, but for outliers.
    """

    name: str
    value: Tensor
    residues: Tensor
    labels: Tensor
    error: float = 0.0
    spectrum: Spectrum | None = None
    disagreement: float = 0.0


def read_train_top(graph: Graph, gradient: Mapping[str, Tensor], *, rng: torch.Generator) -> TrainTop | str:
    """Everything about the top, or why it cannot be read.

    Args:
        graph: in train mode.
    """
    alone = _one(graph, gradient)
    if alone is not None:
        return alone
    reason, best = NO_WAIST, None
    for layer, norm, below in _waists(graph):
        operation = layer.operation
        assert isinstance(operation, Layer)
        size = (below.shape[1], below.shape[2])
        seen = spectrum(gradient[operation.weight_name].transpose(0, 1), size[0] * size[1])
        if not seen.examples or seen.full:
            reason = f"the rank {seen.rank} of {operation.where} tells no batch size at {size[0] * size[1]} positions"
            continue
        if seen.examples > 1 and not norm.batch:
            reason = f"{norm.where} normalizes each of the {seen.examples} examples by itself, which hides their relative sizes"
            break
        maps = input_maps(gradient[operation.weight_name], size, seen.examples, rng=rng, sums=norm.batch)
        top = maps if isinstance(maps, str) else _scaled(graph, gradient, below.name, maps, seen)
        if isinstance(top, str):
            reason = f"{operation.where}: {top}"
            continue
        best = top if best is None or top.disagreement < best.disagreement else best
        if best.disagreement < AGREEING:
            break
    return best or reason


def told(graph: Graph, gradient: Mapping[str, Tensor]) -> set[str]:
    """Tensors whose derivatives the top tells for one example, by spectra; none where it begins at the head itself."""
    if _one(graph, gradient) is not None:
        return set()
    for layer, _, below in _waists(graph):
        assert isinstance(layer.operation, Layer)
        area = below.shape[1] * below.shape[2]
        seen = spectrum(gradient[layer.operation.weight_name].transpose(0, 1), area)
        if seen.examples == 1 and not seen.full and area * (area + layer.operation.offsets) <= LARGEST:
            return {node.name for node in graph.needed(graph.output, below.name)}
    return set()


def _one(graph: Graph, gradient: Mapping[str, Tensor]) -> TrainTop | None:
    """The head's input, where it is an activation's output and one example stands behind the head's gradient."""
    head = find_head(graph)
    layer, below = head.operation, graph.nodes[head.inputs[0]]
    source = below
    while isinstance(source.operation, Reshape):
        source = graph.nodes[source.inputs[0]]
    if not isinstance(source.operation, Activation) or (residues := single(head, gradient)) is None:
        return None
    assert isinstance(layer, Layer)
    value = residues @ gradient[layer.weight_name] / residues.square().sum()
    return TrainTop(name=below.name, value=value, residues=residues, labels=residues.argmin(1))


def _waists(graph: Graph) -> Iterator[tuple[Node, OwnNorm, Node]]:
    """Convolutions whose gradient may give away the tensor that they read, all above following from it; lowest first."""
    for node in graph.layers():
        below = graph.nodes[node.inputs[0]]
        above = [graph.nodes[name].operation for name in graph.consumers[node.name]]
        norms = [norm for norm in above if isinstance(norm, OwnNorm)]
        assert isinstance(node.operation, Layer)
        if not node.operation.shifts() or not norms:
            continue
        if not (isinstance(below.operation, Activation) and below.operation.kinked):
            continue
        if graph.input not in {n.name for n in graph.needed(graph.output, below.name)}:
            yield node, norms[0], below


def _scaled(graph: Graph, gradient: Mapping[str, Tensor], name: str, maps: Tensor, seen: Spectrum) -> TrainTop | str:
    """The maps at the scale at which these gradients come out as they were sent."""
    head = find_head(graph)
    layer = head.operation
    assert isinstance(layer, Layer)
    sent, sums = gradient.get(layer.weight_name), gradient.get(layer.bias_name or "")
    if sent is None or sums is None:
        return f"the update holds no weight and bias gradient of the head {layer.where}"
    maps = maps / maps.square().mean().sqrt()
    active = maps > BORDER * noise(maps)
    below = shift_sums(graph, gradient, graph.nodes[name].inputs[0])

    def caused(scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Labels, residues, and how far the gradients of the head and of the beta below are from those that were sent."""
        with torch.enable_grad():
            value = (scale * maps).requires_grad_()
            features = graph.forward(value, head.inputs[0], start=name)
            logits = graph.forward(features, head.name, start=head.inputs[0])
            labels = fit(features.detach().T, sent.T).argmin(1)
            residues = (logits.detach().softmax(1) - F.one_hot(labels, logits.shape[1])) / len(logits)
            (slope,) = torch.autograd.grad(logits, value, residues)
        rest = [(residues.T @ features.detach() - sent).flatten() / sent.norm(), (residues.sum(0) - sums) / sums.norm()]
        if below is not None:
            rest.append(((active * slope).sum((0, 2, 3)) - below) / below.norm())
        return labels, residues, torch.cat(rest)

    def kept(rest: Tensor) -> Tensor:
        """Equations that are no outliers: a unit next to its kink spoils its channel's beta."""
        if below is None:
            return torch.ones_like(rest)
        return (rest.abs() <= OUTLIER * rest[sent.numel() + len(sums) :].abs().median()).to(rest.dtype)

    scale = min(SCALES.tolist(), key=lambda s: float(caused(s)[2].norm()))
    for _ in range(12):
        rest, step = caused(scale)[2], 1e-5 * scale
        slope = kept(rest) * (caused(scale + step)[2] - rest) / step
        change = -float(slope @ rest / slope.square().sum())
        scale += max(-0.2 * scale, min(0.2 * scale, change))
        if abs(change) < 1e-9 * scale:
            break
    labels, residues, rest = caused(scale)
    return TrainTop(
        name=name,
        value=scale * maps,
        error=scale * noise(maps),
        residues=residues,
        labels=labels,
        spectrum=seen,
        disagreement=float((kept(rest) * rest).norm()),
    )
