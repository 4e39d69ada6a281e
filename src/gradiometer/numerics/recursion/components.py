"""Positions that share no equation: a convolution of stride 2 reads each parity class through kernel offsets of its own.

Their systems are solved apart, which takes a fraction of the time of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .equations import from_channels, positions, taps
from .graph import Layer


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """Unknowns of one channel, sorted into parts of equal size.

    Args:
        columns: numbers of the unknowns, [parts, unknowns / parts].
        kernels: which kernel offsets of every reader belong to which part, [parts, kernel] each.
    """

    columns: Tensor
    kernels: Sequence[Tensor]

    def rows(self, part: int, layers: Sequence[Layer]) -> list[Tensor]:
        """Masks of the rows of one group's equations, reader by reader."""
        return [k[part].repeat(layer.weight.shape[0] // layer.groups) for k, layer in zip(self.kernels, layers)]

    def split(self, unknowns: Tensor) -> Tensor:
        """[groups, unknowns, channels] as [groups * parts, unknowns / parts, channels]."""
        groups, _, channels = unknowns.shape
        return unknowns[:, self.columns.flatten()].reshape(groups * len(self.columns), -1, channels)

    def merge(self, parts: Tensor) -> Tensor:
        """The inverse of `split`."""
        flat = parts.reshape(-1, self.columns.numel(), parts.shape[2])
        return flat[:, self.columns.flatten().argsort()]

    def places(self, layer: Layer, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Where each entry of the layer's input [n, *shape], flattened, stands among the split unknowns `like`."""
        numbers = torch.arange(like.numel(), dtype=torch.float64).reshape(like.shape)
        return from_channels(layer, self.merge(numbers), shape).flatten().long()


def components(layers: Sequence[Layer], shape: tuple[int, ...], examples: int) -> Components:
    """Of the equations of all layers that read a tensor; one part only if their sizes differ.

    Args:
        shape: of the tensor, one example.
    """
    count = positions(layers[0], shape)
    reads = [[row[row >= 0] for row in taps(layer, shape)] for layer in layers]
    label, before = torch.arange(count), torch.full((count,), -1)
    while not torch.equal(label, before):
        before = label.clone()
        for row in (row for rows in reads for row in rows if len(row)):
            label[row] = label[row].min()
            label = label[label]
    roots, sizes = label.unique(return_counts=True)
    if len(set(sizes.tolist())) > 1:
        label, roots = torch.zeros_like(label), torch.zeros(1, dtype=label.dtype)
    places = torch.stack([(label == root).nonzero()[:, 0] for root in roots])
    columns = (torch.arange(examples)[:, None] * count + places[:, None]).flatten(1)
    owners = [torch.stack([label[row[0]] if len(row) else label[0] for row in rows]) for rows in reads]
    return Components(columns=columns, kernels=[owner == roots[:, None] for owner in owners])
