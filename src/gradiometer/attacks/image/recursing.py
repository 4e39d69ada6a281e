"""How `Recursive` goes about one update: the top, the walk, the ways from there to the pictures, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from gradiometer.core import (
    Channel,
    Guess,
    NotApplicable,
    Update,
    Values,
    spawn,
)
from gradiometer.numerics.meter import Meter
from gradiometer.numerics.recursion import consistency, filling
from gradiometer.numerics.recursion.beginning import Beginning, begin
from gradiometer.numerics.recursion.graph import Graph, MaxPool, Node
from gradiometer.numerics.recursion.inversion import STUCK, invert
from gradiometer.numerics.recursion.levels import rounded
from gradiometer.numerics.recursion.meter import meter
from gradiometer.numerics.recursion.noise import Noise, relative, total
from gradiometer.numerics.recursion.own_norm import own_norms
from gradiometer.numerics.recursion.record import Walk
from gradiometer.numerics.recursion.remainder import settle
from gradiometer.numerics.recursion.rescaled import comparable, scaled
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.train_scale import hides_scale
from gradiometer.numerics.recursion.walk import walk

from .local_steps import LEFT, ROUNDS, blind, inner, local, mean_squares, steps
from .received import loses_scales, received
from .summed import refuse_sums
from .train_mode import UNPREDICTED, own_statistics, recover
from .verifying import FLOAT32_LIMIT, Verifier

FILLS, GOOD = 2, 0.01
"""From how many tensors pictures are filled in, as long as their gradient differs from the sent one by more than this part."""
SHARP = 1e-5
"""Relative distance of gradients from which Gauss-Newton steps are worth their time."""
OPEN = 0.02
"""Part of a small change that the equations do not take back, from which they are known to have other solutions."""
SURE = 1e-3
"""Expected relative error from which pictures are not called exact, however well their gradient agrees."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Attempt:
    top: Beginning
    found: Walk
    verifier: Verifier
    x: Tensor | None
    way: str
    error: float


@dataclass(frozen=True, kw_only=True, eq=False)
class _Way:
    """Pictures, how they were found, and their expected relative error where directions are open: 1 if nobody knows."""

    x: Tensor
    name: str
    verifier: Verifier
    error: float = 0.0

    @cached_property
    def distance(self) -> float:
        """Of the gradient from the sent one, relative."""
        return self.verifier.distance(self.x)


@dataclass(frozen=True, kw_only=True, eq=False)
class Recursing:
    """One run on one update, on the CPU. Args: as `Recursive`."""

    update: Update
    channel: Channel | None
    evaluations: int

    def run(self, rng: torch.Generator) -> Guess:
        """The guess, as `Attack.run`."""
        update, model = self.update, self.update.need("model")
        _refuse(update, model)
        refuse_sums(update, defended=self.channel is not None)
        gradient, noise = received(update, self.channel)
        graph = trace(model, update.layout["x"].shape)
        own = own_statistics(update, graph, gradient)
        if own is not None and (guess := recover(update, own, gradient, rng)) is not None:
            return guess
        if local(update):
            attempt = self._settled(graph, gradient, noise, rng)
        else:
            attempt = self._attempt(graph, gradient, noise, rng)
        top, found, x = attempt.top, attempt.found, attempt.x
        stopped = found.stopped and (top.hidden or found.stopped)
        notes = {"examples": len(top.labels), "way": attempt.way, "stopped": stopped, **_log(top, found)}
        if x is None:
            return Guess(tensors={"y": top.labels}, notes={**notes, "exact": False})
        agreement, limit = attempt.verifier.verdict(x, spawn(rng))
        blur, shares = relative(gradient, found.noise), attempt.verifier.weights(x)
        notes |= {} if shares is None else {"weights": shares.tolist()}
        doubt = agreement - blur + attempt.error / 2
        exact = agreement <= limit and attempt.error <= SURE and blur <= FLOAT32_LIMIT
        return Guess(
            tensors={"x": x, "y": top.labels},
            confidence=torch.full((len(x),), 1.0 if exact else max(0.0, min(0.99, 1 - max(0.0, doubt)))),
            objective=agreement,
            notes={**notes, "exact": exact, "agreement": agreement, "limit": limit, "noise": blur},
        )

    def _attempt(self, graph: Graph, gradient: Values, noise: Noise, rng: torch.Generator) -> _Attempt:
        rescaled = loses_scales(self.channel)
        if rescaled:
            gradient = comparable(graph, gradient)
        top = begin(graph, gradient, rng=spawn(rng), noise=noise)
        found = walk(graph, gradient, top.deltas, noise=noise, rescaled=rescaled)
        verifier = Verifier(update=self.update, labels=top.labels, channel=self.channel, residues=top.residues)
        x, way, error = self._pictures(found, verifier, rng)
        if x is not None:
            x = scaled(x.float(), verifier.caused, verifier.sent) if rescaled else x.float()
            x = self.update.layout["x"].clamp(x)
            x = x if noise else _sharpest(x, rounded(x, self.update.layout["x"]), verifier)
        return _Attempt(top=top, found=found, verifier=verifier, x=x, way=way, error=error)

    def _settled(self, graph: Graph, sent: Values, noise: Noise, rng: torch.Generator) -> _Attempt:
        """The fixed point of guesses and the drift of local steps that they foretell."""
        attempt = self._attempt(graph, sent, total(noise, blind(self.update, sent, spawn(rng))), rng)
        best, least = attempt, float("inf")
        for _ in range(ROUNDS):
            if attempt.x is None:
                break
            now = steps(self.update, attempt.x, attempt.top.labels)
            missed = {name: value - now.mean[name] for name, value in sent.items()}
            distance = (inner(missed, missed) / inner(sent, sent)) ** 0.5
            if not distance < least:
                break
            best, least = attempt, distance
            gradient = {name: value - now.drift[name] for name, value in sent.items()}
            left = mean_squares({name: min(1.0, LEFT * distance) * value for name, value in now.drift.items()})
            attempt = self._attempt(graph, gradient, total(noise, left), rng)
        return best

    def _pictures(self, found: Walk, verifier: Verifier, rng: torch.Generator) -> tuple[Tensor | None, str, float]:
        """The pictures, the way that led there, and the expected relative error where open directions were settled.

        Of several ways it is the one whose gradient is nearest to the sent one.
        """
        graph, frontier, left = found.graph, found.frontier, found.remainder
        if left is not None:
            x, error = settle(verifier.derivable, list(found.gradient.values()), left, rng=spawn(rng))
            return (
                x,
                f"linear algebra to the pixels but {len(left.open)} directions, these by the whole gradient",
                error,
            )
        if frontier is None:
            return None, "nothing above the input is determined", 0.0
        if frontier == graph.input:
            return found.values[frontier].value, "linear algebra to the pixels", 0.0
        lowest = filling.readable(found)[:FILLS]
        x, way, ended = self._descended(found, rng)
        if ended:
            return x, way, 0.0
        box = self.update.layout["x"].clamp
        ways = [self._polished(found, _Way(x=box(x).float(), name=way, verifier=verifier), rng)]
        for node in lowest:
            if min(way.distance for way in ways) > GOOD:
                x = box(filling.fill(found, node, box, evaluations=self.evaluations)).float()
                way = f"the smoothest picture that the equations of {_named(node)} allow"
                ways.append(self._polished(found, _Way(x=x, name=way, verifier=verifier), rng))
        best = min(ways, key=lambda way: way.distance)
        return best.x, best.name, best.error

    def _polished(self, found: Walk, start: _Way, rng: torch.Generator) -> _Way:
        """Pictures nearby that obey all equations, if their gradient is nearer to the sent one.

        Equations may have many solutions, one of which lies on the levels of 8-bit files; pictures that do not are asked
        whether others would do as well.
        """
        if start.distance <= SHARP or found.noise or found.rescaled:
            return start
        field, single = self.update.layout["x"], self._single(found.graph)
        fine = field.clamp(consistency.polished(single, found, start.x)).float()
        name = f"{start.name}, and Gauss-Newton steps from there"
        whole = replace(start, x=rounded(fine, field), name=name)
        if whole.distance <= FLOAT32_LIMIT:
            return whole
        near = replace(start, x=fine, name=name)
        if near.distance >= start.distance:
            return start
        sharp = near.distance <= SHARP and consistency.left_open(single, found, fine, spawn(rng)) <= OPEN
        return near if sharp else replace(near, error=1.0)

    def _single(self, graph: Graph) -> Graph:
        """The same network in the precision of descents."""
        return trace(self.update.need("model"), graph.nodes[graph.input].shape, dtype=torch.float32)

    def _descended(self, found: Walk, rng: torch.Generator) -> tuple[Tensor, str, bool]:
        """Pictures whose maps are the known ones; whether nothing is to be added: all equations were used, or fix no scale."""
        graph, frontier = found.graph, found.graph.nodes[str(found.frontier)]
        single = self._single(graph)
        if any(isinstance(node.operation, MaxPool) for node in graph.needed(frontier.name, graph.input)):
            joint = consistency.pictures(single, found, rng=spawn(rng), evaluations=self.evaluations)
            way = f"descent from {_named(frontier)} and the weight gradients below, {joint.evaluations} evaluations"
            return joint.x, f"{way}, error {joint.error:.0e}", True
        targets = [{name: found.values[name].value for name in names} for names in found.targets()]
        accuracy = max(found.error(name) for name in targets[0])
        result = invert(
            single, targets, rng=spawn(rng), evaluations=self.evaluations, accuracy=accuracy, rescaled=found.rescaled
        )
        way = (
            f"descent from {_named(frontier)}, {result.evaluations} evaluations, error {float(result.error.max()):.0e}"
        )
        return result.x, way, found.rescaled and bool((result.error < max(STUCK, 3 * accuracy)).all())


def predict(update: Update) -> Meter:
    """As `Recursive.meter`."""
    model = update.need("model")
    try:
        _refuse(update, model)
        refuse_sums(update)
        graph = trace(model, update.layout["x"].shape)
        gradient = {name: value.detach().double() for name, value in update.as_gradient().items()}
        own = own_statistics(update, graph, gradient)
    except NotApplicable as refusal:
        return Meter(verdict="not", reason=refusal.message, examples=0, layers=())
    if own is not None and any(norm.batch for norm in own_norms(own)):
        return Meter(verdict="partial", reason=UNPREDICTED, examples=update.batch_size or 0, layers=())
    seen = meter(graph, gradient, examples=update.batch_size)
    if seen.verdict == "exact" and own is not None and hides_scale(own) and update.layout["x"].kind != "pixels":
        return replace(seen, verdict="partial", reason="normalization behind the first layer hides the inputs' scale")
    return seen


def _sharpest(x: Tensor, other: Tensor, verifier: Verifier) -> Tensor:
    """The pictures whose gradient is nearer to the sent one: `x` if its own is there already."""
    distance = verifier.distance(x)
    return other if distance > FLOAT32_LIMIT and verifier.distance(other) < distance else x


def _named(node: Node) -> str:
    return f"{node.operation.where} ({' x '.join(map(str, node.shape))})"


def _refuse(update: Update, model: nn.Module) -> None:
    recipe, layout = update.recipe, update.layout
    if not {"x"} <= set(layout) <= {"x", "y"}:
        raise NotApplicable(f"Recursive reads inputs `x` with labels `y`, and the layout holds {sorted(layout)}")
    train = recipe is not None and recipe.mode == "train"
    if train and any(isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0 for m in model.modules()):
        raise NotApplicable(
            "Recursive does not know which units the client's dropout left out",
            fix="attack a client in eval mode, or choose a matching attack",
        )
    if train and local(update) and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        raise NotApplicable(
            "Recursive follows BatchNorm in train mode at one point only, and this delta sums up several steps",
            fix="attack a client that takes one step, or choose a matching attack",
        )


def _log(top: Beginning, found: Walk) -> dict[str, Any]:
    seen = top.spectrum
    spectrum = None if seen is None else {"rank": seen.rank, "positions": seen.positions, "gap": seen.gap}
    return {"spectrum": spectrum, "layers": {name: asdict(step) for name, step in found.steps.items()}}
