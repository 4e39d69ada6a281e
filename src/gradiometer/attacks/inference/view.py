"""What label attacks see of an update: the head's gradient, in double precision, and how many examples made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gradiometer.core import Channel, NotApplicable, Update
from gradiometer.numerics.heads import Head, find_head


@dataclass(frozen=True, kw_only=True)
class HeadView:
    """Gradient of the head: `weight` [classes, features] and `bias` [classes] or None; `size` examples behind it.

    `scale` is the factor from sent values to the gradient.
    """

    head: Head
    weight: Tensor
    bias: Tensor | None
    size: int

    scale: float

    @property
    def classes(self) -> int:
        return self.weight.shape[0]

    @property
    def joint(self) -> Tensor:
        """Weight and bias as one matrix, the bias last."""
        return self.weight if self.bias is None else torch.cat([self.weight, self.bias[:, None]], 1)

    def variance(self, sent: Mapping[str, Tensor]) -> Tensor:
        """A channel's variance of the sent entries, in units of the gradient: [classes, features (+ 1)].

        Entries of which nothing is known count as a thousand times the largest known one: finite, so that what is known
        is not lost beside them in double precision.
        """
        weight = sent[self.head.weight].double()
        parts = [weight] if self.head.bias is None else [weight, sent[self.head.bias].double()[:, None]]
        found = torch.cat(parts, 1) * self.scale**2
        return torch.where(found.isinf(), 1e6 * self.joint.square().max(), found)


def view_head(update: Update, channel: Channel | None = None) -> HeadView:
    """The head's mean gradient, decoded where the channel is known.

    A batch of unknown size is known to hold one example if the weight gradient has rank one.

    Raises:
        NotApplicable: no integer label in the layout, no linear head, or several examples under Adam.
        MissingKnowledge: the batch size, or the recipe of a weight delta.
    """
    spec = update.layout.get("y")
    if spec is None or spec.kind != "class" or not spec.classes:
        raise NotApplicable(
            "label attacks need a layout with a class label `y`", fix="choose an attack for this kind of data"
        )
    if channel is not None:
        update = update.replace(values=channel.decode(update.values))
    head = find_head(update.model, update.values, spec.classes)
    single = update.batch_size == 1 or (update.batch_size is None and _rank_one(update.values[head.weight]))
    # One label is a matter of signs, whatever the recipe.
    gradient = _descent(update) if single and not _proportional(update) else mean_gradient(update)
    share = max(update.clients, 1)
    weight = gradient[head.weight].double() / share
    return HeadView(
        head=head,
        weight=weight,
        bias=None if head.bias is None else gradient[head.bias].double() / share,
        size=1 if single else update.need("batch_size"),
        scale=float(weight.norm() / update.values[head.weight].double().norm().clamp_min(1e-30)),
    )


def mean_gradient(update: Update) -> dict[str, Tensor]:
    """The gradient behind the update, to scale.

    Raises:
        NotApplicable: a delta of Adam, which is no multiple of a gradient.
        MissingKnowledge: a delta whose recipe is not granted.
    """
    if update.sends == "delta" and update.need("recipe").optimizer == "adam":
        raise NotApplicable(
            "label counts are read off a sum of gradients, and a delta of Adam is none",
            fix="attack clients that train with SGD; a single example's label is read under any optimizer",
        )
    return update.as_gradient()


def _proportional(update: Update) -> bool:
    return update.sends == "gradient" or (update.recipe is not None and update.recipe.optimizer == "sgd")


def _descent(update: Update) -> dict[str, Tensor]:
    return {name: -value for name, value in update.values.items()}


def _rank_one(matrix: Tensor) -> bool:
    spectrum = torch.linalg.svdvals(matrix.double())
    return bool(spectrum[1] < 1e-5 * spectrum[0]) if len(spectrum) > 1 else True
