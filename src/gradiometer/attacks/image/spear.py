"""SPEAR: a whole batch from the gradient of a linear layer that a ReLU follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from gradiometer.core import Attack, Batch, Card, Channel, Guess, NotApplicable, Update, clone_model, in_mode
from gradiometer.numerics.layers import Layer, Probe, child
from gradiometer.numerics.meter import Meter
from gradiometer.numerics.span import Span, span
from gradiometer.numerics.sparse_factors import CERTAIN, Factors, search

from .first_layer import biased_linear
from .spear_meter import predict
from .way_back import way_back

EXACT = 2e-5
"""Largest standard deviation of an entry, in units of the normalized picture, that still counts as exact."""

CLEAR = 10.0
"""Ratio of neighboring singular values that shows the rank beyond doubt."""


@dataclass(frozen=True, kw_only=True)
class SPEAR(Attack):
    """Takes `[dW, db] = D [X, 1]` apart: D's columns are the sparsest vectors of the gradient's column space.

    An example leaves zeros in D where its ReLU is closed. The paper draws b - 1 rows and hopes that one example is closed in
    all of them, about 2^b draws for a batch of b; we descend to the sparse vectors instead, which takes a few starts an
    example as long as the layer has some ten to twenty rows for each. Each example is certified by the signs of W x + b, which
    the search never used. Batch size (the rank), labels and order are not needed. Several local steps over different
    examples keep the structure: one epoch of FedAvg is read like one gradient.

    Args:
        starts: of the descent, at most.
        channel: what an informed attacker knows of a defense: it decodes the entries.

    Returns (in `Guess`):
        x: [b, *shape]. y: [b], where the loss is one of classes. confidence: [b], the share of the layer's live rows that
        agree with the certificate. notes: `error`, the largest standard deviation of an entry, from the gradient's own error;
        `exact`, whether all examples passed the certificate and that error is below 2e-5.

    References:
        Dimitrov, Baader, Müller, Vechev, "SPEAR: Exact Gradient Inversion of Batches in Federated Learning", 2024,
        arXiv:2403.03945.
    """

    card: ClassVar[Card] = Card(
        summary="Takes a ReLU layer's gradient apart into the whole batch, exactly, by the zeros that ReLU leaves.",
        title="SPEAR: Exact Gradient Inversion of Batches in Federated Learning",
        authors="Dimitrov, Baader, Müller, Vechev",
        year=2024,
        arxiv="2403.03945",
        modality="image",
        family="analytic",
        formula="[dW, db] = D [X, 1]^T = L R;  D = L Q with Q's columns the q that leave the most zeros in L q;  X = Q^-1 R",
        needs=("model",),
        departs="sparse vectors are reached by reweighted least squares instead of by drawing rows, so that the cost grows "
        "with a power of the batch size and not exponentially; rows are weighed with their own measured error",
    )
    starts: int = 2000
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        update = update.to("cpu")
        model: nn.Module = update.need("model")
        if "x" not in update.layout:
            raise NotApplicable("SPEAR reads the field `x`, which the layout lacks")
        mode = update.recipe.mode if update.recipe else "eval"
        probe = Probe(model, update.need("loss"), update.layout, mode)
        layers = probe.layers(update.values)
        layer = biased_linear(layers, "SPEAR")
        back = way_back(probe, layers, layer, update, rng)
        seen = self._span(update, layer)
        factors = self._search(seen, _weights(update, layer), rng)
        pictures = torch.cat([back.picture(features) for features in factors.inputs])
        dtype = update.values[child(layer.name, "weight")].dtype
        tensors = {"x": pictures.to(dtype)}
        label = update.layout.get("y")
        if label is not None and label.kind == "class" and label.classes:
            tensors["y"] = _labels(update, layer, mode, label.classes, pictures, factors.deltas)
        notes = {
            "layer": layer.name,
            "way_back": back.name,
            "rank": seen.rank,
            "gap": seen.gap,
            "starts": factors.starts,
            "error": float(factors.error.max()),
            "exact": factors.certain and float(factors.error.max()) < EXACT,
        }
        return Guess(tensors=tensors, confidence=factors.match, notes=notes)

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def meter(self, update: Update) -> Meter:
        """What this attack is predicted to reach, by the first layer's singular values and width; nothing is searched.

        Raises:
            MissingKnowledge: the model is withheld.
        """
        update = update.to("cpu")
        mode = update.recipe.mode if update.recipe else "eval"
        try:
            probe = Probe(update.need("model"), update.need("loss"), update.layout, mode)
            layer = biased_linear(probe.layers(update.values), "SPEAR")
            return predict(update, layer, self._span(update, layer))
        except NotApplicable as refusal:
            return Meter(verdict="not", reason=refusal.message, examples=0, layers=())

    def _span(self, update: Update, layer: Layer) -> Span:
        values = update.values if self.channel is None else self.channel.decode(update.values)
        joint = _joint(layer, values) * (-1.0 if update.sends == "delta" else 1.0)
        if not joint.any():
            raise NotApplicable(f"nothing reached layer {layer.name!r}: its gradient is zero")
        found = _ranked(joint, update.batch_size)
        if 2 * found.rank >= min(joint.shape):
            raise NotApplicable(
                f"the gradient of layer {layer.name!r} has rank {found.rank} of {min(joint.shape)}: no sparse vectors stand out",
                fix="SPEAR needs more than twice as many rows as examples, and a gradient that is not drowned in noise",
            )
        return found

    def _search(self, seen: Span, weights: list[Tensor], rng: torch.Generator) -> Factors:
        best: Factors | None = None
        for factors in search(seen, weights, rng, self.starts):
            if len(factors.match) and (best is None or factors.match.mean() >= best.match.mean()):
                best = factors
        if best is None or not (best.match > CERTAIN).any():
            none = ", and none is certified" if best else ""
            raise NotApplicable(
                f"no ReLU's zeros take the gradient apart: {factors.found} of {seen.rank} directions in {factors.starts} starts{none}",
                fix="raise `starts`; without a ReLU after the layer, or with fewer than about ten rows an example, choose another attack",
            )
        return replace(best, starts=factors.starts)


def _ranked(joint: Tensor, batch_size: int | None) -> Span:
    """The span with the rank that the gradient shows, or where noise hides it the known batch size.

    A batch that repeats an example, or holds one without a derivative, has a lower rank than examples.
    """
    found = span(joint)
    if batch_size is None or (found.rank <= batch_size and found.gap > CLEAR):
        return found
    return span(joint, rank=batch_size)


def _joint(layer: Layer, values: Mapping[str, Tensor]) -> Tensor:
    """Weight and bias of a layer side by side, [out, in + 1]."""
    weight, bias = (values[child(layer.name, name)].double() for name in ("weight", "bias"))
    return torch.cat([weight, bias[:, None]], 1)


def _weights(update: Update, layer: Layer) -> list[Tensor]:
    """[W, b] at the beginning of the round, and at its end where the update tells it."""
    assert update.model is not None
    start = _joint(layer, {name: p.detach() for name, p in update.model.named_parameters()})
    return [start] if update.sends == "gradient" else [start, start + _joint(layer, update.values)]


def _labels(update: Update, layer: Layer, mode: str, classes: int, x: Tensor, deltas: Tensor) -> Tensor:
    """The class of each example whose derivative at the layer points the way that was found, [b]."""
    assert update.model is not None
    assert update.loss is not None
    model, found = clone_model(update.model).double(), list[Tensor]()
    module = model.get_submodule(layer.name)
    module.register_forward_hook(lambda _, __, output: found.append(output))
    likeness = []
    with in_mode(model, mode):
        for label in range(classes):
            found.clear()
            loss = update.loss(model, Batch(x=x, y=torch.full((len(x),), label)))
            (slope,) = torch.autograd.grad(loss, found)
            likeness.append(torch.nn.functional.cosine_similarity(slope, deltas.T, dim=1))
    return torch.stack(likeness).argmax(0)
