"""Batch: named tensors that belong to the same examples. Layout: what is publicly known of one example."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .errors import BadInput


class Batch(Mapping[str, Tensor]):
    """A frozen mapping of named tensors whose first dimension counts the examples.

    `Batch(x=images, y=labels)` for pictures, `Batch(input_ids=ids, attention_mask=mask, y=labels)` for text,
    `Batch(nodes=features, adjacency=edges, mask=mask, y=labels)` for graphs; every other modality is another set of names.

    Raises:
        BadInput: no tensor, no example, or tensors that disagree about how many examples there are.
    """

    __slots__ = ("_tensors",)

    def __init__(self, tensors: Mapping[str, Tensor] | None = None, /, **named: Tensor) -> None:
        merged = {**(tensors or {}), **named}
        sizes = {name: (tensor.shape[0] if tensor.ndim else None) for name, tensor in merged.items()}
        if not merged or not all(sizes.values()):
            raise BadInput(
                f"a batch needs at least one example, got {sizes}", fix="pass tensors of shape [n, ...], n >= 1"
            )
        if len(set(sizes.values())) > 1:
            raise BadInput(f"the tensors of a batch disagree about its size: {sizes}")
        self._tensors = merged

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Batch({', '.join(f'{name}: {tuple(tensor.shape)}' for name, tensor in self.items())})"

    @property
    def size(self) -> int:
        """The number of examples."""
        return next(iter(self._tensors.values())).shape[0]

    def take(self, index: Tensor | Sequence[int] | slice) -> Batch:
        """The examples at these positions, in this order."""
        chosen = index if isinstance(index, Tensor | slice) else list(index)
        return Batch({name: tensor[chosen] for name, tensor in self.items()})

    def replace(self, **named: Tensor) -> Batch:
        """The same batch with some tensors exchanged or added."""
        return Batch({**self._tensors, **named})


def concatenate(batches: Sequence[Batch]) -> Batch:
    """The examples of all batches, which carry the same names, one batch after the other."""
    return Batch({name: torch.cat([batch[name] for batch in batches]) for name in batches[0]})


@dataclass(frozen=True, kw_only=True)
class Field:
    """What anybody may know of one named tensor: the shape of one example's entry and its legal values.

    A picture is stored as the model takes it, `(pixel - mean) / std` a channel, with pixels in [low, high].

    Args:
        shape: without the batch dimension; `()` for one number an example.
        kind: `pixels` (pictures), `token` (an entry of a vocabulary), `mask` (1 where there is a token or node, 0 where
            padding fills up), `class` (an integer label), `blocks` (zeros and ones: of every block of columns one is 1),
            `edges` (1 where two nodes are neighbors) or `real` (any number).
        low, high: limits of the un-normalized value.
        mean, std: a channel each, or one for all.
        classes: how many values a `class` field takes, or how many entries the vocabulary of a `token` field has.
        end: the token that closes every sequence, where one does.
        blocks: the widths of a `blocks` field's blocks; a block of one column is a flag, 0 or 1.
        degree: the number of the block that says how many neighbors a node has, where one does.
    """

    shape: tuple[int, ...]
    kind: Literal["pixels", "token", "mask", "class", "blocks", "edges", "real"] = "real"
    low: float = -math.inf
    high: float = math.inf
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    classes: int | None = None
    end: int | None = None
    blocks: tuple[int, ...] = ()
    degree: int | None = None

    def normalize(self, value: Tensor) -> Tensor:
        """From natural units (pixels in [0,1]) to what the model takes. Shape `[n, *shape]`, kept."""
        return (value - self._channels(self.mean, value)) / self._channels(self.std, value)

    def denormalize(self, value: Tensor) -> Tensor:
        """From what the model takes to natural units. Shape `[n, *shape]`, kept."""
        return value * self._channels(self.std, value) + self._channels(self.mean, value)

    def clamp(self, value: Tensor) -> Tensor:
        """Projects normalized values to the legal box."""
        return value.clamp(*self.bounds(value))

    def bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper limits in normalized units, broadcastable to `[n, *shape]`."""
        mean, std = self._channels(self.mean, like), self._channels(self.std, like)
        return (self.low - mean) / std, (self.high - mean) / std

    def _channels(self, values: tuple[float, ...], like: Tensor) -> Tensor:
        tensor = torch.as_tensor(values, dtype=like.dtype, device=like.device)
        return tensor if len(values) == 1 else tensor.reshape(1, -1, *([1] * (len(self.shape) - 1)))


Layout = Mapping[str, Field]


def image_layout(
    shape: tuple[int, int, int], classes: int, *, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)
) -> dict[str, Field]:
    """The layout of labeled pictures: `x` of shape [channels, height, width] with pixels in [0,1], and `y`."""
    return {
        "x": Field(shape=shape, kind="pixels", low=0.0, high=1.0, mean=mean, std=std),
        "y": Field(shape=(), kind="class", classes=classes),
    }


def text_layout(
    length: int, vocabulary: int, classes: int | None = None, *, end: int | None = None
) -> dict[str, Field]:
    """The layout of sequences of at most `length` tokens: `input_ids`, `attention_mask`, and `y` where there are classes.

    Shorter sequences are filled up on the right; the mask is 1 where there is a token.

    Args:
        end: the token that closes every sequence, where one does.
    """
    layout = {
        "input_ids": Field(shape=(length,), kind="token", classes=vocabulary, end=end),
        "attention_mask": Field(shape=(length,), kind="mask", classes=2),
    }
    return layout if classes is None else {**layout, "y": Field(shape=(), kind="class", classes=classes)}


def graph_layout(
    most: int, blocks: tuple[int, ...], classes: int, *, degree: int | None = None, per_node: bool = False
) -> dict[str, Field]:
    """The layout of undirected graphs of at most `most` nodes: `nodes`, `adjacency`, `mask`, and `y`.

    Smaller graphs are filled up with rows of zeros; the mask is 1 where there is a node.

    Args:
        blocks: the widths of the blocks of a node's features.
        classes: of a graph, or of a node where `per_node`.
        degree: the number of the block that says how many neighbors a node has, where one does.
    """
    return {
        "nodes": Field(shape=(most, sum(blocks)), kind="blocks", low=0.0, high=1.0, blocks=blocks, degree=degree),
        "adjacency": Field(shape=(most, most), kind="edges", low=0.0, high=1.0),
        "mask": Field(shape=(most,), kind="mask", classes=2),
        "y": Field(shape=(most,) if per_node else (), kind="class", classes=classes),
    }
