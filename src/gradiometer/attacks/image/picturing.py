"""From what a walk has found to the pictures: by equations, by descent, by filling in what is open, and by last steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from gradiometer.core import Field, spawn
from gradiometer.numerics.recursion import consistency, filling, finishing
from gradiometer.numerics.recursion.graph import Graph, MaxPool, Node
from gradiometer.numerics.recursion.inversion import STUCK, invert
from gradiometer.numerics.recursion.levels import doubtful, rounded
from gradiometer.numerics.recursion.record import ENOUGH, Walk
from gradiometer.numerics.recursion.remainder import settle
from gradiometer.numerics.recursion.tracing import trace

from .verifying import FLOAT32_LIMIT, Verifier

FILLS, GOOD = 2, 0.01
"""From how many tensors pictures are filled in, as long as their gradient differs from the sent one by more than this part."""
SHARP = 1e-5
"""Relative distance of gradients from which Gauss-Newton steps are worth their time."""
CHOICES = 16
"""Pixels, at most, that are tried at either of two levels."""
OPEN = 0.02
"""Part of a small change that the equations do not take back, from which they are known to have other solutions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Way:
    """Pictures [n, *shape] and how they were found.

    Args:
        error: expected relative one, where directions are open: 1 if nobody knows.
        alone: whether maps that are known to be theirs hold so many numbers that no other pictures have the same.
    """

    x: Tensor
    name: str
    verifier: Verifier
    error: float = 0.0
    alone: bool = False

    @cached_property
    def distance(self) -> float:
        """Of the gradient from the sent one, relative."""
        return self.verifier.distance(self.x)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """One search. Args: what the walk found, who compares gradients, and `evaluations` as of `Recursive`."""

    found: Walk
    verifier: Verifier
    evaluations: int

    def find(self, rng: torch.Generator) -> Way | str:
        """The way whose gradient is nearest to the sent one, or why there is none."""
        found, verifier, left = self.found, self.verifier, self.found.remainder
        graph, frontier = found.graph, found.frontier
        if left is not None:
            x, error = settle(verifier.derivable, list(found.gradient.values()), left, rng=spawn(rng))
            name = f"linear algebra to the pixels but {len(left.open)} directions, these by the whole gradient"
            return Way(x=x, name=name, verifier=verifier, error=error)
        if frontier is None:
            return "nothing above the input is determined"
        if frontier == graph.input:
            return Way(x=found.values[frontier].value, name="linear algebra to the pixels", verifier=verifier)
        lowest = filling.readable(found)[:FILLS]
        way, ended = self._descended(graph.nodes[frontier], rng)
        if ended:
            return way
        ways = [self._polished(way, rng)]
        for node in lowest:
            if min(way.distance for way in ways) > GOOD:
                ways.append(self._polished(self._filled(node, rng), rng))
        return min(ways, key=lambda way: way.distance)

    def _descended(self, frontier: Node, rng: torch.Generator) -> tuple[Way, bool]:
        """Pictures whose maps are the known ones; whether nothing is to be added: they came out by all equations, or these fix no scale."""
        found = self.found
        if self._pooled(frontier.name):
            return self._behind_pooling(frontier, rng)
        targets = [{name: found.values[name].value for name in names} for names in found.targets()]
        accuracy = max(found.error(name) for name in targets[0])
        result = invert(
            self._single,
            targets,
            rng=spawn(rng),
            evaluations=self.evaluations,
            accuracy=accuracy,
            rescaled=found.rescaled,
        )
        error = f"{result.evaluations} evaluations, error {float(result.error.max()):.0e}"
        near = bool((result.error < max(STUCK, 3 * accuracy)).all())
        numbers = sum(value[0].numel() for value in targets[0].values())
        many = numbers >= ENOUGH * math.prod(found.graph.nodes[found.graph.input].shape)
        way = self._way(result.x, f"descent from {_named(frontier)}, {error}")
        return replace(way, alone=near and many), near and found.rescaled

    def _behind_pooling(self, frontier: Node, rng: torch.Generator) -> tuple[Way, bool]:
        """The same behind a max pooling. Where no descent comes near, pictures are filled in: gradients that neither meets do not compare them."""
        joint = consistency.pictures(self._single, self.found, rng=spawn(rng), evaluations=self.evaluations)
        lowest = filling.readable(self.found)[:1]
        if lowest and joint.error > consistency.LOST:
            return self._filled(lowest[0], rng), True
        below = f"{_named(frontier)} and the weight gradients below, {joint.evaluations} evaluations"
        way = self._way(joint.x, f"descent from {below}, error {joint.error:.0e}")
        return way, joint.error <= consistency.ENDED

    def _pooled(self, name: str) -> bool:
        """Whether a max pooling is below this node."""
        graph = self.found.graph
        return any(isinstance(node.operation, MaxPool) for node in graph.needed(name, graph.input))

    def _filled(self, node: Node, rng: torch.Generator) -> Way:
        """The smoothest pictures that a tensor's equations allow; in single precision where max pooling leaves few digits."""
        graph = self._single if self._pooled(node.name) else self.found.graph
        x = filling.fill(graph, self.found, node, self._field.clamp, rng=spawn(rng), evaluations=self.evaluations)
        return self._way(x, f"the smoothest picture that the equations of {_named(node)} allow")

    def _polished(self, start: Way, rng: torch.Generator) -> Way:
        """Pictures nearby that obey all equations, if their gradient is nearer to the sent one.

        Equations may have many solutions, one of which lies on the levels of 8-bit files; pictures that do not are asked
        whether others would do as well.
        """
        found = self.found
        start = replace(start, x=self._field.clamp(start.x).float())
        if found.noise or found.rescaled:
            return start
        whole = replace(start, x=rounded(start.x, self._field), name=f"{start.name}, every pixel at its nearest level")
        telling = not doubtful(start.x, self._field) or start.distance > SHARP
        if telling and self._agrees(whole, start.x, rng):
            return self._chosen(whole, start.x)
        if start.distance <= SHARP:
            return start if start.alone or self._closed(start.x, rng) else replace(start, error=1.0)
        name = f"{start.name}, and Gauss-Newton steps from there"

        def at_levels(x: Tensor) -> Way:
            return replace(start, x=rounded(self._field.clamp(x).float(), self._field), name=name)

        def ended(x: Tensor) -> bool:
            return self._agrees(at_levels(x), x, rng)

        fine = self._field.clamp(finishing.polished(self._single, found, start.x, ended)).float()
        whole, near = at_levels(fine), replace(start, x=fine, name=name)
        if self._agrees(whole, fine, rng):
            return self._chosen(whole, fine)
        if near.distance >= start.distance:
            return start
        if start.alone or (near.distance <= SHARP and self._closed(fine, rng)):
            return near
        return replace(near, error=1.0)

    def _closed(self, x: Tensor, rng: torch.Generator) -> bool:
        """Whether no other pictures meet the same equations."""
        return finishing.left_open(self._single, self.found, x, spawn(rng)) <= OPEN

    def _agrees(self, whole: Way, fine: Tensor, rng: torch.Generator) -> bool:
        """Whether the pictures at their levels give the gradient that was sent, but for rounding and, if few pixels were in doubt, kinks."""
        agreement, limit = self.verifier.verdict(whole.x, spawn(rng))
        return agreement <= limit and (limit <= FLOAT32_LIMIT or len(doubtful(fine, self._field)) <= CHOICES)

    def _chosen(self, whole: Way, fine: Tensor) -> Way:
        """The pictures at their levels, pixels in doubt at the one of two whose gradient is nearer: kinks excuse a wrong one."""
        for index, other in doubtful(fine, self._field)[:CHOICES]:
            x = whole.x.clone()
            x.view(-1)[index] = other
            whole = min(whole, replace(whole, x=x), key=lambda way: way.distance)
        return whole

    def _way(self, x: Tensor, name: str) -> Way:
        return Way(x=x, name=name, verifier=self.verifier)

    @property
    def _field(self) -> Field:
        return self.verifier.update.layout["x"]

    @cached_property
    def _single(self) -> Graph:
        """The same network in the precision of descents."""
        graph = self.found.graph
        return trace(self.verifier.update.need("model"), graph.nodes[graph.input].shape, dtype=torch.float32)


def _named(node: Node) -> str:
    return f"{node.operation.where} ({' x '.join(map(str, node.shape))})"
