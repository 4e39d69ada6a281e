"""LinearBias: the input of a biased linear layer is a quotient of two of its gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from gradiometer.core import Attack, Card, Channel, Field, Guess, NotApplicable, Update, Values
from gradiometer.numerics.layers import Layer, Probe, child
from gradiometer.numerics.linear import agreeing_rows, extreme_rows, rank_one_input, ratio_row, without_offset

from .first_layer import biased_linear
from .way_back import way_back


@dataclass(frozen=True, kw_only=True)
class LinearBias(Attack):
    """Reads the input of the first biased linear layer off its gradients, `x = dW_i / db_i`, and goes back to x.

    One example: all rows are combined. More: rows that show the same input were reached by one example alone, and each
    group of them is that example; the rest of the batch is filled up with rows that are no mixture of others. Neither
    needs the truth. On the way back to the picture, reshapes and other known maps are inverted; a linear layer without
    a bias before this one shows the direction of its input, and this one its length.

    Args:
        rows: `combined`, or the `largest` |db| alone (one example).
        tolerance: largest relative distance of rows that count as the same input.
        channel: what an informed attacker knows of a defense: it decodes the entries, and their variances weight the rows.

    Returns (in `Guess`):
        x: [m, *shape], m <= batch size. confidence [m]: of one example, the share of the gradient that it explains;
        of a batch, `1 - 2^(1 - k)` for k agreeing rows, so that rows without a second witness have none.
    """

    card: ClassVar[Card] = Card(
        summary="Divides a linear layer's weight gradient by its bias gradient: the layer's input, exactly, at batch 1.",
        title="Privacy-Preserving Deep Learning via Additively Homomorphic Encryption",
        authors="Phong, Aono, Hayashi, Wang, Moriai",
        year=2018,
        modality="image",
        family="analytic",
        formula="[dW, db] = delta [x, 1]^T, so x = dW_i / db_i in every row that one example alone reaches",
        needs=("model",),
        departs="all rows are fitted together; agreeing and extreme rows separate the examples of a batch",
    )
    rows: Literal["combined", "largest"] = "combined"
    tolerance: float = 1e-4
    channel: Channel | None = None

    def run(self, update: Update, rng: torch.Generator) -> Guess:
        model: nn.Module = update.need("model")
        if "x" not in update.layout:
            raise NotApplicable("LinearBias reads the field `x`, which the layout lacks")
        probe = Probe(model, update.need("loss"), update.layout, update.recipe.mode if update.recipe else "eval")
        layers = probe.layers(update.values)
        layer = biased_linear(layers, "LinearBias")
        back = way_back(probe, layers, layer, update, rng)
        if update.batch_size == 1:
            found, confidence = self._one(update, layer)
        else:
            found, confidence = self._many(update, layer, update.layout["x"] if back.reshapes else None)
        pictures = torch.cat([back.picture(features) for features in found])
        dtype = update.values[child(layer.name, "weight")].dtype
        notes = {"layer": layer.name, "way_back": back.name}
        return Guess(tensors={"x": pictures.to(dtype)}, confidence=confidence, notes=notes)

    def observing(self, channel: Channel) -> Attack:
        return replace(self, channel=channel)

    def _joint(self, update: Update, layer: Layer) -> tuple[Tensor, Tensor | None]:
        """Gradient [out, in + 1] of the layer, the bias last, and the variances of its entries. Any scale will do."""
        names = child(layer.name, "weight"), child(layer.name, "bias")
        if self.channel is None:
            return without_offset(_stack(update.values, names)), None
        return _stack(self.channel.decode(update.values), names), _stack(self.channel.variance(update.values), names)

    def _one(self, update: Update, layer: Layer) -> tuple[list[Tensor], Tensor]:
        joint, variance = self._joint(update, layer)
        if self.rows == "largest":
            features = ratio_row(joint[:, :-1], joint[:, -1])
        else:
            features = rank_one_input(joint[:, :-1], joint[:, -1], variance)
        line = torch.cat([features, features.new_ones(1)])
        explained = (joint @ line).square().sum() / (line @ line) / joint.square().sum().clamp_min(1e-30)
        return [features], explained.reshape(1)

    def _many(self, update: Update, layer: Layer, box: Field | None) -> tuple[list[Tensor], Tensor]:
        joint, variance = self._joint(update, layer)
        strength = joint[:, -1].abs()
        live = (strength > 1e-6 * strength.max()).nonzero()[:, 0]
        live = live[strength[live].argsort(descending=True)][:2048]
        if not len(live):
            raise NotApplicable(f"nothing reached layer {layer.name!r}: its bias gradient is zero")
        ratios = joint[live, :-1] / joint[live, -1:]
        groups = agreeing_rows(ratios, self.tolerance, update.batch_size)
        found = [
            rank_one_input(joint[rows, :-1], joint[rows, -1], None if variance is None else variance[rows])
            for rows in (live[group] for group in groups)
        ]
        sizes = [len(group) for group in groups]
        if update.batch_size is not None:
            candidates = ratios if box is None else ratios[_legal(ratios, box)]
            known = torch.stack(found) if found else ratios[:0]
            more = extreme_rows(candidates, known, update.batch_size - len(found))
            found, sizes = found + list(candidates[more]), sizes + [1] * len(more)
        if not found:  # no row is one example's alone: the strongest is the best mixture at hand
            found, sizes = [ratios[0]], [1]
        return found, 1 - 0.5 ** (torch.tensor(sizes, dtype=torch.float64) - 1)


def _stack(values: Values, names: tuple[str, str]) -> Tensor:
    weight, bias = (values[name].double() for name in names)
    return torch.cat([weight, bias[:, None]], 1)


def _legal(ratios: Tensor, box: Field) -> Tensor:
    """Rows that are pictures in the legal range, up to a thousandth of it."""
    pixels = box.denormalize(ratios.reshape(-1, *box.shape)).flatten(1)
    slack = 1e-3 * (box.high - box.low) if box.kind == "pixels" else 0.0
    return ((pixels >= box.low - slack) & (pixels <= box.high + slack)).all(1)
