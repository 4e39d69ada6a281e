"""How `Recursive` goes about one update: the top, the walk, the ways from there to the pictures, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
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
from gradiometer.numerics.recursion.beginning import Beginning, begin
from gradiometer.numerics.recursion.graph import Graph
from gradiometer.numerics.recursion.levels import rounded
from gradiometer.numerics.recursion.meter import meter
from gradiometer.numerics.recursion.noise import Noise, relative, total
from gradiometer.numerics.recursion.own_norm import own_norms
from gradiometer.numerics.recursion.record import Walk
from gradiometer.numerics.recursion.rescaled import comparable, scaled
from gradiometer.numerics.recursion.tracing import trace
from gradiometer.numerics.recursion.train_scale import hides_scale
from gradiometer.numerics.recursion.walk import walk

from ..sums import refuse_sums
from .local_steps import LEFT, ROUNDS, blind, inner, local, mean_squares, steps
from .picturing import Pictures
from .received import loses_scales, received
from .train_mode import UNPREDICTED, own_statistics, recover
from .verifying import FLOAT32_LIMIT, Verifier

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
        best = Pictures(found=found, verifier=verifier, evaluations=self.evaluations).find(rng)
        if isinstance(best, str):
            return _Attempt(top=top, found=found, verifier=verifier, x=None, way=best, error=0.0)
        x, field = best.x.float(), self.update.layout["x"]
        x = field.clamp(scaled(x, verifier.caused, verifier.sent) if rescaled else x)
        if not noise and verifier.distance(x) > FLOAT32_LIMIT:
            x = min(x, rounded(x, field), key=verifier.distance)
        return _Attempt(top=top, found=found, verifier=verifier, x=x, way=best.name, error=best.error)

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
