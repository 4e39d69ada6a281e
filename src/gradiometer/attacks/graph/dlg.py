"""DLG on graphs: features, edges and label relaxed, and optimized until their gradient is the one that was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gradiometer.core import Attack, BadConfig, Batch, Card, NotApplicable, Update
from gradiometer.numerics.distances import Distance, SquaredL2
from gradiometer.numerics.priors import Prior

from ..matching import Adam, Descent, Matching
from ..matching.problem import Problem
from ..matching.spaces import Pixels
from ..matching.starts import HeadStart, Start


@dataclass(frozen=True, kw_only=True, eq=False)
class Relaxed(Problem):
    """Unknown are logits of features [1, most, features], of edges [1, most, most], and of the class where it is not granted.

    Args:
        count: how many nodes there are.
    """

    count: int

    def pixels(self, kind: Start, rng: torch.Generator, *, again: bool = False, x: Tensor | None = None) -> Pixels:
        """Logits of features and edges: normal, or zeros for another kind of start."""
        most, scale = self.like.shape[1], float(kind == "randn" or again)
        shapes = self.like.shape, (1, most, most)
        return Pixels(first=[scale * torch.randn(shape, generator=rng).to(self.like) for shape in shapes], box=None)

    def decode(self, unknowns: Sequence[Tensor]) -> Batch:
        """Softmax in every block of features, sigmoid of flags and of symmetric edges."""
        there = self._there
        parts = unknowns[0].split(self.update.layout["nodes"].blocks, 2)
        nodes = torch.cat([part.softmax(2) if part.shape[2] > 1 else part.sigmoid() for part in parts], 2)
        edges = (0.5 * (unknowns[1] + unknowns[1].transpose(1, 2))).sigmoid()
        edges = edges * there[:, None] * there[:, :, None] * (1 - torch.eye(len(there[0])).to(edges))
        y = unknowns[2].softmax(1) if self.labels is None else self.labels
        return Batch(nodes=nodes * there[:, :, None], adjacency=edges, mask=there.long(), y=y)

    def answer(self, unknowns: Sequence[Tensor]) -> dict[str, Tensor]:
        """The likeliest feature of every block, edges above one half, the likeliest class."""
        return self.hardened(self.decode(unknowns))

    def hardened(self, soft: Batch) -> dict[str, Tensor]:
        """The likeliest graph of these probabilities."""
        parts = soft["nodes"].split(self.update.layout["nodes"].blocks, 2)
        hard = [
            torch.nn.functional.one_hot(p.argmax(2), p.shape[2]).to(p) if p.shape[2] > 1 else p.round() for p in parts
        ]
        y = soft["y"].argmax(1) if self.labels is None else self.labels
        nodes = torch.cat(hard, 2) * self._there[:, :, None]
        return {"nodes": nodes, "adjacency": soft["adjacency"].round(), "mask": soft["mask"], "y": y}

    def project(self, unknowns: Sequence[Tensor]) -> list[Tensor]:
        """Logits may be anything."""
        return list(unknowns)

    @property
    def _there(self) -> Tensor:
        return (torch.arange(self.like.shape[1]) < self.count)[None].to(self.like)


@dataclass(frozen=True, kw_only=True)
class GraphDLG(Matching):
    """min over features, edges and label of ||grad L - g||^2, all relaxed to probabilities: the baseline that GRAIN is held against.

    Args:
        nodes: how many nodes the graph has; None takes as many as the layout allows. No update tells it: whoever gives it grants it.

    References:
        Zhu, Liu, Han, "Deep Leakage from Gradients", 2019, arXiv:1906.08935; on graphs as in Drencheva et al., "GRAIN", 2025,
        arXiv:2503.01838.
    """

    card: ClassVar[Card] = Card(
        summary="Optimizes relaxed features, edges and label until their gradient is the one that was sent.",
        title="Deep Leakage from Gradients",
        authors="Zhu, Liu, Han",
        year=2019,
        arxiv="1906.08935",
        modality="graph",
        family="matching",
        formula="min_{X,A,p} ||grad L(softmax X, sigmoid A, softmax p) - g||^2 / ||g||^2",
        needs=("model", "recipe", "batch_size"),
        departs="on graphs, with a softmax for every block of features and symmetric edges; Adam, as L-BFGS makes little of ReLU",
    )
    distance: Distance = SquaredL2()
    priors: tuple[Prior, ...] = ()
    optimizer: Descent = Adam(lr=0.1, sign="none")
    start: Start | Attack = "randn"
    boxed: bool = False
    joint_labels: bool = True
    nodes: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nodes is not None and self.nodes < 1:
            raise BadConfig(f"{type(self).__name__}: there must be at least 1 node, got {self.nodes}")

    def _problem(self, update: Update, rng: torch.Generator, start: HeadStart | None = None) -> tuple[Problem, str]:
        name, layout = type(self).__name__, update.layout
        model, count = update.need("model"), update.need("batch_size")
        if set(layout) != {"nodes", "adjacency", "mask", "y"} or layout["nodes"].kind != "blocks" or layout["y"].shape:
            raise NotApplicable(
                f"{name} reconstructs graphs with one class each, and the layout holds {sorted(layout)}"
            )
        if count > 1 or update.clients > 1:
            raise NotApplicable(f"{name} reads one graph, and {max(count, update.clients)} stand behind the update")
        if self.nodes is not None and self.nodes > layout["nodes"].shape[0]:
            raise NotApplicable(
                f"the layout has room for {layout['nodes'].shape[0]} nodes, and {self.nodes} are asked for"
            )
        labels, source = self._labels(update, rng)
        like = next(model.parameters()).new_zeros(1, *layout["nodes"].shape)
        problem = Relaxed(
            update=update,
            engine=self._engine(update, like.dtype, rng),
            terms=tuple(prior.term(update) for prior in self.priors),
            labels=labels,
            like=like.detach(),
            boxed=False,
            count=self.nodes or like.shape[1],
        )
        return problem, source
