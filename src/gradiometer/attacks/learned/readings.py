"""Readings: what closed forms see in a message, as numbers that a regression can start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from gradiometer.core import Channel, Field, NotApplicable, Update, Values, spawn
from gradiometer.numerics.layers import Layer, Probe, child
from gradiometer.numerics.linear import rank_one_lines, without_offset
from gradiometer.numerics.sketch import CountSketch, unit_tensors

from ..image.first_layer import biased_linear
from ..image.way_back import way_back


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """Reads messages of one client with one example each.

    Args:
        layers: linear layers whose weight and bias are sent: their input and its derivative are of rank one.
        first: the one that sees the picture itself, or "".
        channel: of the defense, where it is known.
        sketch: of all that was sent.
        field: of the pictures.
    """

    layers: tuple[Layer, ...]
    first: str
    channel: Channel | None
    sketch: CountSketch
    field: Field

    def features(self, messages: Sequence[Values]) -> tuple[list[Tensor], Tensor | None]:
        """Blocks of features [messages, .], and the pictures that stand in the first layer.

        Of every layer: the direction of `[x, 1]`, its input, and of the derivative by its output, which shows the
        label at the head; then the sketch. Pictures are pixels [messages, .] in the legal range, or None.
        """
        known = [dict(sent) if self.channel is None else self.channel.decode(sent) for sent in messages]
        blocks: list[Tensor] = []
        pictures: Tensor | None = None
        for layer in self.layers:
            joint = torch.stack([self._joint(values, layer) for values in known])
            line = rank_one_lines(joint)
            if layer.name == self.first:
                input = line[:, :-1] / line[:, -1:].clamp_min(1e-30)
                seen = self.field.denormalize(input.reshape(-1, *self.field.shape))
                pictures = seen.clamp(self.field.low, self.field.high).flatten(1)
                blocks.append(pictures)
            blocks += [line, F.normalize(torch.einsum("noi,ni->no", joint, line), eps=1e-30)]
        blocks.append(torch.stack([self.sketch(unit_tensors(sent).double()) for sent in messages]))
        return blocks, pictures

    def _joint(self, values: Values, layer: Layer) -> Tensor:
        """Gradient [out, in + 1] of a layer, the bias last."""
        weight, bias = (values[child(layer.name, name)].double() for name in ("weight", "bias"))
        joint = torch.cat([weight, bias[:, None]], 1)
        return without_offset(joint) if self.channel is None else joint


def readings(update: Update, channel: Channel | None, length: int, rng: torch.Generator) -> Readings:
    """What there is to read in messages like this one; of its values it looks at names and shapes alone.

    Args:
        length: of the sketch.
    """
    recipe = update.recipe
    probe = Probe(update.need("model"), update.need("loss"), update.layout, recipe.mode if recipe else "eval")
    layers = probe.layers(update.values)
    first = ""
    try:
        candidate = biased_linear(layers, "a learned attack")
        if way_back(probe, layers, candidate, update.replace(batch_size=None), spawn(rng)).reshapes:
            first = candidate.name
    except NotApplicable:
        pass  # no layer sees the picture itself: the others' inputs and the sketch are left
    entries = sum(value.numel() for value in update.values.values())
    return Readings(
        layers=tuple(layer for layer in layers if layer.linear and {"weight", "bias"} <= layer.sends),
        first=first,
        channel=channel,
        sketch=CountSketch.draw(entries, length, rng),
        field=update.layout["x"],
    )
